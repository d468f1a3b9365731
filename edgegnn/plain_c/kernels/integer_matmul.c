/* needs: */
/* y = (x - zero) w, w [width, depth] (transposed). */
static void integer_matmul(size_t rows, size_t depth, size_t width, const uint8_t *x, int32_t zero, const int8_t *w, int32_t *y) {
  size_t r, n, k;
  for (r = 0; r < rows; ++r) {
    for (n = 0; n < width; ++n) {
      int32_t sum = 0;
      for (k = 0; k < depth; ++k) sum += ((int32_t)x[r * depth + k] - zero) * (int32_t)w[n * depth + k];
      y[r * width + n] = sum;
    }
  }
}
