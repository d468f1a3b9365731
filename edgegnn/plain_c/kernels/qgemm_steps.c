/* needs: column_products */
/* As qgemm_codes, without floats: a code is (sum * multiplier + offset) >> 32 within its column's ends, but for the rare sums. */
typedef struct {
  int32_t sum;
  uint16_t column;
  uint8_t code;
} rare_t;

typedef struct {
  size_t depth, width, step;
  const int8_t *w;
  const int32_t *multiplier;
  const int64_t *offset;
  const uint8_t *ends; /* the least and the largest code of each column */
  const rare_t *rare; /* by column; the last one's is 65535 */
} qsteps_t;

static inline int32_t within(int32_t code, int32_t least, int32_t most) {
  code = code < least ? least : code;
  return code > most ? most : code;
}

/* The codes of two sums of column n. */
static inline void step_codes(const qsteps_t *op, size_t n, int32_t sum, int32_t other, uint8_t *y, uint8_t *below) {
  const int32_t multiplier = op->multiplier[n], least = op->ends[2 * n], most = op->ends[2 * n + 1];
  const int64_t offset = op->offset[n];
  const int32_t code = (int32_t)(((int64_t)sum * multiplier + offset) >> 32);
  const int32_t another = (int32_t)(((int64_t)other * multiplier + offset) >> 32);
  y[n] = (uint8_t)within(code, least, most);
  below[n] = (uint8_t)within(another, least, most);
}

static NOT_INLINED void qgemm_steps(const qsteps_t *op, const int16_t *row, size_t rows, uint8_t *y) {
  const qsteps_t own = *op; /* a copy: bytes that are written to y could be those of *op */
  const int16_t *const other = rows > 1 ? row + own.depth : row;
  uint8_t *const below = rows > 1 ? y + own.width : y;
  const rare_t *rare = own.rare;
  size_t n;
  for (n = 0; n < own.width; n += 2) {
    const size_t m = n + 1 < own.width ? n + 1 : n;
    const dots_t sum = column_products(own.depth, own.step, row, other, own.w, n, m);
    step_codes(&own, n, sum.au, sum.bu, y, below);
    step_codes(&own, m, sum.av, sum.bv, y, below);
    for (; rare->column <= m; ++rare) {
      if ((rare->column == n ? sum.au : sum.av) == rare->sum) y[rare->column] = rare->code;
      if ((rare->column == n ? sum.bu : sum.bv) == rare->sum) below[rare->column] = rare->code;
    }
  }
}
