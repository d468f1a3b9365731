/* needs: natural_log_double */
static float natural_log(float x) {
  if (!(x > 0.0f)) return x == 0.0f ? -INFINITY : x - x + (x < 0.0f ? INFINITY - INFINITY : x);
  return x > 3.4028235e38f ? x : (float)natural_log_double((double)x);
}
