/* needs: qgemm */
static void qgemm_codes(const qgemm_t *op, const int16_t *row, float row_scale, const float *addend, uint8_t *y) {
  size_t n;
  for (n = 0; n < op->width; ++n) {
    const float more = addend == NULL ? 0.0f : addend[n];
    y[n] = to_code(qgemm_value(op, row, n, row_scale, more), &op->to);
  }
}
