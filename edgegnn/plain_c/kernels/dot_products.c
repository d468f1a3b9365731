/* needs: dots */
/* With int8 weights. depth: a multiple of 4. */
#ifdef EDGEGNN_BYTE_WEIGHTS
#if defined(EDGEGNN_SIMD32)
/* Not inlined: the loop needs every register. */
static NOT_INLINED dots_t dot_products(size_t depth, const int16_t *a, const int16_t *b, const int8_t *u, const int8_t *v) {
  const word_t *a2 = (const word_t *)(const void *)a, *b2 = (const word_t *)(const void *)b;
  const word_t *u4 = (const word_t *)(const void *)u, *v4 = (const word_t *)(const void *)v, *const end = u4 + depth / 4;
  dots_t sum = {0, 0, 0, 0};
  while (u4 != end) {
    const uint32_t us = *u4++, vs = *v4++;
    uint32_t w = first_and_third(us), z = first_and_third(vs), x = *a2++, y = *b2++;
    sum.au = two_products(x, w, sum.au);
    sum.av = two_products(x, z, sum.av);
    sum.bu = two_products(y, w, sum.bu);
    sum.bv = two_products(y, z, sum.bv);
    w = second_and_fourth(us);
    z = second_and_fourth(vs);
    x = *a2++;
    y = *b2++;
    sum.au = two_products(x, w, sum.au);
    sum.av = two_products(x, z, sum.av);
    sum.bu = two_products(y, w, sum.bu);
    sum.bv = two_products(y, z, sum.bv);
  }
  return sum;
}
#elif defined(__ARM_FEATURE_MVE) && (__ARM_FEATURE_MVE & 1)
static dots_t dot_products(size_t depth, const int16_t *a, const int16_t *b, const int8_t *u, const int8_t *v) {
  dots_t sum = {0, 0, 0, 0};
  for (; depth > 0; a += 8, b += 8, u += 8, v += 8) {
    const mve_pred16_t some = vctp16q((uint32_t)depth);
    const int16x8_t x = vldrhq_z_s16(a, some), y = vldrhq_z_s16(b, some), w = vldrbq_z_s16(u, some), z = vldrbq_z_s16(v, some);
    sum.au = vmladavaq_s16(sum.au, x, w);
    sum.av = vmladavaq_s16(sum.av, x, z);
    sum.bu = vmladavaq_s16(sum.bu, y, w);
    sum.bv = vmladavaq_s16(sum.bv, y, z);
    depth -= depth < 8 ? depth : 8;
  }
  return sum;
}
#elif defined(__wasm_simd128__)
static dots_t dot_products(size_t depth, const int16_t *a, const int16_t *b, const int8_t *u, const int8_t *v) {
  v128_t au = wasm_i32x4_splat(0), av = au, bu = au, bv = au;
  dots_t sum;
  size_t k;
  for (k = 0; k + 8 <= depth; k += 8) {
    const v128_t x = wasm_v128_load(a + k), y = wasm_v128_load(b + k), w = wasm_i16x8_load8x8(u + k), z = wasm_i16x8_load8x8(v + k);
    au = wasm_i32x4_add(au, wasm_i32x4_dot_i16x8(x, w));
    av = wasm_i32x4_add(av, wasm_i32x4_dot_i16x8(x, z));
    bu = wasm_i32x4_add(bu, wasm_i32x4_dot_i16x8(y, w));
    bv = wasm_i32x4_add(bv, wasm_i32x4_dot_i16x8(y, z));
  }
  sum.au = four_together(au);
  sum.av = four_together(av);
  sum.bu = four_together(bu);
  sum.bv = four_together(bv);
  for (; k < depth; ++k) {
    sum.au += (int32_t)a[k] * (int32_t)u[k];
    sum.av += (int32_t)a[k] * (int32_t)v[k];
    sum.bu += (int32_t)b[k] * (int32_t)u[k];
    sum.bv += (int32_t)b[k] * (int32_t)v[k];
  }
  return sum;
}
#else
static dots_t dot_products(size_t depth, const int16_t *a, const int16_t *b, const int8_t *u, const int8_t *v) {
  dots_t sum = {0, 0, 0, 0};
  size_t k;
  for (k = 0; k < depth; ++k) {
    sum.au += (int32_t)a[k] * (int32_t)u[k];
    sum.av += (int32_t)a[k] * (int32_t)v[k];
    sum.bu += (int32_t)b[k] * (int32_t)u[k];
    sum.bv += (int32_t)b[k] * (int32_t)v[k];
  }
  return sum;
}
#endif
#endif
