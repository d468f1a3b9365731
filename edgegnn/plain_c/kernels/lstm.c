/* needs: exponential sigmoid hyperbolic_tangent */
/* One direction of an LSTM over x [steps, rows, width]; w [4 hidden, width], r [4 hidden, hidden], gates i o f c.
   y: the step from one row to the next is y_row, from one step to the next y_step; may be null. h, c [rows, hidden]:
   the state at the start, and at the end. gates: 4 hidden numbers of scratch. */
static void lstm(size_t steps, size_t rows, size_t width, size_t hidden, int backwards, const float *x, const float *w,
                 const float *r, const float *bias, float *y, size_t y_step, size_t y_row, float *h, float *c,
                 float *gates) {
  size_t b, s, g, k;
  for (b = 0; b < rows; ++b) {
    float *const own = h + b * hidden, *const cell = c + b * hidden;
    for (s = 0; s < steps; ++s) {
      const size_t t = backwards ? steps - 1 - s : s;
      const float *const in = x + (t * rows + b) * width;
      for (g = 0; g < 4 * hidden; ++g) {
        float sum = bias == NULL ? 0.0f : bias[g] + bias[4 * hidden + g], product;
        for (k = 0; k < width; ++k) {
          product = in[k] * w[g * width + k];
          sum = sum + product;
        }
        for (k = 0; k < hidden; ++k) {
          product = own[k] * r[g * hidden + k];
          sum = sum + product;
        }
        gates[g] = sum;
      }
      for (k = 0; k < hidden; ++k) {
        const float kept = sigmoid(gates[2 * hidden + k]) * cell[k];
        const float added = sigmoid(gates[k]) * hyperbolic_tangent(gates[3 * hidden + k]);
        cell[k] = kept + added;
        own[k] = sigmoid(gates[hidden + k]) * hyperbolic_tangent(cell[k]);
        if (y != NULL) y[t * y_step + b * y_row + k] = own[k];
      }
    }
  }
}
