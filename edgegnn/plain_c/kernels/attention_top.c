/* needs: attention_logit larger */
/* The largest logit of the entries [from, to) for one head. */
static float attention_top(const float *a_src, size_t heads, float target, float slope, const index_t *col, size_t from, size_t to) {
  float top = -3.4028235e38f * 10.0f;
  size_t e;
  for (e = from; e < to; ++e) top = larger(top, attention_logit(a_src[(size_t)col[e] * heads], target, slope));
  return top;
}
