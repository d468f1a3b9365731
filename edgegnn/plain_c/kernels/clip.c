/* needs: */
/* v within [low, high]; a NaN stays one. */
static float clip(float v, float low, float high) {
  return v < low ? low : v > high ? high : v;
}
