/* needs: exponential_double */
/* By its series near 0, where the difference of exponentials would lose digits. */
static double hyperbolic_tangent_double(double x) {
  const double square = x * x;
  if (square < 1e-4) return x * (1.0 + square * (-0.33333333333333331 + square * (0.13333333333333333 - square * 0.053968253968253971)));
  return 1.0 - 2.0 / (exponential_double(2.0 * x) + 1.0);
}
