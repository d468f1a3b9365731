/* needs: */
/* y = x w + bias, x [rows, depth], w [width, depth] (transposed); bias may be null. */
static void gemm(size_t rows, size_t depth, size_t width, const float *x, const float *w, const float *bias, float *y) {
  size_t r, n, k;
  for (r = 0; r < rows; ++r) {
    for (n = 0; n < width; ++n) {
      float sum = 0.0f;
      for (k = 0; k < depth; ++k) {
        const float product = x[r * depth + k] * w[n * depth + k];
        sum = sum + product;
      }
      y[r * width + n] = bias == NULL ? sum : sum + bias[n];
    }
  }
}
