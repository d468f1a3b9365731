/* needs: segment_softmax */
/* Softmax over each row's entries of scale * (query[row] . key[col] + edge_query[row] . features), in row order; and the sums of the
   features under it, mixed [rows, heads, depth]. No features: depth is 0. */
static void dot_attention(size_t rows, size_t heads, size_t width, const float *query, const float *key, float scale,
                          const float *edge_query, const float *features, size_t depth, const index_t *indptr, const index_t *col,
                          const index_t *perm, float *y, float *mixed) {
  size_t r, e, h, k;
  for (r = 0; r < rows; ++r) {
    for (e = indptr[r]; e < indptr[r + 1]; ++e) {
      const float *edge = depth == 0 ? NULL : features + (perm == NULL ? e : (size_t)perm[e]) * depth;
      for (h = 0; h < heads; ++h) {
        const float *own = query + (r * heads + h) * width, *other = key + ((size_t)col[e] * heads + h) * width;
        float score = 0.0f;
        for (k = 0; k < width; ++k) {
          const float part = own[k] * other[k];
          score = score + part;
        }
        for (k = 0; k < depth; ++k) {
          const float part = edge_query[(r * heads + h) * depth + k] * edge[k];
          score = score + part;
        }
        y[e * heads + h] = score * scale;
      }
    }
  }
  segment_softmax(rows, heads, y, indptr, NULL, y);
  for (r = 0; r < rows && depth > 0; ++r) {
    float *out = mixed + r * heads * depth;
    for (k = 0; k < heads * depth; ++k) out[k] = 0.0f;
    for (e = indptr[r]; e < indptr[r + 1]; ++e) {
      const float *edge = features + (perm == NULL ? e : (size_t)perm[e]) * depth;
      for (h = 0; h < heads; ++h) {
        for (k = 0; k < depth; ++k) {
          const float part = edge[k] * y[e * heads + h];
          out[h * depth + k] = out[h * depth + k] + part;
        }
      }
    }
  }
}
