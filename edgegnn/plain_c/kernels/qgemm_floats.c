/* needs: qgemm clip */
static void qgemm_floats(const qgemm_t *op, const int16_t *row, float row_scale, const float *addend, float *y) {
  size_t n;
  for (n = 0; n < op->width; ++n) {
    const float more = addend == NULL ? 0.0f : addend[n];
    y[n] = clip(qgemm_value(op, row, n, row_scale, more), op->to.low, op->to.high);
  }
}
