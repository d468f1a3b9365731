// What a row is divided by when it is normalised: its sum, or `least` where that is less; NaN when the sum is NaN.
//
// Sixteen sums, each of every sixteenth element in the order of the row; then the second half is added to the first, four times. Zeros
// change nothing: a row gives the same bits whether they are left out or not.
#pragma once

#include "qsimd.h"

namespace edgegnn::EDGEGNN_LEVEL {

EDGEGNN_INLINE float divisor_of(float* part, float least) {
  for (int half = kGroup / 2; half > 0; half /= 2) {
    for (int i = 0; i < half; ++i) part[i] += part[i + half];
  }
  return part[0] <= least ? least : part[0];
}

// Of a row that is zero but at position[0], ..., position[count - 1].
EDGEGNN_INLINE float sparse_divisor(const float* x, const int32_t* position, int64_t count, float least) {
  float part[kGroup] = {};
  for (int64_t i = 0; i < count; ++i) part[position[i] % kGroup] += x[position[i]];
  return divisor_of(part, least);
}

EDGEGNN_INLINE float dense_divisor(const float* x, int64_t depth, float least) {
  Lanes::F sum[Lanes::Q];
  for (int q = 0; q < Lanes::Q; ++q) sum[q] = Lanes::all_f(0.0f);
  int64_t k = 0;
  for (; k + kGroup <= depth; k += kGroup) {
    for (int q = 0; q < Lanes::Q; ++q) sum[q] = Lanes::add_f(sum[q], Lanes::load_f(x + k + q * Lanes::L));
  }
  float part[kGroup];
  for (int q = 0; q < Lanes::Q; ++q) Lanes::store_f(part + q * Lanes::L, sum[q]);
  for (int i = 0; k < depth; ++k, ++i) part[i] += x[k];
  return divisor_of(part, least);
}

}  // namespace edgegnn::EDGEGNN_LEVEL
