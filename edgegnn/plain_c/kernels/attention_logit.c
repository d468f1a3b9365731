/* needs: */
/* leaky_relu(source + target) */
static float attention_logit(float source, float target, float slope) {
  const float v = source + target;
  return v > 0.0f ? v : v * slope;
}
