/* needs: */
/* y[r, h] = sum of w[e, h] * x[col[e], h] over each row's entries, in row order; weights in the order of the edge list. */
static void spmm_weighted(size_t rows, size_t heads, size_t width, const float *x, const float *w, size_t w_heads,
                          const index_t *indptr, const index_t *col, const index_t *perm, float *y) {
  size_t r, e, h, f;
  for (r = 0; r < rows; ++r) {
    float *out = y + r * heads * width;
    for (f = 0; f < heads * width; ++f) out[f] = 0.0f;
    for (e = indptr[r]; e < indptr[r + 1]; ++e) {
      const float *own = w + (perm == NULL ? e : (size_t)perm[e]) * w_heads;
      const float *row = x + (size_t)col[e] * heads * width;
      for (h = 0; h < heads; ++h) {
        for (f = 0; f < width; ++f) {
          const float product = own[w_heads == 1 ? 0 : h] * row[h * width + f];
          out[h * width + f] = out[h * width + f] + product;
        }
      }
    }
  }
}
