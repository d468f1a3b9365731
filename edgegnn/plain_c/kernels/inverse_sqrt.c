/* needs: */
/* 1 / sqrt(x) in double, by Newton's method: no libm. x is above 0 and finite. */
static double inverse_sqrt(double x) {
  double scale = 1.0, y;
  int i;
  while (x >= 4.0) {
    x = x * 0.25;
    scale = scale * 0.5;
  }
  while (x < 1.0) {
    x = x * 4.0;
    scale = scale * 2.0;
  }
  y = 0.75;
  for (i = 0; i < 9; ++i) {
    double square = y * y;
    square = square * x;
    square = 1.5 - 0.5 * square;
    y = y * square;
  }
  return y * scale;
}
