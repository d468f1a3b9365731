/* needs: */
/* The sum (0), mean (1), maximum (2) or minimum (3) over each row's entries of rows of x: of row pick[e], or e where pick is null. */
static float reduce_step(int how, float a, float b) {
  if (how < 2) return a + b;
  if (a != a || b != b) return a + b; /* a NaN stays one */
  return (how == 2) == (b > a) ? b : a;
}

static void reduce(int how, size_t rows, size_t width, const float *x, const index_t *indptr, const index_t *pick, float *y) {
  size_t r, e, f;
  for (r = 0; r < rows; ++r) {
    const size_t from = indptr[r], to = indptr[r + 1];
    float *out = y + r * width;
    for (f = 0; f < width; ++f) out[f] = 0.0f;
    for (e = from; e < to; ++e) {
      const float *row = x + (pick == NULL ? e : (size_t)pick[e]) * width;
      for (f = 0; f < width; ++f) out[f] = e == from && how > 1 ? row[f] : reduce_step(how, out[f], row[f]);
    }
    if (how == 1 && to > from) {
      for (f = 0; f < width; ++f) out[f] = out[f] / (float)(to - from);
    }
  }
}
