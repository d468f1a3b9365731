/* needs: qweighted */
static void qspmm_weighted(const qweighted_t *op, size_t rows, size_t heads, size_t width, const uint8_t *x, const float *w,
                           size_t w_heads, const index_t *indptr, const index_t *col, const index_t *perm, const float *row_scale,
                           size_t scale_step, const float *bias, size_t bias_step, uint8_t *codes, float *floats) {
  size_t r, e, f;
  for (r = 0; r < rows; ++r) {
    for (f = 0; f < heads * width; ++f) {
      float sum = 0.0f;
      for (e = indptr[r]; e < indptr[r + 1]; ++e) {
        const size_t entry = perm == NULL ? e : (size_t)perm[e];
        const float weight = sixteen_bits(w[entry * w_heads + (w_heads == 1 ? 0 : f / width)]);
        const float product = weight * (float)((int32_t)x[(size_t)col[e] * heads * width + f] - op->zero);
        sum = sum + product;
      }
      qweighted_store(op, qweighted_value(op, sum, row_scale[r * scale_step], bias[f * bias_step]), codes, floats,
                      r * heads * width + f);
    }
  }
}
