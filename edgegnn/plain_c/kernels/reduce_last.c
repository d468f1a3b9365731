/* needs: root */
/* The sum (0), mean (1), maximum (2), minimum (3) or Euclidean norm (4) of each row of x [rows, width]. */
static void reduce_last(int how, size_t rows, size_t width, const float *x, float *y) {
  size_t r, f;
  for (r = 0; r < rows; ++r) {
    const float *row = x + r * width;
    float v = how == 2 || how == 3 ? row[0] : 0.0f;
    for (f = 0; f < width; ++f) {
      const float own = how == 4 ? row[f] * row[f] : row[f];
      if (how == 2 || how == 3) {
        v = own != own || v != v ? own + v : (how == 2) == (own > v) ? own : v;
      } else {
        v = v + own;
      }
    }
    y[r] = how == 1 ? v / (float)width : how == 4 ? root(v) : v;
  }
}
