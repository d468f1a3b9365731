/* needs: */
/* e to the power x, relative error below 2e-7: the polynomial of Cephes, with the roundings of edgegnn's native kernels. */
static float exponential(float x) {
  const float clipped = x < -86.6f ? -86.6f : x > 88.72f ? 88.72f : x;
  float n, r, p, product;
  int32_t power;
  if (x != x) return x;
  n = clipped * 1.44269504088896341f;
  n = n + 12582912.0f;
  n = n - 12582912.0f;
  product = n * 0.693359375f;
  r = clipped - product;
  product = n * -2.12194440e-4f;
  r = r - product;
  p = 1.9875691500e-4f;
  product = p * r;
  p = product + 1.3981999507e-3f;
  product = p * r;
  p = product + 8.3334519073e-3f;
  product = p * r;
  p = product + 4.1665795894e-2f;
  product = p * r;
  p = product + 1.6666665459e-1f;
  product = p * r;
  p = product + 5.0000001201e-1f;
  product = r * r;
  product = p * product;
  p = product + r;
  p = p + 1.0f;
  for (power = (int32_t)n; power > 0; --power) p = p * 2.0f;
  for (; power < 0; ++power) p = p * 0.5f;
  return x < -86.6f ? 0.0f : x > 88.72f ? 3.4028235e38f * 10.0f : p;
}
