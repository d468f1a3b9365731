/* needs: */
/* w rounded to 16 significant bits, half to even: times a code that is exact. */
static float sixteen_bits(float w) {
  uint32_t bits;
  unsigned char *to = (unsigned char *)&bits;
  const unsigned char *from = (const unsigned char *)&w;
  size_t i;
  if (w != w) return w;
  for (i = 0; i < sizeof bits; ++i) to[i] = from[i];
  bits = (bits + 0x7fU + ((bits >> 8) & 1U)) & 0xffffff00U;
  from = (const unsigned char *)&bits;
  to = (unsigned char *)&w;
  for (i = 0; i < sizeof bits; ++i) to[i] = from[i];
  return w;
}
