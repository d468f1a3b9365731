/* needs: */
/* source[col] + target[row] of each entry, between low and high, in row order. */
static void edge_sums(size_t rows, size_t width, const float *source, const float *target, float low, float high,
                      const index_t *indptr, const index_t *col, float *y) {
  size_t r, e, k;
  for (r = 0; r < rows; ++r) {
    const float *own = target + r * width;
    for (e = indptr[r]; e < indptr[r + 1]; ++e) {
      const float *other = source + (size_t)col[e] * width;
      for (k = 0; k < width; ++k) {
        const float v = other[k] + own[k];
        y[e * width + k] = v < low ? low : v > high ? high : v;
      }
    }
  }
}
