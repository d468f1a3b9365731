/* needs: code column_products */
/* Rows of codes, widened and less their zero point, times a matrix of int8 weights whose columns lie one behind the other. */
typedef struct {
  size_t depth, width, step; /* depth: a multiple of 4; weights beyond the model's are 0; step: bytes of a column */
  const int8_t *w;
  const float *factor, *bias;
  size_t bias_step;
  const int32_t *start; /* where sums start; null: at 0 */
  const float *gain, *shift; /* null: no norm behind the clip */
  float before_low, before_high;
  code_t to;
} qgemm_t;

static inline float qgemm_value(const qgemm_t *op, int32_t sum, size_t n, float row_scale, float addend) {
  float v = (float)(op->start == NULL ? sum : sum + op->start[n]);
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
