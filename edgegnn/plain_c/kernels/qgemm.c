/* needs: code */
/* A row of codes, widened and less its zero point, times a matrix of int8 weights whose columns lie one behind the other. */
typedef struct {
  size_t depth, width;
  const int8_t *w;
  const float *factor, *bias;
  size_t bias_step;
  const int32_t *start; /* where sums start; null: at 0 */
  const float *gain, *shift; /* null: no norm behind the clip */
  float before_low, before_high;
  code_t to;
} qgemm_t;

static float qgemm_value(const qgemm_t *op, const int16_t *row, size_t n, float row_scale, float addend) {
  const int8_t *w = op->w + n * op->depth;
  int32_t sum = op->start == NULL ? 0 : op->start[n];
  float v;
  size_t k;
  for (k = 0; k < op->depth; ++k) sum += (int32_t)row[k] * (int32_t)w[k];
  v = (float)sum;
  v = v * op->factor[n];
  v = v * row_scale;
  v = v + op->bias[n * op->bias_step];
  v = v + addend;
  if (op->gain != NULL) {
    v = v < op->before_low ? op->before_low : v > op->before_high ? op->before_high : v;
    v = v * op->gain[n];
    v = v + op->shift[n];
  }
  return v;
}
