/* needs: squared_distance */
/* Edges from the k nearest of x to each of y, from near to far; gives their number. Row 0 of `out` has `room` places.
   Without `loop` the k + 1 nearest are taken, and the one with the query's own number is left out. */
static size_t nearest_points(size_t k, int loop, size_t width, size_t sources, const float *x, size_t queries,
                             const float *y, float *near, int32_t *places, int32_t *out, size_t room) {
  const size_t most = loop ? k : k + 1;
  size_t q, s, i, total = 0;
  for (q = 0; q < queries; ++q) {
    size_t used = 0;
    for (s = 0; s < sources; ++s) {
      const float distance = squared_distance(width, x + s * width, y + q * width);
      size_t at = used;
      if (used == most) {
        if (!(distance < near[most - 1])) continue;
        at = most - 1;
      } else {
        ++used;
      }
      for (; at > 0 && distance < near[at - 1]; --at) {
        near[at] = near[at - 1];
        places[at] = places[at - 1];
      }
      near[at] = distance;
      places[at] = (int32_t)s;
    }
    for (i = 0; i < used; ++i) {
      if (!loop && (size_t)places[i] == q) continue;
      out[total] = places[i];
      out[room + total] = (int32_t)q;
      ++total;
    }
  }
  return total;
}
