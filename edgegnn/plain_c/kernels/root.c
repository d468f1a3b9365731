/* needs: inverse_sqrt */
static float root(float x) {
  if (!(x > 0.0f) || x > 3.4028235e38f) return x < 0.0f ? x / 0.0f - x / 0.0f : x;
  return (float)((double)x * inverse_sqrt((double)x));
}
