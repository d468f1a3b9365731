/* needs: code */
static void widen_floats(int16_t *row, const float *x, size_t depth, const code_t *to) {
  size_t k;
  for (k = 0; k < depth; ++k) row[k] = (int16_t)((int32_t)to_code(x[k], to) - to->zero);
}
