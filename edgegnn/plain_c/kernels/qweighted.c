/* needs: code clip sixteen_bits */
/* The end of a weighted sum of codes: to a float or a code. */
typedef struct {
  float scale;
  int32_t zero;
  code_t to;
} qweighted_t;

static float qweighted_value(const qweighted_t *op, float v, float row_scale, float bias) {
  v = v * op->scale;
  v = v * row_scale;
  return v + bias;
}

static void qweighted_store(const qweighted_t *op, float v, uint8_t *codes, float *floats, size_t at) {
  if (codes != NULL) {
    codes[at] = to_code(v, &op->to);
  } else {
    floats[at] = clip(v, op->to.low, op->to.high);
  }
}
