/* needs: attention_top exponential */
/* Softmax over each row of the logits of its entries, and the weighted sum of rows of x [cols, heads, width] with it. */
static void attention_spmm(size_t rows, size_t heads, size_t width, const float *x, const float *a_src, const float *a_dst,
                           float slope, const index_t *indptr, const index_t *col, float *y) {
  size_t r, e, h, f;
  for (r = 0; r < rows; ++r) {
    for (h = 0; h < heads; ++h) {
      float *out = y + (r * heads + h) * width;
      const float target = a_dst[r * heads + h];
      const float top = attention_top(a_src + h, heads, target, slope, col, indptr[r], indptr[r + 1]);
      float sum = 0.0f;
      for (f = 0; f < width; ++f) out[f] = 0.0f;
      for (e = indptr[r]; e < indptr[r + 1]; ++e) {
        const float logit = attention_logit(a_src[(size_t)col[e] * heads + h], target, slope);
        const float weight = exponential(logit - top);
        const float *row = x + ((size_t)col[e] * heads + h) * width;
        sum = sum + weight;
        for (f = 0; f < width; ++f) {
          const float product = weight * row[f];
          out[f] = out[f] + product;
        }
      }
      sum = sum + 1e-16f;
      for (f = 0; f < width; ++f) out[f] = out[f] / sum;
    }
  }
}
