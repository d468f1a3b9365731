/* needs: */
/* The sine of x, or with `quarters` 1 its cosine; for |x| below 1e6. */
static float sine(float x, int quarters) {
  double r, z, sum = 1.0;
  int32_t turns;
  int i, odd;
  if (!(x > -1e9f && x < 1e9f)) return x - x;
  turns = (int32_t)((double)x * 0.63661977236758138 + (x < 0.0f ? -0.5 : 0.5));
  r = ((double)x - turns * 1.5707963267341256) - turns * 6.0771005065061922e-11;
  quarters = (int)((turns + quarters) & 3);
  odd = quarters & 1; /* the cosine of the rest, else its sine */
  z = r * r;
  for (i = odd ? 14 : 15; i > 1; i -= 2) sum = 1.0 - z * sum / (i * (i - 1));
  if (!odd) sum = sum * r;
  return (float)(quarters & 2 ? -sum : sum);
}
