/* needs: exponential */
/* By its series near 0, where the difference of exponentials would lose digits. */
static float hyperbolic_tangent(float x) {
  const float square = x * x;
  if (square < 0.0025f) return x * (1.0f + square * (-0.33333333f + square * 0.13333333f));
  return 1.0f - 2.0f / (exponential(2.0f * x) + 1.0f);
}
