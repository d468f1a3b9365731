/* needs: */
/* One coordinate after the other, never above the largest finite number. */
static float squared_distance(size_t width, const float *a, const float *b) {
  float sum = 0.0f;
  size_t k;
  for (k = 0; k < width; ++k) {
    const float difference = b[k] - a[k];
    const float square = difference * difference;
    sum = sum + square;
  }
  return sum > 3.4028235e38f ? 3.4028235e38f : sum;
}
