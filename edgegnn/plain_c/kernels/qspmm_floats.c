/* needs: qspmm clip */
static NOT_INLINED void qspmm_floats(const qspmm_t *op, size_t rows, size_t width, const uint8_t *x, const index_t *indptr, const index_t *col,
                         const float *row_scale, size_t scale_step, const float *bias, size_t bias_step, float *y) {
  size_t f, r, j;
  for (r = 0; r < rows; ++r) {
    for (f = 0; f < width; f += 4) {
      const size_t some = width - f < 4 ? width - f : 4;
      int32_t sums[4];
      qspmm_sums(x + f, some, width, op->zero, col, indptr[r], indptr[r + 1], sums);
      for (j = 0; j < some; ++j) {
        const float v = qspmm_value(op, sums[j], x[r * width + f + j], row_scale[r * scale_step], bias[(f + j) * bias_step]);
        y[r * width + f + j] = clip(v, op->to.low, op->to.high);
      }
    }
  }
}
