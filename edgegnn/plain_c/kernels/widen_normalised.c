/* needs: code row_divisor row_place */
/* widen_floats of a row that is divided by its sum. */
static void widen_normalised(int16_t *row, const float *x, size_t depth, float least, const code_t *to) {
  const float divisor = row_divisor(x, depth, least);
  size_t k;
  for (k = 0; k < depth; ++k) row[ROW_PLACE(k)] = (int16_t)((int32_t)to_code(x[k] / divisor, to) - to->zero);
  row_end(row, depth);
}
