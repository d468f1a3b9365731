/* needs: code */
/* Sums of codes over each row's neighbours. */
typedef struct {
  float scale, self_weight;
  int32_t zero;
  code_t to;
} qspmm_t;

static inline float qspmm_value(const qspmm_t *op, int32_t sum, uint8_t own, float row_scale, float bias) {
  float v = (float)sum;
  float self = (float)((int32_t)own - op->zero);
  self = op->self_weight * self;
  if (op->self_weight < 0.0f || op->self_weight > 0.0f) v = v + self;
  v = v * op->scale;
  v = v * row_scale;
  return v + bias;
}

/* The sums for 4 columns from the one on that x points to, or for the `some` that there are. */
static inline void qspmm_sums(const uint8_t *x, size_t some, size_t width, int32_t zero, const index_t *col, size_t from, size_t to,
                              int32_t sums[4]) {
  const index_t *const end = col + to;
  int32_t a = 0, b = 0, c = 0, d = 0;
  if (some == 4) {
    for (col += from; col != end; ++col) {
      const uint8_t *const own = x + (size_t)*col * width;
      a += own[0];
      b += own[1];
      c += own[2];
      d += own[3];
    }
  } else {
    for (col += from; col != end; ++col) {
      const uint8_t *const own = x + (size_t)*col * width;
      a += own[0];
      if (some > 1) b += own[1];
      if (some > 2) c += own[2];
    }
  }
  zero = (int32_t)(to - from) * zero;
  sums[0] = a - zero;
  sums[1] = b - zero;
  sums[2] = c - zero;
  sums[3] = d - zero;
}
