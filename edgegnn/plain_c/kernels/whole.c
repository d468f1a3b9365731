/* needs: */
/* The whole number below (0), above (1) or next to x (2; of two, the even one). */
static float whole(float x, int how) {
  float down, rest;
  if (!(x > -8388608.0f && x < 8388608.0f)) return x;
  down = (float)(int32_t)x;
  if (down > x) down = down - 1.0f;
  rest = x - down;
  if (how == 1) return rest > 0.0f ? down + 1.0f : down;
  if (how == 2) return rest > 0.5f || (rest == 0.5f && (int32_t)down % 2 != 0) ? down + 1.0f : down;
  return down;
}
