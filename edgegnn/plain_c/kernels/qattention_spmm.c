/* needs: attention_top exponential qweighted */
static void qattention_spmm(const qweighted_t *op, size_t rows, size_t heads, size_t width, const uint8_t *x, const float *a_src,
                            const float *a_dst, float slope, const index_t *indptr, const index_t *col, const float *bias,
                            size_t bias_step, uint8_t *codes, float *floats, float *row) {
  size_t r, e, h, f;
  for (r = 0; r < rows; ++r) {
    for (h = 0; h < heads; ++h) {
      const float target = a_dst[r * heads + h];
      const float top = attention_top(a_src + h, heads, target, slope, col, indptr[r], indptr[r + 1]);
      float sum = 0.0f;
      for (f = 0; f < width; ++f) row[f] = 0.0f;
      for (e = indptr[r]; e < indptr[r + 1]; ++e) {
        const float power = exponential(attention_logit(a_src[(size_t)col[e] * heads + h], target, slope) - top);
        const float weight = sixteen_bits(power);
        sum = sum + power;
        for (f = 0; f < width; ++f) {
          const float product = weight * (float)((int32_t)x[((size_t)col[e] * heads + h) * width + f] - op->zero);
          row[f] = row[f] + product;
        }
      }
      sum = sum + 1e-16f;
      sum = 1.0f / sum;
      for (f = 0; f < width; ++f) {
        const size_t column = h * width + f;
        const float v = row[f] * sum;
        qweighted_store(op, qweighted_value(op, v, 1.0f, bias[column * bias_step]), codes, floats, r * heads * width + column);
      }
    }
  }
}
