/* needs: row_place */
static void widen_codes(int16_t *row, const uint8_t *x, size_t depth, int32_t zero) {
  const size_t whole = depth & ~(size_t)3;
  size_t k;
  for (k = 0; k < whole; k += 4) {
    row[ROW_PLACE(k)] = (int16_t)((int32_t)x[k] - zero);
    row[ROW_PLACE(k + 1)] = (int16_t)((int32_t)x[k + 1] - zero);
    row[ROW_PLACE(k + 2)] = (int16_t)((int32_t)x[k + 2] - zero);
    row[ROW_PLACE(k + 3)] = (int16_t)((int32_t)x[k + 3] - zero);
  }
  for (k = whole; k < depth; ++k) row[ROW_PLACE(k)] = (int16_t)((int32_t)x[k] - zero);
  row_end(row, depth);
}
