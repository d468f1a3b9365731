/* needs: */
/* y[r, p, c] = sum of d[e, p] * (w[e, c] * x[col[e], p, c]) over each row's entries, in row order; w and d in the order of the edge
   list; w is moved to its first column, x and d may have one plane for all. */
static void spmm_channels(size_t rows, size_t planes, size_t width, const float *x, size_t x_planes, const float *w, size_t w_width,
                          const float *d, size_t d_planes, const index_t *indptr, const index_t *col, const index_t *perm, float *y) {
  size_t r, e, p, f;
  for (r = 0; r < rows; ++r) {
    float *out = y + r * planes * width;
    for (f = 0; f < planes * width; ++f) out[f] = 0.0f;
    for (e = indptr[r]; e < indptr[r + 1]; ++e) {
      const size_t edge = perm == NULL ? e : (size_t)perm[e];
      const float *own = w + edge * w_width;
      for (p = 0; p < planes; ++p) {
        const float factor = d[edge * d_planes + (d_planes == 1 ? 0 : p)];
        const float *row = x + ((size_t)col[e] * x_planes + (x_planes == 1 ? 0 : p)) * width;
        for (f = 0; f < width; ++f) {
          const float weighted = own[f] * row[f];
          const float product = weighted * factor;
          out[p * width + f] = out[p * width + f] + product;
        }
      }
    }
  }
}
