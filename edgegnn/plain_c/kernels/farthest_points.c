/* needs: squared_distance */
/* The numbers of points that are far from each other: the first point, then always the one farthest from all before. */
static void farthest_points(size_t wanted, size_t width, size_t points, const float *x, float *least, int32_t *out) {
  size_t i, p, at = 0;
  for (p = 0; p < points; ++p) least[p] = INFINITY;
  for (i = 0; i < wanted; ++i) {
    size_t next = 0;
    out[i] = (int32_t)at;
    for (p = 0; p < points; ++p) {
      const float distance = squared_distance(width, x + p * width, x + at * width);
      if (distance < least[p]) least[p] = distance;
      if (least[p] > least[next]) next = p;
    }
    at = next;
  }
}
