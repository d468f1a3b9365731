/* needs: */
/* How a number v becomes a code: divided by scale, kept in [least, most], rounded half to even, + zero. */
typedef struct {
  float low, high; /* the bounds of v, which are in least and most, too */
  float scale, least, most;
  int32_t zero;
} code_t;

static uint8_t to_code(float v, const code_t *to) {
  union {
    float number;
    uint32_t bits;
  } r;
  r.number = v / to->scale;
  if (!(r.number > to->least)) r.number = to->least; /* NaN, too */
  if (r.number > to->most) r.number = to->most;
  r.number = r.number + 12582912.0f; /* 1.5 * 2^23: the last bits are the whole number, whatever the processor */
  return (uint8_t)(r.bits + (uint32_t)to->zero);
}
