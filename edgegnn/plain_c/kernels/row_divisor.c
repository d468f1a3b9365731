/* needs: */
/* What a row is divided by: its sum, or `least` where that is less. Sixteen sums of every sixteenth element, then halves. */
static float row_divisor(const float *x, size_t depth, float least) {
  float part[16];
  size_t k, half;
  for (k = 0; k < 16; ++k) part[k] = 0.0f;
  for (k = 0; k < depth; ++k) part[k % 16] = part[k % 16] + x[k];
  for (half = 8; half > 0; half /= 2) {
    for (k = 0; k < half; ++k) part[k] = part[k] + part[k + half];
  }
  return part[0] <= least ? least : part[0];
}
