/* needs: code */
/* Sums of codes over each row's neighbours. */
typedef struct {
  float scale, self_weight;
  int32_t zero;
  code_t to;
} qspmm_t;

static float qspmm_value(const qspmm_t *op, int32_t sum, uint8_t own, float row_scale, float bias) {
  float v = (float)sum;
  float self = (float)((int32_t)own - op->zero);
  self = op->self_weight * self;
  if (op->self_weight < 0.0f || op->self_weight > 0.0f) v = v + self;
  v = v * op->scale;
  v = v * row_scale;
  return v + bias;
}

/* The sum for the column x points to. */
static int32_t qspmm_sum(const uint8_t *x, size_t width, int32_t zero, const index_t *col, size_t from, size_t to) {
  int32_t sum = 0;
  size_t e;
  for (e = from; e < to; ++e) sum += (int32_t)x[(size_t)col[e] * width] - zero;
  return sum;
}
