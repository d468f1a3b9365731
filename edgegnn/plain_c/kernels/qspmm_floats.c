/* needs: qspmm clip */
static void qspmm_floats(const qspmm_t *op, size_t rows, size_t width, const uint8_t *x, const index_t *indptr, const index_t *col,
                         const float *row_scale, size_t scale_step, const float *bias, size_t bias_step, float *y) {
  size_t f, r;
  for (r = 0; r < rows; ++r) {
    for (f = 0; f < width; ++f) {
      const int32_t sum = qspmm_sum(x + f, width, op->zero, col, indptr[r], indptr[r + 1]);
      const float v = qspmm_value(op, sum, x[r * width + f], row_scale[r * scale_step], bias[f * bias_step]);
      y[r * width + f] = clip(v, op->to.low, op->to.high);
    }
  }
}
