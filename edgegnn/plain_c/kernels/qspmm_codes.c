/* needs: qspmm */
/* One column after the other, so that y may be x: `scratch` has a byte for each row. */
static void qspmm_codes(const qspmm_t *op, size_t rows, size_t width, const uint8_t *x, const index_t *indptr, const index_t *col,
                        const float *row_scale, size_t scale_step, const float *bias, size_t bias_step, uint8_t *y,
                        uint8_t *scratch) {
  size_t f, r;
  for (f = 0; f < width; ++f) {
    for (r = 0; r < rows; ++r) {
      const int32_t sum = qspmm_sum(x + f, width, op->zero, col, indptr[r], indptr[r + 1]);
      const float v = qspmm_value(op, sum, x[r * width + f], row_scale[r * scale_step], bias[f * bias_step]);
      scratch[r] = to_code(v, &op->to);
    }
    for (r = 0; r < rows; ++r) y[r * width + f] = scratch[r];
  }
}
