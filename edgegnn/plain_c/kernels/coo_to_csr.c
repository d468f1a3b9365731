/* needs: */
/* Groups edges by destination, stable. `loops`: edges from a node to itself are left out, then each node gets one; perm
   counts the edges that are left, and the loops behind them. */
static void coo_to_csr(size_t rows, size_t edges, const int32_t *source, const int32_t *target, int loops, index_t *indptr,
                       index_t *col, index_t *perm) {
  size_t r, e, at = 0, kept = 0;
  for (r = 0; r <= rows; ++r) indptr[r] = 0;
  for (e = 0; e < edges; ++e) {
    if (!(loops && source[e] == target[e])) indptr[target[e]] = (index_t)(indptr[target[e]] + 1);
  }
  for (r = 0; r < rows; ++r) {
    const size_t degree = (size_t)indptr[r] + (loops ? 1U : 0U);
    indptr[r] = (index_t)at;
    at += degree;
  }
  indptr[rows] = (index_t)at;
  for (e = 0; e < edges; ++e) {
    if (!(loops && source[e] == target[e])) {
      const size_t place = indptr[target[e]];
      indptr[target[e]] = (index_t)(place + 1);
      col[place] = (index_t)source[e];
      if (perm != NULL) perm[place] = (index_t)kept;
      ++kept;
    }
  }
  for (r = 0; loops && r < rows; ++r) {
    const size_t place = indptr[r];
    indptr[r] = (index_t)(place + 1);
    col[place] = (index_t)r;
    if (perm != NULL) perm[place] = (index_t)(kept + r);
  }
  for (r = rows; r > 0; --r) indptr[r] = indptr[r - 1]; /* each was the end of its row by now */
  indptr[0] = 0;
}
