// Where a row is not zero. See qsimd.h.
#pragma once

#include "qsimd.h"

namespace edgegnn::EDGEGNN_LEVEL {

constexpr int kNonzeroSlack = 80;  // elements that find_nonzeros may write behind the limit

// Puts the positions of the nonzeros of x[0, count) into `position` and returns how many there are; gives up, and returns -1, when
// there are more than `limit`.
EDGEGNN_INLINE int64_t find_nonzeros(const float* x, int64_t count, int64_t limit, int32_t* position) {
  int64_t found = 0;
  int64_t at = 0;
#if defined(__AVX512BW__)
  const __m512i lane = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
  for (; at + 64 <= count; at += 64) {
#pragma GCC unroll 4
    for (int i = 0; i < 64; i += 16) {
      const auto mask = static_cast<__mmask16>(Lanes::nonzero16(x + at + i));
      const __m512i here = _mm512_add_epi32(lane, _mm512_set1_epi32(static_cast<int32_t>(at + i)));
      _mm512_storeu_si512(position + found, _mm512_maskz_compress_epi32(mask, here));
      found += __builtin_popcount(mask);
    }
    if (found > limit) return -1;
  }
#endif
  for (; at + 16 <= count; at += 16) {
    for (uint32_t mask = Lanes::nonzero16(x + at); mask != 0; mask &= mask - 1) {
      position[found++] = static_cast<int32_t>(at) + __builtin_ctz(mask);
    }
    if (found > limit) return -1;
  }
  for (; at < count; ++at) {
    if (!(x[at] == 0.0f)) position[found++] = static_cast<int32_t>(at);
  }
  return found > limit ? -1 : found;
}

// The same for codes of which `zero` stands for zero.
EDGEGNN_INLINE int64_t find_others(const uint8_t* x, int64_t count, uint8_t zero, int64_t limit, int32_t* position) {
  int64_t found = 0;
  for (int64_t at = 0; at < count && found <= limit; at += 64) {
    const int64_t left = count - at;
    uint8_t part[64];
    if (left < 64) {
      memset(part, zero, sizeof part);
      memcpy(part, x + at, static_cast<size_t>(left));
    }
    for (uint64_t mask = Lanes::others64(left < 64 ? part : x + at, zero); mask != 0; mask &= mask - 1) {
      position[found++] = static_cast<int32_t>(at) + __builtin_ctzll(mask);
    }
  }
  return found > limit ? -1 : found;
}

}  // namespace edgegnn::EDGEGNN_LEVEL
