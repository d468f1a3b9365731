/* needs: dot_products packed_products */
/* The sums of products of two rows with columns n and m; from column to column are `step` bytes, fewer than depth where weights are packed. */
static inline dots_t column_products(size_t depth, size_t step, const int16_t *a, const int16_t *b, const int8_t *w, size_t n, size_t m) {
#if defined(EDGEGNN_PACKED_WEIGHTS) && defined(EDGEGNN_BYTE_WEIGHTS)
  return step < depth ? packed_products(depth, a, b, w + n * step, w + m * step) : dot_products(depth, a, b, w + n * step, w + m * step);
#elif defined(EDGEGNN_PACKED_WEIGHTS)
  return packed_products(depth, a, b, w + n * step, w + m * step);
#else
  return dot_products(depth, a, b, w + n * step, w + m * step);
#endif
}
