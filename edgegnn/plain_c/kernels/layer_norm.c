/* needs: inverse_root */
static void layer_norm(size_t rows, size_t width, float epsilon, const float *x, const float *scale, const float *bias, float *y) {
  size_t r, f;
  for (r = 0; r < rows; ++r) {
    const float *row = x + r * width;
    float mean = 0.0f, variance = 0.0f, factor;
    for (f = 0; f < width; ++f) mean = mean + row[f];
    mean = mean / (float)width;
    for (f = 0; f < width; ++f) {
      const float square = (row[f] - mean) * (row[f] - mean);
      variance = variance + square;
    }
    factor = inverse_root(variance / (float)width + epsilon);
    for (f = 0; f < width; ++f) {
      const float v = (row[f] - mean) * factor * scale[f];
      y[r * width + f] = bias == NULL ? v : v + bias[f];
    }
  }
}
