/* needs: row_place */
/* The sums of products of two rows with two columns of weights: a with u and v, b with u and v. */
typedef struct {
  int32_t au, av, bu, bv;
} dots_t;

#if defined(EDGEGNN_SIMD32)
typedef uint32_t __attribute__((__may_alias__)) word_t;

static inline uint32_t first_and_third(uint32_t four) {
  uint32_t two;
  __asm__("sxtb16 %0, %1" : "=r"(two) : "r"(four));
  return two;
}

static inline uint32_t second_and_fourth(uint32_t four) {
  uint32_t two;
  __asm__("sxtb16 %0, %1, ror #8" : "=r"(two) : "r"(four));
  return two;
}

static inline int32_t two_products(uint32_t a, uint32_t b, int32_t sum) {
  int32_t found;
  __asm__("smlad %0, %1, %2, %3" : "=r"(found) : "r"(a), "r"(b), "r"(sum));
  return found;
}
#elif defined(__ARM_FEATURE_MVE) && (__ARM_FEATURE_MVE & 1)
#include <arm_mve.h>
#elif defined(__wasm_simd128__)
#include <wasm_simd128.h>

static inline int32_t four_together(v128_t four) {
  return wasm_i32x4_extract_lane(four, 0) + wasm_i32x4_extract_lane(four, 1) + wasm_i32x4_extract_lane(four, 2) +
         wasm_i32x4_extract_lane(four, 3);
}
#endif
