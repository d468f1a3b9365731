/* needs: */
static int all_finite(size_t count, const float *x) {
  size_t i;
  for (i = 0; i < count; ++i) {
    if (!(x[i] - x[i] == 0.0f)) return 0;
  }
  return 1;
}
