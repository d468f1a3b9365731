/* needs: */
/* A row for products: its length is a multiple of 4, and what is beyond the model's is 0. */
#if defined(__ARM_FEATURE_SIMD32) && defined(__GNUC__) && !defined(__ARM_FEATURE_MVE)
#define EDGEGNN_SIMD32 1 /* two products of 16 bits in one instruction: each four numbers lie as 0, 2, 1, 3 */
#define ROW_PLACE(k) (((k) & ~(size_t)3) | (((k) & 1) << 1) | (((k) >> 1) & 1))
#else
#define ROW_PLACE(k) (k)
#endif

static size_t row_length(size_t depth) {
  return (depth + 3) & ~(size_t)3;
}

static void row_end(int16_t *row, size_t depth) {
  size_t k;
  for (k = depth; k < row_length(depth); ++k) row[ROW_PLACE(k)] = 0;
}
