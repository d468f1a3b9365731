/* needs: code */
/* Codes whose steps and tops are each row's or each column's own; zero is 128 of signed codes, else 0. */
typedef struct {
  size_t step_row, step_column, top_row, top_column, factor_column;
  int32_t zero;
} quantize_rows_t;

static uint8_t quantize_one(float v, float top, int32_t zero) {
  code_t to;
  const float least = (float)-zero, most = (float)(255 - zero), end = zero == 0 ? 0.0f : -top;
  to.low = end > least ? (end < most ? end : most) : least;
  to.high = top > to.low ? (top < most ? top : most) : to.low;
  to.scale = 1.0f;
  to.least = to.low;
  to.most = to.high;
  to.zero = zero;
  return to_code(v, &to);
}

static void quantize_rows(const quantize_rows_t *op, size_t rows, size_t width, const float *x, const float *step, const float *top,
                          const float *factor, uint8_t *y) {
  size_t r, f;
  for (r = 0; r < rows; ++r) {
    for (f = 0; f < width; ++f) {
      float v = x[r * width + f] * factor[f * op->factor_column];
      v = v / step[r * op->step_row + f * op->step_column];
      y[r * width + f] = quantize_one(v, top[r * op->top_row + f * op->top_column], op->zero);
    }
  }
}
