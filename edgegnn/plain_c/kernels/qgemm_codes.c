/* needs: qgemm */
/* One or two rows, the second one behind the first in `row`, in `addend` and in `y`. */
static NOT_INLINED void qgemm_codes(const qgemm_t *op, const int16_t *row, size_t rows, const float *row_scale, size_t scale_step,
                        const float *addend, uint8_t *y) {
  const int16_t *const other = rows > 1 ? row + op->depth : row;
  const float first = row_scale[0], second = row_scale[rows > 1 ? scale_step : 0];
  const qgemm_t own = *op; /* a copy: bytes that are written to y could be those of *op */
  size_t n;
  if (addend == NULL && own.gain == NULL && own.start == NULL && first == 1.0f && second == 1.0f) {
    uint8_t *const below = rows > 1 ? y + own.width : y;
    for (n = 0; n < own.width; n += 2) { /* products with 1 and sums with 0 are left out: they change no code */
      const size_t m = n + 1 < own.width ? n + 1 : n;
      const dots_t sum = column_products(own.depth, own.step, row, other, own.w, n, m);
      const float factor = own.factor[n], next_factor = own.factor[m];
      const float bias = own.bias[n * own.bias_step], next_bias = own.bias[m * own.bias_step];
      float v = (float)sum.au * factor;
      y[n] = to_code(v + bias, &own.to);
      v = (float)sum.av * next_factor;
      y[m] = to_code(v + next_bias, &own.to);
      v = (float)sum.bu * factor;
      below[n] = to_code(v + bias, &own.to);
      v = (float)sum.bv * next_factor;
      below[m] = to_code(v + next_bias, &own.to);
    }
    return;
  }
  for (n = 0; n < own.width; n += 2) {
    const size_t m = n + 1 < own.width ? n + 1 : n;
    const dots_t sum = column_products(own.depth, own.step, row, other, own.w, n, m);
    y[n] = to_code(qgemm_value(&own, sum.au, n, first, addend == NULL ? 0.0f : addend[n]), &own.to);
    y[m] = to_code(qgemm_value(&own, sum.av, m, first, addend == NULL ? 0.0f : addend[m]), &own.to);
    if (rows > 1) {
      const float *const more = addend == NULL ? NULL : addend + own.width;
      y[own.width + n] = to_code(qgemm_value(&own, sum.bu, n, second, more == NULL ? 0.0f : more[n]), &own.to);
      y[own.width + m] = to_code(qgemm_value(&own, sum.bv, m, second, more == NULL ? 0.0f : more[m]), &own.to);
    }
  }
}
