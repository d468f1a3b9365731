// Vectors of floats for the kernels: F4 everywhere, F8 with AVX2, F16 with AVX-512, and plain float as a vector of one.
//
// Only multiplications and additions that round the same way everywhere, never a fused one, and no sum across lanes that depends on
// the width: results are equal on every instruction set, to the bit. Everything here lives in the level's namespace, see isa.h.
#pragma once

#include <stdint.h>

#include "isa.h"

#if defined(EDGEGNN_X86)
#include <immintrin.h>
#else
#include <arm_neon.h>
#endif

#ifndef EDGEGNN_INLINE
#define EDGEGNN_INLINE static inline __attribute__((always_inline))
#endif

namespace edgegnn::EDGEGNN_LEVEL {

typedef float F4 __attribute__((vector_size(16)));
typedef uint32_t U4 __attribute__((vector_size(16)));
typedef float F4u __attribute__((vector_size(16), aligned(4), may_alias));
EDGEGNN_INLINE void load(const float* p, float* out) { *out = *p; }
EDGEGNN_INLINE void load(const float* p, F4* out) { *out = *reinterpret_cast<const F4u*>(p); }
EDGEGNN_INLINE void store(float* p, float v) { *p = v; }
EDGEGNN_INLINE void store(float* p, F4 v) { *reinterpret_cast<F4u*>(p) = v; }

// The larger (smaller) of two numbers, and NaN when one of them is. `a` may be an accumulator that is NaN already. No branches.
#if defined(EDGEGNN_X86)
// maxps gives its second operand when one of the two is NaN: right when that is b; an `a` that is NaN is put back.
EDGEGNN_INLINE F4 larger(F4 a, F4 b) {
  const __m128 nan = _mm_cmpunord_ps(a, a);
  return _mm_or_ps(_mm_andnot_ps(nan, _mm_max_ps(a, b)), _mm_and_ps(nan, a));
}
EDGEGNN_INLINE F4 smaller(F4 a, F4 b) {
  const __m128 nan = _mm_cmpunord_ps(a, a);
  return _mm_or_ps(_mm_andnot_ps(nan, _mm_min_ps(a, b)), _mm_and_ps(nan, a));
}
EDGEGNN_INLINE float larger(float a, float b) { return _mm_cvtss_f32(larger((F4)_mm_set_ss(a), (F4)_mm_set_ss(b))); }
EDGEGNN_INLINE float smaller(float a, float b) { return _mm_cvtss_f32(smaller((F4)_mm_set_ss(a), (F4)_mm_set_ss(b))); }
#else
EDGEGNN_INLINE F4 larger(F4 a, F4 b) { return (F4)vmaxq_f32((float32x4_t)a, (float32x4_t)b); }
EDGEGNN_INLINE F4 smaller(F4 a, F4 b) { return (F4)vminq_f32((float32x4_t)a, (float32x4_t)b); }
EDGEGNN_INLINE float larger(float a, float b) { return vget_lane_f32(vmax_f32(vdup_n_f32(a), vdup_n_f32(b)), 0); }
EDGEGNN_INLINE float smaller(float a, float b) { return vget_lane_f32(vmin_f32(vdup_n_f32(a), vdup_n_f32(b)), 0); }
#endif

#if defined(__AVX2__)
typedef float F8 __attribute__((vector_size(32)));
typedef uint32_t U8 __attribute__((vector_size(32)));
typedef float F8u __attribute__((vector_size(32), aligned(4), may_alias));
EDGEGNN_INLINE void load(const float* p, F8* out) { *out = *reinterpret_cast<const F8u*>(p); }
EDGEGNN_INLINE void store(float* p, F8 v) { *reinterpret_cast<F8u*>(p) = v; }
EDGEGNN_INLINE F8 larger(F8 a, F8 b) { return _mm256_blendv_ps(_mm256_max_ps(a, b), a, _mm256_cmp_ps(a, a, _CMP_UNORD_Q)); }
EDGEGNN_INLINE F8 smaller(F8 a, F8 b) { return _mm256_blendv_ps(_mm256_min_ps(a, b), a, _mm256_cmp_ps(a, a, _CMP_UNORD_Q)); }
#endif

#if defined(__AVX512F__)
typedef float F16 __attribute__((vector_size(64)));
typedef uint32_t U16 __attribute__((vector_size(64)));
typedef float F16u __attribute__((vector_size(64), aligned(4), may_alias));
EDGEGNN_INLINE void load(const float* p, F16* out) { *out = *reinterpret_cast<const F16u*>(p); }
EDGEGNN_INLINE void store(float* p, F16 v) { *reinterpret_cast<F16u*>(p) = v; }
EDGEGNN_INLINE F16 larger(F16 a, F16 b) { return _mm512_mask_max_ps(a, _mm512_cmp_ps_mask(a, a, _CMP_ORD_Q), a, b); }
EDGEGNN_INLINE F16 smaller(F16 a, F16 b) { return _mm512_mask_min_ps(a, _mm512_cmp_ps_mask(a, a, _CMP_ORD_Q), a, b); }
#endif

// The widest vector, its twin of bits, and how many of them make 16 lanes.
#if defined(__AVX512F__)
typedef F16 FW;
typedef U16 UW;
#elif defined(__AVX2__)
typedef F8 FW;
typedef U8 UW;
#else
typedef F4 FW;
typedef U4 UW;
#endif

template <typename V>
constexpr int kLanes = static_cast<int>(sizeof(V) / sizeof(float));
constexpr int kWide = kLanes<FW>;

template <typename V>
EDGEGNN_INLINE V splat(float value) {
  return value - V{};  // x - 0 is x, signed zeros included: the compiler makes it a broadcast
}

// Asks for `BYTES` from p on, for reading. The address may be nonsense: a prefetch never faults.
template <int BYTES>
EDGEGNN_INLINE void prefetch(uintptr_t p) {
#pragma GCC unroll 16
  for (int line = 0; line < (BYTES + 63) / 64; ++line) __builtin_prefetch(reinterpret_cast<const void*>(p + 64 * line));
}

// e to the power x, for each lane. Relative error below 2e-7 (about 1.5 units in the last place); 0 below -86.6, infinity above 88.72;
// NaN stays NaN. Range reduction in two steps and a polynomial of degree 6 (the coefficients are those of Cephes' expf).
EDGEGNN_INLINE FW exponential(FW x) {
  const FW low = splat<FW>(-86.6f);
  const FW high = splat<FW>(88.72f);
  const FW raised = x < low ? low : x;
  const FW clipped = raised > high ? high : raised;
  const FW magic = splat<FW>(12582912.0f);  // 1.5 * 2^23: adding it rounds to an integer, which the low bits then hold
  const FW shifted = clipped * 1.44269504088896341f + magic;
  const FW n = shifted - magic;
  const FW r = (clipped - n * 0.693359375f) - n * -2.12194440e-4f;
  FW p = splat<FW>(1.9875691500e-4f);
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * (r * r) + r + 1.0f;
  // 2^n by its bits, as 2 * 2^(n - 1): n = 128 has no bits of its own. Unsigned, since a NaN keeps its payload up to here: where the low 9
  // bits of that are 130 to 255, the sum has no place in an int32. For numbers n lies in [-125, 128], and it has.
  const FW power = (FW)(((UW)shifted << 23) + (126u << 23));
  const FW result = p * power * 2.0f;
  const FW bounded = x < low ? splat<FW>(0.0f) : result;
  const FW unbounded = x > high ? splat<FW>(__builtin_inff()) : bounded;
  return x != x ? x : unbounded;
}

}  // namespace edgegnn::EDGEGNN_LEVEL
