/* needs: dots */
/* As dot_products, with weights of 4 bits: byte k of a column has weight k in its lower half, and in its upper half the
   weight as far behind the middle of the column. A half at the top of a byte is 16 times the weight, and so are sums. */
#ifdef EDGEGNN_PACKED_WEIGHTS
static inline size_t first_half(size_t depth) { /* a multiple of 4; the second half may have four weights fewer */
  return (depth + 7) / 8 * 4;
}

static inline dots_t sixteenth(dots_t sum) {
  sum.au /= 16;
  sum.av /= 16;
  sum.bu /= 16;
  sum.bv /= 16;
  return sum;
}

#if defined(EDGEGNN_SIMD32)
#define UPPER_HALVES 0xF0F0F0F0u

static inline dots_t four_more(dots_t sum, uint32_t u4, uint32_t v4, const word_t *a2, const word_t *b2) {
  uint32_t w = first_and_third(u4), z = first_and_third(v4);
  sum.au = two_products(a2[0], w, sum.au);
  sum.av = two_products(a2[0], z, sum.av);
  sum.bu = two_products(b2[0], w, sum.bu);
  sum.bv = two_products(b2[0], z, sum.bv);
  w = second_and_fourth(u4);
  z = second_and_fourth(v4);
  sum.au = two_products(a2[1], w, sum.au);
  sum.av = two_products(a2[1], z, sum.av);
  sum.bu = two_products(b2[1], w, sum.bu);
  sum.bv = two_products(b2[1], z, sum.bv);
  return sum;
}

static NOT_INLINED dots_t packed_products(size_t depth, const int16_t *a, const int16_t *b, const int8_t *u, const int8_t *v) {
  const size_t half = first_half(depth);
  const word_t *a2 = (const word_t *)(const void *)a, *b2 = (const word_t *)(const void *)b, *const end = a2 + (depth - half) / 2;
  const word_t *u8 = (const word_t *)(const void *)u, *v8 = (const word_t *)(const void *)v;
  dots_t sum = {0, 0, 0, 0};
  for (; a2 != end; a2 += 2, b2 += 2) {
    const uint32_t us = *u8++, vs = *v8++;
    sum = four_more(sum, (us << 4) & UPPER_HALVES, (vs << 4) & UPPER_HALVES, a2, b2);
    sum = four_more(sum, us & UPPER_HALVES, vs & UPPER_HALVES, a2 + half / 2, b2 + half / 2);
  }
  if (2 * half != depth) sum = four_more(sum, (*u8 << 4) & UPPER_HALVES, (*v8 << 4) & UPPER_HALVES, a2, b2);
  return sixteenth(sum);
}
#elif defined(__ARM_FEATURE_MVE) && (__ARM_FEATURE_MVE & 1)
static dots_t packed_products(size_t depth, const int16_t *a, const int16_t *b, const int8_t *u, const int8_t *v) {
  const size_t half = first_half(depth);
  dots_t sum = {0, 0, 0, 0};
  size_t k;
  for (k = 0; k < half; k += 8) {
    const mve_pred16_t first = vctp16q((uint32_t)(half - k)), second = vctp16q((uint32_t)(k < depth - half ? depth - half - k : 0));
    const int16x8_t us = vldrbq_z_s16(u + k, first), vs = vldrbq_z_s16(v + k, first);
    const int16x8_t w = vshlq_n_s16(us, 12), z = vshlq_n_s16(vs, 12);
    int16x8_t x = vldrhq_z_s16(a + k, first), y = vldrhq_z_s16(b + k, first);
    sum.au = vmladavaq_s16(sum.au, x, vshrq_n_s16(w, 12));
    sum.av = vmladavaq_s16(sum.av, x, vshrq_n_s16(z, 12));
    sum.bu = vmladavaq_s16(sum.bu, y, vshrq_n_s16(w, 12));
    sum.bv = vmladavaq_s16(sum.bv, y, vshrq_n_s16(z, 12));
    x = vldrhq_z_s16(a + half + k, second);
    y = vldrhq_z_s16(b + half + k, second);
    sum.au = vmladavaq_s16(sum.au, x, vshrq_n_s16(us, 4));
    sum.av = vmladavaq_s16(sum.av, x, vshrq_n_s16(vs, 4));
    sum.bu = vmladavaq_s16(sum.bu, y, vshrq_n_s16(us, 4));
    sum.bv = vmladavaq_s16(sum.bv, y, vshrq_n_s16(vs, 4));
  }
  return sum;
}
#else
static inline int32_t low_half(int8_t byte) {
  return (int32_t)(int8_t)(uint8_t)((uint8_t)byte << 4);
}

static inline int32_t high_half(int8_t byte) {
  return (int32_t)byte & -16;
}

/* What is left from byte k on, added to sums of 16 times the products. */
static inline dots_t packed_rest(dots_t sum, size_t k, size_t depth, const int16_t *a, const int16_t *b, const int8_t *u, const int8_t *v) {
  const size_t half = first_half(depth);
  for (; k < depth - half; ++k) {
    const int32_t x = a[k], y = b[k], next_x = a[half + k], next_y = b[half + k];
    sum.au += x * low_half(u[k]) + next_x * high_half(u[k]);
    sum.av += x * low_half(v[k]) + next_x * high_half(v[k]);
    sum.bu += y * low_half(u[k]) + next_y * high_half(u[k]);
    sum.bv += y * low_half(v[k]) + next_y * high_half(v[k]);
  }
  for (; k < half; ++k) {
    sum.au += (int32_t)a[k] * low_half(u[k]);
    sum.av += (int32_t)a[k] * low_half(v[k]);
    sum.bu += (int32_t)b[k] * low_half(u[k]);
    sum.bv += (int32_t)b[k] * low_half(v[k]);
  }
  return sum;
}

#if defined(__wasm_simd128__)
static dots_t packed_products(size_t depth, const int16_t *a, const int16_t *b, const int8_t *u, const int8_t *v) {
  const size_t half = first_half(depth);
  v128_t au = wasm_i32x4_splat(0), av = au, bu = au, bv = au;
  dots_t sum;
  size_t k;
  for (k = 0; k + 8 <= depth - half; k += 8) {
    const v128_t us = wasm_i16x8_load8x8(u + k), vs = wasm_i16x8_load8x8(v + k);
    v128_t w = wasm_i16x8_shr(wasm_i16x8_shl(us, 12), 8), z = wasm_i16x8_shr(wasm_i16x8_shl(vs, 12), 8);
    v128_t x = wasm_v128_load(a + k), y = wasm_v128_load(b + k);
    au = wasm_i32x4_add(au, wasm_i32x4_dot_i16x8(x, w));
    av = wasm_i32x4_add(av, wasm_i32x4_dot_i16x8(x, z));
    bu = wasm_i32x4_add(bu, wasm_i32x4_dot_i16x8(y, w));
    bv = wasm_i32x4_add(bv, wasm_i32x4_dot_i16x8(y, z));
    w = wasm_v128_and(us, wasm_i16x8_splat(-16));
    z = wasm_v128_and(vs, wasm_i16x8_splat(-16));
    x = wasm_v128_load(a + half + k);
    y = wasm_v128_load(b + half + k);
    au = wasm_i32x4_add(au, wasm_i32x4_dot_i16x8(x, w));
    av = wasm_i32x4_add(av, wasm_i32x4_dot_i16x8(x, z));
    bu = wasm_i32x4_add(bu, wasm_i32x4_dot_i16x8(y, w));
    bv = wasm_i32x4_add(bv, wasm_i32x4_dot_i16x8(y, z));
  }
  sum.au = four_together(au);
  sum.av = four_together(av);
  sum.bu = four_together(bu);
  sum.bv = four_together(bv);
  return sixteenth(packed_rest(sum, k, depth, a, b, u, v));
}
#else
static dots_t packed_products(size_t depth, const int16_t *a, const int16_t *b, const int8_t *u, const int8_t *v) {
  const dots_t none = {0, 0, 0, 0};
  return sixteenth(packed_rest(none, 0, depth, a, b, u, v));
}
#endif
#endif
#endif
