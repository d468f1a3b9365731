/* needs: code row_place */
static void widen_floats(int16_t *row, const float *x, size_t depth, const code_t *to) {
  size_t k;
  for (k = 0; k < depth; ++k) row[ROW_PLACE(k)] = (int16_t)((int32_t)to_code(x[k], to) - to->zero);
  row_end(row, depth);
}
