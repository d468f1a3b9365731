/* needs: */
/* The natural logarithm in double, by the series of the inverse hyperbolic tangent. x is above 0 and finite. */
static double natural_log_double(double x) {
  double s, z, sum = 0.0;
  int power = 0, i;
  for (; x > 1.4142135623730951; ++power) x = x * 0.5;
  for (; x < 0.70710678118654752; --power) x = x * 2.0;
  s = (x - 1.0) / (x + 1.0);
  z = s * s;
  for (i = 21; i > 0; i -= 2) sum = sum * z + 1.0 / i;
  return 2.0 * s * sum + power * 0.69314718055994531;
}
