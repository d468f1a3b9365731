/* needs: exponential larger */
/* Softmax of logits [entries, heads] over the entries of each row; in and out in the order of the edge list. */
static void segment_softmax(size_t rows, size_t heads, const float *logits, const index_t *indptr, const index_t *perm, float *y) {
  size_t r, e, h;
  for (r = 0; r < rows; ++r) {
    for (h = 0; h < heads; ++h) {
      float top = -3.4028235e38f * 10.0f, sum = 0.0f;
      for (e = indptr[r]; e < indptr[r + 1]; ++e) {
        top = larger(top, logits[(perm == NULL ? e : (size_t)perm[e]) * heads + h]);
      }
      for (e = indptr[r]; e < indptr[r + 1]; ++e) {
        const size_t at = (perm == NULL ? e : (size_t)perm[e]) * heads + h;
        const float power = exponential(logits[at] - top);
        sum = sum + power;
        y[at] = power;
      }
      sum = sum + 1e-16f;
      for (e = indptr[r]; e < indptr[r + 1]; ++e) {
        const size_t at = (perm == NULL ? e : (size_t)perm[e]) * heads + h;
        y[at] = y[at] / sum;
      }
    }
  }
}
