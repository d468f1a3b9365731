/* needs: exponential sigmoid hyperbolic_tangent */
/* One direction of a GRU; as lstm, with the gates z r h. `linear`: the reset gate multiplies after the product. */
static void gru(size_t steps, size_t rows, size_t width, size_t hidden, int backwards, int linear, const float *x,
                const float *w, const float *r, const float *bias, float *y, size_t y_step, size_t y_row, float *h,
                float *gates) {
  size_t b, s, g, k;
  float product;
  for (b = 0; b < rows; ++b) {
    float *const own = h + b * hidden;
    for (s = 0; s < steps; ++s) {
      const size_t t = backwards ? steps - 1 - s : s;
      const float *const in = x + (t * rows + b) * width;
      for (g = 0; g < 3 * hidden; ++g) {
        float sum = bias == NULL ? 0.0f : bias[g], state = bias == NULL ? 0.0f : bias[3 * hidden + g];
        for (k = 0; k < width; ++k) {
          product = in[k] * w[g * width + k];
          sum = sum + product;
        }
        for (k = 0; k < hidden; ++k) {
          product = (g < 2 * hidden || linear ? own[k] : own[k] * gates[hidden + k]) * r[g * hidden + k];
          state = state + product;
        }
        if (g < 2 * hidden) {
          gates[g] = sigmoid(sum + state);
        } else {
          product = linear ? gates[g - hidden] * state : state;
          gates[g] = hyperbolic_tangent(sum + product);
        }
      }
      for (k = 0; k < hidden; ++k) {
        const float kept = gates[k] * own[k];
        const float added = (1.0f - gates[k]) * gates[2 * hidden + k];
        own[k] = added + kept;
        if (y != NULL) y[t * y_step + b * y_row + k] = own[k];
      }
    }
  }
}
