/* needs: */
static void widen_codes(int16_t *row, const uint8_t *x, size_t depth, int32_t zero) {
  size_t k;
  for (k = 0; k < depth; ++k) row[k] = (int16_t)((int32_t)x[k] - zero);
}
