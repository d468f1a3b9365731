/* needs: */
/* [target[row], source[col] - target[row]] of each entry, in row order. */
static void edge_differences(size_t rows, size_t width, const float *source, const float *target, const index_t *indptr,
                             const index_t *col, float *y) {
  size_t r, e, k;
  for (r = 0; r < rows; ++r) {
    const float *own = target + r * width;
    for (e = indptr[r]; e < indptr[r + 1]; ++e) {
      const float *other = source + (size_t)col[e] * width;
      for (k = 0; k < width; ++k) {
        y[e * 2 * width + k] = own[k];
        y[e * 2 * width + width + k] = other[k] - own[k];
      }
    }
  }
}
