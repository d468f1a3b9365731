// Features of the edges as kernels read them: checked, and in row order. Everything here lives in the level's namespace, see isa.h.
#pragma once

#include "csr.h"
#include "edges.h"
#include "float_simd.h"
#include "spmm.h"

namespace edgegnn::EDGEGNN_LEVEL {

// The features of the entries [first, first + count) in row order: where they are, or in `room`. Null: out of memory.
static inline const float* in_row_order(const EdgeFeatures& features, int64_t first, int64_t count, float* room) {
  const int64_t depth = features.width;
  if (features.perm == nullptr) return features.values + first * depth;
  if (room == nullptr) return nullptr;
  const int32_t* const perm = features.perm + first;
  constexpr int64_t ahead = 32;
  for (int64_t i = 0; i < count && i < ahead; ++i) __builtin_prefetch(features.values + perm[i] * depth);
  for (int64_t i = 0; i < count; ++i) {
    __builtin_prefetch(features.values + perm[i + ahead < count ? i + ahead : count - 1] * depth);
    const float* const from = features.values + perm[i] * depth;
    float* const to = room + i * depth;
    int64_t d = 0;
    for (; d + 4 <= depth; d += 4) {
      F4 v;
      load(from + d, &v);
      store(to + d, v);
    }
    for (; d < depth; ++d) to[d] = from[d];
  }
  return room;
}

// Whether the indices of the entries [first, first + count) can be followed.
static inline int checked(const int32_t* col, int64_t columns, const EdgeFeatures& features, int64_t entries, int64_t first, int64_t count) {
  if (!all_below(col + first, count, columns)) return FAULT_COL;
  if (features.perm != nullptr && !all_below(features.perm + first, count, entries)) return FAULT_PERM;
  return FAULT_NONE;
}

}  // namespace edgegnn::EDGEGNN_LEVEL
