/* needs: segment_softmax */
/* Softmax over each row's entries of att . leaky(source[col] + target[row] + features product), in row order. No features: depth is 0. */
static void pair_attention(size_t rows, size_t heads, size_t width, const float *source, const float *target, const float *att,
                           float slope, const float *features, size_t depth, const float *product, const index_t *indptr,
                           const index_t *col, const index_t *perm, float *y) {
  const size_t row_width = heads * width;
  size_t r, e, h, k, d;
  for (r = 0; r < rows; ++r) {
    const float *own = target + r * row_width;
    for (e = indptr[r]; e < indptr[r + 1]; ++e) {
      const float *other = source + (size_t)col[e] * row_width;
      const float *edge = depth == 0 ? NULL : features + (perm == NULL ? e : (size_t)perm[e]) * depth;
      for (h = 0; h < heads; ++h) {
        float score = 0.0f;
        for (k = h * width; k < (h + 1) * width; ++k) {
          float v = other[k] + own[k], added = 0.0f;
          for (d = 0; d < depth; ++d) {
            const float part = edge[d] * product[d * row_width + k];
            added = added + part;
          }
          if (depth > 0) v = v + added;
          v = v > 0.0f ? v : v * slope;
          v = v * att[k];
          score = score + v;
        }
        y[e * heads + h] = score;
      }
    }
  }
  segment_softmax(rows, heads, y, indptr, NULL, y);
}
