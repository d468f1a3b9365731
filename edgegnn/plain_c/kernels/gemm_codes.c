/* needs: */
/* As gemm, with weights w[n][k] * scale[n * step] that are kept as codes. */
static void gemm_codes(size_t rows, size_t depth, size_t width, const float *x, const int8_t *w, const float *scale, size_t step,
                       const float *bias, float *y) {
  size_t r, n, k;
  for (r = 0; r < rows; ++r) {
    for (n = 0; n < width; ++n) {
      float sum = 0.0f;
      for (k = 0; k < depth; ++k) {
        const float weight = (float)w[n * depth + k] * scale[n * step];
        const float product = x[r * depth + k] * weight;
        sum = sum + product;
      }
      y[r * width + n] = bias == NULL ? sum : sum + bias[n];
    }
  }
}
