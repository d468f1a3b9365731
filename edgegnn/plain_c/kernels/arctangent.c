/* needs: */
/* By its series, of a number that is made small first. */
static float arctangent(float x) {
  double t = x < 0.0f ? -(double)x : (double)x, z, sum = 0.0, angle;
  int i;
  const int inverse = t > 1.0;
  int turned;
  if (x != x) return x;
  if (inverse) t = 1.0 / t;
  turned = t > 0.2679491924311227;
  if (turned) t = (t * 1.7320508075688772 - 1.0) / (t + 1.7320508075688772);
  z = t * t;
  for (i = 21; i > 0; i -= 2) sum = 1.0 / i - z * sum;
  angle = t * sum + (turned ? 0.52359877559829887 : 0.0);
  if (inverse) angle = 1.5707963267948966 - angle;
  return (float)(x < 0.0f ? -angle : angle);
}
