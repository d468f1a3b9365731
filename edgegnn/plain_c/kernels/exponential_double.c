/* needs: */
/* e to the power x in double. */
static double exponential_double(double x) {
  double r, sum = 1.0;
  int power, i;
  if (x != x) return x;
  if (x > 709.0) return (double)INFINITY;
  if (x < -745.0) return 0.0;
  power = (int)(x * 1.4426950408889634 + (x < 0.0 ? -0.5 : 0.5));
  r = (x - power * 0.693147180369123816490) - power * 1.90821492927058770002e-10;
  for (i = 18; i > 0; --i) sum = 1.0 + r * sum / i;
  for (; power > 0; --power) sum = sum * 2.0;
  for (; power < 0; ++power) sum = sum * 0.5;
  return sum;
}
