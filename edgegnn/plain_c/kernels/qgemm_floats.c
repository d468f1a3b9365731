/* needs: qgemm clip */
/* As qgemm_codes, to floats. */
static NOT_INLINED void qgemm_floats(const qgemm_t *op, const int16_t *row, size_t rows, const float *row_scale, size_t scale_step,
                         const float *addend, float *y) {
  const int16_t *const other = rows > 1 ? row + op->depth : row;
  const float first = row_scale[0], second = row_scale[rows > 1 ? scale_step : 0], low = op->to.low, high = op->to.high;
  size_t n;
  for (n = 0; n < op->width; n += 2) {
    const size_t m = n + 1 < op->width ? n + 1 : n;
    const dots_t sum = column_products(op->depth, op->step, row, other, op->w, n, m);
    y[n] = clip(qgemm_value(op, sum.au, n, first, addend == NULL ? 0.0f : addend[n]), low, high);
    y[m] = clip(qgemm_value(op, sum.av, m, first, addend == NULL ? 0.0f : addend[m]), low, high);
    if (rows > 1) {
      const float *const more = addend == NULL ? NULL : addend + op->width;
      y[op->width + n] = clip(qgemm_value(op, sum.bu, n, second, more == NULL ? 0.0f : more[n]), low, high);
      y[op->width + m] = clip(qgemm_value(op, sum.bv, m, second, more == NULL ? 0.0f : more[m]), low, high);
    }
  }
}
