/* needs: inverse_sqrt */
static float inverse_root(float x) {
  if (!(x > 0.0f) || x > 3.4028235e38f) return x < 0.0f ? x / 0.0f - x / 0.0f : 1.0f / x;
  return (float)inverse_sqrt((double)x);
}
