/* needs: squared_distance */
/* Edges from the first `most` points of x that are nearer than a radius to each of y; as nearest_points. */
static size_t points_within(float squared_radius, size_t most, int loop, size_t width, size_t sources, const float *x,
                            size_t queries, const float *y, int32_t *out, size_t room) {
  size_t q, s, total = 0;
  for (q = 0; q < queries; ++q) {
    size_t used = 0;
    for (s = 0; s < sources && used < most; ++s) {
      if (!loop && s == q) continue;
      if (!(squared_distance(width, x + s * width, y + q * width) < squared_radius)) continue;
      out[total] = (int32_t)s;
      out[room + total] = (int32_t)q;
      ++total;
      ++used;
    }
  }
  return total;
}
