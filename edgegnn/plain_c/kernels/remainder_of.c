/* needs: */
/* The remainder with the sign of the divisor, as Python's; 0 where the divisor is 0. */
static int32_t remainder_of(int32_t a, int32_t b) {
  const int32_t rest = b == 0 || b == -1 ? 0 : a % b;
  return rest != 0 && (rest < 0) != (b < 0) ? rest + b : rest;
}
