// Vectors of bytes for the integer kernels: V16 everywhere, V32 with AVX2, V64 with AVX-512, named by their W bytes. A row takes the
// widest one that it fills, so only V16 meets rows narrower than itself, and a narrow one where there are wider (kWidest) two units a row.
//
// A vector of W bytes unfolds into N vectors of L int32 or float lanes, W = N L. Lane l of the k-th holds byte column(k, l). Where
// sums are kept as bytes of the same register split in even and odd, that is 4 l + k: masks and shifts then do all widening and packing
// without a shuffle. Elsewhere it is the natural order. Per-column constants are put into that order beforehand.
//
// add() sums bytes in 16-bit lanes: at most kBlock vectors fit. divide() is correctly rounded: with a fused multiply-add and the
// rounded reciprocal one correction step makes it so, for quotients far from overflow and underflow.
//
// Everything here has internal linkage or lives in the level's namespace: see isa.h.
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "isa.h"

#if defined(EDGEGNN_X86)
#include <immintrin.h>
#else
#include <arm_neon.h>
#endif

#define EDGEGNN_INLINE static inline __attribute__((always_inline))
#define EDGEGNN_LAMBDA __attribute__((always_inline))

namespace edgegnn::EDGEGNN_LEVEL {

template <int kValue>
struct Index {
  static constexpr int value = kValue;
  constexpr operator int() const { return kValue; }
};

// f(Index<0>()), ..., f(Index<kCount - 1>()). With more than a few vectors in an array an unrolled loop leaves the array in memory: the
// compiler has to see constant indices from the start to keep it in registers. f is to be EDGEGNN_LAMBDA.
template <int kCount, int kFirst = 0, class F>
EDGEGNN_INLINE void each(const F& f) {
  if constexpr (kFirst < kCount) {
    f(Index<kFirst>());
    each<kCount, kFirst + 1>(f);
  }
}

constexpr int kBlock = 256;  // 256 * 255 < 2^16

// Bytes [0, n) of p as a word with zeros above them, 1 <= n <= 8; reads nothing outside.
EDGEGNN_INLINE uint64_t load_few_bytes(const uint8_t* p, int n) {
  if (n == 8) {
    uint64_t word;
    memcpy(&word, p, 8);
    return word;
  }
  if (n >= 4) {
    uint32_t low, high;
    memcpy(&low, p, 4);
    memcpy(&high, p + n - 4, 4);
    return low | static_cast<uint64_t>(high) << (8 * (n - 4));
  }
  uint64_t word = p[0];
  if (n >= 2) word |= static_cast<uint64_t>(p[1]) << 8;
  if (n == 3) word |= static_cast<uint64_t>(p[2]) << 16;
  return word;
}

}  // namespace edgegnn::EDGEGNN_LEVEL

#if defined(__AVX512BW__)
#include "qsimd_avx512.inl"
#elif defined(__AVX2__)
#include "qsimd_avx2.inl"
#elif defined(EDGEGNN_X86)
#include "qsimd_sse2.inl"
#else
#include "qsimd_neon.inl"
#endif
