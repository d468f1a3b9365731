/* needs: */
/* The larger of two numbers; NaN when one of them is. */
static float larger(float a, float b) {
  return a != a ? a : b != b ? b : b > a ? b : a;
}
