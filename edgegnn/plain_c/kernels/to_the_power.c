/* needs: natural_log_double exponential_double whole */
/* x to the power y, as C's powf. */
static float to_the_power(float x, float y) {
  const float size = x < 0.0f ? -x : x;
  double exponent;
  float found;
  if (y == 0.0f || x == 1.0f) return 1.0f;
  if (x != x || y != y) return x + y;
  if (x < 0.0f && whole(y, 0) != y) return INFINITY - INFINITY;
  if (size == 0.0f || size > 3.4028235e38f || y - y != 0.0f) {
    if (size == 1.0f) return 1.0f;
    found = (size > 1.0f) == (y > 0.0f) ? INFINITY : 0.0f;
  } else {
    exponent = (double)y * natural_log_double((double)size);
    found = exponent > 100.0 ? INFINITY : exponent < -110.0 ? 0.0f : (float)exponential_double(exponent);
  }
  return x < 0.0f && whole(y * 0.5f, 0) * 2.0f != y ? -found : found;
}
