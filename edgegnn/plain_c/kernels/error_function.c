/* needs: exponential_double */
static float error_function(float x) {
  double t = (double)x, term, sum;
  int i;
  if (!(x > -4.0f && x < 4.0f)) return x != x ? x : x > 0.0f ? 1.0f : -1.0f;
  term = t;
  sum = t;
  for (i = 1; i < 80; ++i) {
    term = term * 2.0 * t * t / (2 * i + 1);
    sum = sum + term;
  }
  return (float)(1.1283791670955126 * exponential_double(-t * t) * sum);
}
