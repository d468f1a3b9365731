/* needs: exponential natural_log */
/* The sum over each row's entries of sigmoid(gate) * softplus(value), each a sum of rows of both ends; with features of the edges times a
   product of its own, where depth is not 0. */
static float both_ends(const float *source, const float *target, const float *edge, size_t depth, const float *product, size_t width,
                       size_t k) {
  float v = source[k] + target[k], added = 0.0f;
  size_t d;
  for (d = 0; d < depth; ++d) {
    const float part = edge[d] * product[d * width + k];
    added = added + part;
  }
  return depth > 0 ? v + added : v;
}

static void gated_sum(size_t rows, size_t width, const float *gate_source, const float *gate_target, const float *value_source,
                      const float *value_target, const float *features, size_t depth, const float *gate_product,
                      const float *value_product, const index_t *indptr, const index_t *col, const index_t *perm, float *y) {
  size_t r, e, k;
  for (r = 0; r < rows; ++r) {
    float *out = y + r * width;
    for (k = 0; k < width; ++k) out[k] = 0.0f;
    for (e = indptr[r]; e < indptr[r + 1]; ++e) {
      const size_t from = (size_t)col[e] * width;
      const float *edge = depth == 0 ? NULL : features + (perm == NULL ? e : (size_t)perm[e]) * depth;
      for (k = 0; k < width; ++k) {
        const float gate = both_ends(gate_source + from, gate_target + r * width, edge, depth, gate_product, width, k);
        const float value = both_ends(value_source + from, value_target + r * width, edge, depth, value_product, width, k);
        const float share = 1.0f / (1.0f + exponential(-gate));
        const float softplus = (value > 0.0f ? value : 0.0f) + natural_log(1.0f + exponential(value > 0.0f ? -value : value));
        const float message = share * softplus;
        out[k] = out[k] + message;
      }
    }
  }
}
