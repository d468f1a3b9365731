/* needs: qspmm */
/* Four columns after the other, so that y may be x: `scratch` has 4 bytes for each row. */
static NOT_INLINED void qspmm_codes(const qspmm_t *op, size_t rows, size_t width, const uint8_t *x, const index_t *indptr, const index_t *col,
                        const float *row_scale, size_t scale_step, const float *bias, size_t bias_step, uint8_t *y,
                        uint8_t *scratch) {
  const qspmm_t own = *op; /* a copy: bytes that are written to y could be those of *op */
  size_t f, r, j;
  for (f = 0; f < width; f += 4) {
    const size_t some = width - f < 4 ? width - f : 4;
    for (r = 0; r < rows; ++r) {
      int32_t sums[4];
      qspmm_sums(x + f, some, width, own.zero, col, indptr[r], indptr[r + 1], sums);
      for (j = 0; j < some; ++j) {
        const float v = qspmm_value(&own, sums[j], x[r * width + f + j], row_scale[r * scale_step], bias[(f + j) * bias_step]);
        scratch[4 * r + j] = to_code(v, &own.to);
      }
    }
    for (r = 0; r < rows; ++r) {
      for (j = 0; j < some; ++j) y[r * width + f + j] = scratch[4 * r + j];
    }
  }
}
