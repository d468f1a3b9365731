/* needs: dots */
#ifdef EDGEGNN_PACKED_WEIGHTS
/* As dot_products, with weights of 4 bits. Four bytes of a column hold eight weights: the first four in their low halves,
   the next four in their high ones. A half in its byte's upper place is 16 times the weight, and so are the sums. */
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
  const word_t *a2 = (const word_t *)(const void *)a, *b2 = (const word_t *)(const void *)b, *const end = a2 + (depth & ~(size_t)7) / 2;
  const word_t *u8 = (const word_t *)(const void *)u, *v8 = (const word_t *)(const void *)v;
  dots_t sum = {0, 0, 0, 0};
  for (; a2 != end; a2 += 4, b2 += 4) {
    const uint32_t us = *u8++, vs = *v8++;
    sum = four_more(sum, (us << 4) & UPPER_HALVES, (vs << 4) & UPPER_HALVES, a2, b2);
    sum = four_more(sum, us & UPPER_HALVES, vs & UPPER_HALVES, a2 + 2, b2 + 2);
  }
  if ((depth & 4) != 0) sum = four_more(sum, (*u8 << 4) & UPPER_HALVES, (*v8 << 4) & UPPER_HALVES, a2, b2);
  return sixteenth(sum);
}
#elif defined(__ARM_FEATURE_MVE) && (__ARM_FEATURE_MVE & 1)
static dots_t packed_products(size_t depth, const int16_t *a, const int16_t *b, const int8_t *u, const int8_t *v) {
  static const uint16_t BYTES[8] = {0, 1, 2, 3, 0, 1, 2, 3};
  static const int16_t TO_THE_TOP[8] = {12, 12, 12, 12, 8, 8, 8, 8};
  const uint16x8_t bytes = vldrhq_u16(BYTES);
  const int16x8_t to_the_top = vldrhq_s16(TO_THE_TOP);
  dots_t sum = {0, 0, 0, 0};
  for (; depth > 0; a += 8, b += 8, u += 4, v += 4) {
    const mve_pred16_t some = vctp16q((uint32_t)depth);
    const int16x8_t x = vldrhq_z_s16(a, some), y = vldrhq_z_s16(b, some);
    const int16x8_t w = vshrq_n_s16(vshlq_s16(vldrbq_gather_offset_s16(u, bytes), to_the_top), 12);
    const int16x8_t z = vshrq_n_s16(vshlq_s16(vldrbq_gather_offset_s16(v, bytes), to_the_top), 12);
    sum.au = vmladavaq_s16(sum.au, x, w);
    sum.av = vmladavaq_s16(sum.av, x, z);
    sum.bu = vmladavaq_s16(sum.bu, y, w);
    sum.bv = vmladavaq_s16(sum.bv, y, z);
    depth -= depth < 8 ? depth : 8;
  }
  return sum;
}
#elif defined(__wasm_simd128__)
static inline v128_t eight_weights(const int8_t *four) {
  const v128_t bytes = wasm_v128_load32_zero(four);
  const v128_t low = wasm_i8x16_shl(bytes, 4), high = wasm_v128_and(bytes, wasm_i8x16_splat(-16));
  return wasm_i16x8_extend_low_i8x16(
    wasm_i8x16_shuffle(low, high, 0, 1, 2, 3, 16, 17, 18, 19, 0, 0, 0, 0, 0, 0, 0, 0));
}

static dots_t packed_products(size_t depth, const int16_t *a, const int16_t *b, const int8_t *u, const int8_t *v) {
  v128_t au = wasm_i32x4_splat(0), av = au, bu = au, bv = au;
  dots_t sum;
  size_t k;
  for (k = 0; k < depth; k += 8) {
    const int whole = k + 8 <= depth; /* else the last four: a row ends there */
    const v128_t x = whole ? wasm_v128_load(a + k) : wasm_v128_load64_zero(a + k);
    const v128_t y = whole ? wasm_v128_load(b + k) : wasm_v128_load64_zero(b + k);
    const v128_t w = eight_weights(u + k / 2), z = eight_weights(v + k / 2);
    au = wasm_i32x4_add(au, wasm_i32x4_dot_i16x8(x, w));
    av = wasm_i32x4_add(av, wasm_i32x4_dot_i16x8(x, z));
    bu = wasm_i32x4_add(bu, wasm_i32x4_dot_i16x8(y, w));
    bv = wasm_i32x4_add(bv, wasm_i32x4_dot_i16x8(y, z));
  }
  sum.au = four_together(au);
  sum.av = four_together(av);
  sum.bu = four_together(bu);
  sum.bv = four_together(bv);
  return sixteenth(sum);
}
#else
static inline int32_t low_half(int8_t byte) {
  return (int32_t)(int8_t)(uint8_t)((uint8_t)byte << 4);
}

static inline int32_t high_half(int8_t byte) {
  return (int32_t)byte & -16;
}

static dots_t packed_products(size_t depth, const int16_t *a, const int16_t *b, const int8_t *u, const int8_t *v) {
  dots_t sum = {0, 0, 0, 0};
  size_t k, j;
  for (k = 0; k + 8 <= depth; k += 8) {
    for (j = 0; j < 4; ++j) {
      const int32_t x = a[k + j], y = b[k + j], next_x = a[k + 4 + j], next_y = b[k + 4 + j];
      const int8_t us = u[k / 2 + j], vs = v[k / 2 + j];
      sum.au += x * low_half(us) + next_x * high_half(us);
      sum.av += x * low_half(vs) + next_x * high_half(vs);
      sum.bu += y * low_half(us) + next_y * high_half(us);
      sum.bv += y * low_half(vs) + next_y * high_half(vs);
    }
  }
  for (j = 0; k + j < depth; ++j) { /* the last four */
    const int8_t us = u[k / 2 + j], vs = v[k / 2 + j];
    sum.au += (int32_t)a[k + j] * low_half(us);
    sum.av += (int32_t)a[k + j] * low_half(vs);
    sum.bu += (int32_t)b[k + j] * low_half(us);
    sum.bv += (int32_t)b[k + j] * low_half(vs);
  }
  return sixteenth(sum);
}
#endif
#endif
