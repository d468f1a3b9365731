/* needs: */
/* How a number v becomes a code: kept in [low, high], divided by scale, rounded half to even, kept in [least, most], + zero. */
typedef struct {
  float low, high, scale, least, most;
  int32_t zero;
} code_t;

static uint8_t to_code(float v, const code_t *to) {
  float r;
  if (!(v > to->low)) v = to->low; /* NaN, too */
  if (v > to->high) v = to->high;
  r = v / to->scale;
  if (r < to->least) r = to->least;
  if (r > to->most) r = to->most;
  r = r + 12582912.0f; /* 1.5 * 2^23: no digits are left behind the point, whatever the processor */
  r = r - 12582912.0f;
  return (uint8_t)((int32_t)r + to->zero);
}
