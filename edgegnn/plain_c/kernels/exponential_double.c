/* needs: */
/* e to the power x in double, for x between -150 and 150. */
static double exponential_double(double x) {
  double r, sum = 1.0;
  int power = (int)(x * 1.4426950408889634 + (x < 0.0 ? -0.5 : 0.5)), i;
  r = x - power * 0.69314718055994531;
  for (i = 14; i > 0; --i) sum = 1.0 + r * sum / i;
  for (; power > 0; --power) sum = sum * 2.0;
  for (; power < 0; ++power) sum = sum * 0.5;
  return sum;
}
