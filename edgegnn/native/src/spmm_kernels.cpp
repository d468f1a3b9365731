// Sum, mean, max and min of neighbours' rows, and their weighted sum. Compiled once a level, see isa.h.
//
// A row of x is cut into tiles of vectors that stay in registers while a destination's entries are added up. The last vector of a row
// ends where the row ends and may overlap the one before it, so no width needs masks: lanes in both are computed twice, equally. Rows
// narrower than the widest vector take the widest that fits.

#include "spmm.h"

#include "buffer.h"
#include "csr.h"
#include "float_simd.h"

namespace edgegnn::EDGEGNN_LEVEL {
namespace {

constexpr int64_t kAhead = 12;  // entries; 8 to 32 measured the same
constexpr int kMaxVectors = 8;  // vectors in a tile

template <typename V>
EDGEGNN_INLINE V load_as(const float* p) {
  V v;
  load(p, &v);
  return v;
}

template <int HOW, typename V>
EDGEGNN_INLINE V combine(V a, V b) {
  if constexpr (HOW == REDUCE_MAX) return larger(a, b);
  if constexpr (HOW == REDUCE_MIN) return smaller(a, b);
  return a + b;
}

// Columns [c, c + span) of the rows [begin, end), in COUNT vectors.
template <int HOW, bool LISTED, typename V, int COUNT>
void reduce_tile(const SpmmArgs& args, int64_t begin, int64_t end, int64_t c, int64_t span) {
  // Locals: a store through float* could change args.
  const float* const x = args.x + c;
  float* y = args.y + c + begin * args.width;
  const int64_t width = args.width;
  const auto row_bytes = static_cast<uintptr_t>(width) * sizeof(float);
  const int32_t* const indptr = args.indptr;
  const int32_t* const col = args.col;
  const int64_t final_entry = args.entries - 1;
  const int64_t last = span - kLanes<V>;
  const bool mean = args.reduction == REDUCE_MEAN;
  const float start = HOW == REDUCE_MAX ? -__builtin_inff() : HOW == REDUCE_MIN ? __builtin_inff() : 0.0f;
  int64_t e = indptr[begin];
  for (int64_t r = begin; r < end; ++r, y += width) {
    const int64_t stop = indptr[r + 1];
    V sum[COUNT];
#pragma GCC unroll 8
    for (int i = 0; i < COUNT; ++i) sum[i] = splat<V>(e == stop ? 0.0f : start);
    const float entries = static_cast<float>(stop - e);
    const bool divide = mean && e != stop;
    for (; e < stop; ++e) {
      const float* p = x + (LISTED ? col[e] : e) * width;
      if constexpr (LISTED) {
        const int64_t ahead = e + kAhead < final_entry ? e + kAhead : final_entry;
        prefetch<COUNT * static_cast<int>(sizeof(V))>(reinterpret_cast<uintptr_t>(x) + static_cast<uintptr_t>(col[ahead]) * row_bytes);
      }
#pragma GCC unroll 8
      for (int i = 0; i < COUNT - 1; ++i) sum[i] = combine<HOW>(sum[i], load_as<V>(p + i * kLanes<V>));
      sum[COUNT - 1] = combine<HOW>(sum[COUNT - 1], load_as<V>(p + last));
    }
    if (divide) {
#pragma GCC unroll 8
      for (int i = 0; i < COUNT; ++i) sum[i] = sum[i] / splat<V>(entries);
    }
#pragma GCC unroll 8
    for (int i = 0; i < COUNT - 1; ++i) store(y + i * kLanes<V>, sum[i]);
    store(y + last, sum[COUNT - 1]);
  }
}

template <int HOW, bool LISTED, typename V>
EDGEGNN_INLINE void reduce_vectors(const SpmmArgs& args, int64_t begin, int64_t end, int64_t c, int64_t span) {
  switch ((span + kLanes<V> - 1) / kLanes<V>) {
    case 1: return reduce_tile<HOW, LISTED, V, 1>(args, begin, end, c, span);
    case 2: return reduce_tile<HOW, LISTED, V, 2>(args, begin, end, c, span);
    case 3: return reduce_tile<HOW, LISTED, V, 3>(args, begin, end, c, span);
    default: break;
  }
  if constexpr (sizeof(V) == sizeof(FW)) {  // narrower vectors serve rows of at most three of them
    switch ((span + kLanes<V> - 1) / kLanes<V>) {
      case 4: return reduce_tile<HOW, LISTED, V, 4>(args, begin, end, c, span);
      case 5: return reduce_tile<HOW, LISTED, V, 5>(args, begin, end, c, span);
      case 6: return reduce_tile<HOW, LISTED, V, 6>(args, begin, end, c, span);
      case 7: return reduce_tile<HOW, LISTED, V, 7>(args, begin, end, c, span);
      default: return reduce_tile<HOW, LISTED, V, 8>(args, begin, end, c, span);
    }
  }
}

// Width of the next tile when `left` columns are left: a multiple of a vector unless it is the last one, which is never narrower than a
// vector (it takes what overlaps from the one before).
int64_t next_span(int64_t left) {
  constexpr int64_t most = kMaxVectors * kWide;
  if (left <= most) return left;
  return left - most >= kWide ? most : most - kWide;
}

template <int HOW, bool LISTED>
void reduce_rows(const SpmmArgs& args, int64_t begin, int64_t end) {
  const int64_t width = args.width;
  if (width >= kWide) {
    for (int64_t c = 0, span; c < width; c += span) {
      span = next_span(width - c);
      reduce_vectors<HOW, LISTED, FW>(args, begin, end, c, span);
    }
    return;
  }
#if defined(__AVX512F__)
  if (width >= 8) return reduce_vectors<HOW, LISTED, F8>(args, begin, end, 0, width);
#endif
  if (width >= 4) return reduce_vectors<HOW, LISTED, F4>(args, begin, end, 0, width);
  reduce_vectors<HOW, LISTED, float>(args, begin, end, 0, width);
}

template <int HOW>
void reduce_how(const SpmmArgs& args, int64_t begin, int64_t end) {
  if (args.col != nullptr) return reduce_rows<HOW, true>(args, begin, end);
  reduce_rows<HOW, false>(args, begin, end);
}

// A weighted sum, over the entries from `first` on, whose weights are w[e - first, h].
struct WeightedBlock {
  const WeightedArgs* args;
  const float* w;
  const float* inverse;  // [rows of the block, heads], a factor of the finished sum; or null
};

// Heads [h, h + HEADS), columns [c, c + span) of each, rows [begin, end), in COUNT vectors a head.
template <typename V, int HEADS, int COUNT>
void weighted_tile(const WeightedBlock& block, int64_t begin, int64_t end, int64_t h, int64_t c, int64_t span) {
  const WeightedArgs args = *block.args;
  const int64_t width = args.width;
  const int64_t heads = args.heads;
  const int64_t row_width = width * heads;
  const auto row_bytes = static_cast<uintptr_t>(row_width) * sizeof(float);
  const float* const x = args.x + h * width + c;
  const int32_t* const indptr = args.indptr;
  const int32_t* const col = args.col;
  const int64_t final_entry = args.entries - 1;
  const int64_t last = span - kLanes<V>;
  const float* w = block.w + h;
  const float* inverse = block.inverse == nullptr ? nullptr : block.inverse + h;
  float* y = args.y + h * width + c + begin * row_width;
  int64_t e = indptr[begin];
  for (int64_t r = begin; r < end; ++r, y += row_width) {
    const int64_t stop = indptr[r + 1];
    V sum[HEADS * COUNT];
#pragma GCC unroll 8
    for (int i = 0; i < HEADS * COUNT; ++i) sum[i] = splat<V>(0.0f);
    for (; e < stop; ++e, w += heads) {
      const float* p = x + col[e] * row_width;
      const int64_t ahead = e + kAhead < final_entry ? e + kAhead : final_entry;
      prefetch<HEADS * COUNT * static_cast<int>(sizeof(V))>(reinterpret_cast<uintptr_t>(x) + static_cast<uintptr_t>(col[ahead]) * row_bytes);
#pragma GCC unroll 8
      for (int head = 0; head < HEADS; ++head) {
        const V weight = splat<V>(w[head]);
#pragma GCC unroll 8
        for (int i = 0; i < COUNT; ++i) {
          const float* at = p + head * width + (i == COUNT - 1 ? last : i * kLanes<V>);
          sum[head * COUNT + i] = sum[head * COUNT + i] + load_as<V>(at) * weight;
        }
      }
    }
#pragma GCC unroll 8
    for (int head = 0; head < HEADS; ++head) {
      const V factor = splat<V>(inverse == nullptr ? 1.0f : inverse[head]);
#pragma GCC unroll 8
      for (int i = 0; i < COUNT; ++i) {
        store(y + head * width + (i == COUNT - 1 ? last : i * kLanes<V>), sum[head * COUNT + i] * factor);
      }
    }
    if (inverse != nullptr) inverse += heads;
  }
}

template <typename V, int HEADS>
EDGEGNN_INLINE void weighted_vectors(const WeightedBlock& block, int64_t begin, int64_t end, int64_t h, int64_t c, int64_t span) {
  switch ((span + kLanes<V> - 1) / kLanes<V>) {
    case 1: return weighted_tile<V, HEADS, 1>(block, begin, end, h, c, span);
    case 2: if constexpr (HEADS <= 4) return weighted_tile<V, HEADS, 2>(block, begin, end, h, c, span); break;
    case 3: if constexpr (HEADS <= 2) return weighted_tile<V, HEADS, 3>(block, begin, end, h, c, span); break;
    case 4: if constexpr (HEADS <= 2) return weighted_tile<V, HEADS, 4>(block, begin, end, h, c, span); break;
    case 5: if constexpr (HEADS == 1) return weighted_tile<V, HEADS, 5>(block, begin, end, h, c, span); break;
    case 6: if constexpr (HEADS == 1) return weighted_tile<V, HEADS, 6>(block, begin, end, h, c, span); break;
    case 7: if constexpr (HEADS == 1) return weighted_tile<V, HEADS, 7>(block, begin, end, h, c, span); break;
    default: if constexpr (HEADS == 1) return weighted_tile<V, HEADS, 8>(block, begin, end, h, c, span); break;
  }
}

template <typename V>
void weighted_heads(const WeightedBlock& block, int64_t begin, int64_t end) {
  const int64_t heads = block.args->heads;
  const int64_t width = block.args->width;
  const int64_t vectors = (width + kLanes<V> - 1) / kLanes<V>;
  for (int64_t h = 0; h < heads;) {
    const int64_t left = heads - h;
    if (vectors == 1 && left >= 8) {
      weighted_vectors<V, 8>(block, begin, end, h, 0, width);
      h += 8;
    } else if (vectors <= 2 && left >= 4) {
      weighted_vectors<V, 4>(block, begin, end, h, 0, width);
      h += 4;
    } else if (vectors <= 4 && left >= 2) {
      weighted_vectors<V, 2>(block, begin, end, h, 0, width);
      h += 2;
    } else {
      for (int64_t c = 0, span; c < width; c += span) {
        span = next_span(width - c);
        weighted_vectors<V, 1>(block, begin, end, h, c, span);
      }
      ++h;
    }
  }
}

void weighted_block(const WeightedBlock& block, int64_t begin, int64_t end) {
  const int64_t width = block.args->width;
  if (width >= kWide) return weighted_heads<FW>(block, begin, end);
#if defined(__AVX512F__)
  if (width >= 8) return weighted_heads<F8>(block, begin, end);
#endif
  if (width >= 4) return weighted_heads<F4>(block, begin, end);
  weighted_heads<float>(block, begin, end);
}

}  // namespace

int spmm_rows(const SpmmArgs& args, int64_t begin, int64_t end) {
  const int64_t first = args.indptr[begin];
  const int64_t count = args.indptr[end] - first;
  if (args.col != nullptr && !all_below(args.col + first, count, args.columns)) return FAULT_COL;
  switch (args.reduction) {
    case REDUCE_MAX: reduce_how<REDUCE_MAX>(args, begin, end); break;
    case REDUCE_MIN: reduce_how<REDUCE_MIN>(args, begin, end); break;
    default: reduce_how<REDUCE_SUM>(args, begin, end); break;
  }
  return FAULT_NONE;
}

int spmm_weighted_rows(const WeightedArgs& args, int64_t begin, int64_t end) {
  const int64_t first = args.indptr[begin];
  const int64_t count = args.indptr[end] - first;
  const int64_t heads = args.heads;
  if (!all_below(args.col + first, count, args.columns)) return FAULT_COL;
  if (args.perm == nullptr) {
    weighted_block({&args, args.w + first * heads, nullptr}, begin, end);
    return FAULT_NONE;
  }
  const int32_t* perm = args.perm + first;
  if (!all_below(perm, count, args.entries)) return FAULT_PERM;
  FloatBuffer buffer(count * heads);
  float* w = buffer.data();
  if (w == nullptr) return FAULT_MEMORY;
  constexpr int64_t ahead = 32;
  for (int64_t i = 0; i < count; ++i) {
    __builtin_prefetch(args.w + perm[i + ahead < count ? i + ahead : count - 1] * heads);
    const float* from = args.w + perm[i] * heads;
    for (int64_t h = 0; h < heads; ++h) w[i * heads + h] = from[h];
  }
  weighted_block({&args, w, nullptr}, begin, end);
  return FAULT_NONE;
}

int attention_rows(const AttentionArgs& args, int64_t begin, int64_t end) {
  const int64_t first = args.indptr[begin];
  const int64_t count = args.indptr[end] - first;
  const int64_t heads = args.heads;
  if (!all_below(args.col + first, count, args.columns)) return FAULT_COL;
  FloatBuffer weights(count * heads + kSlack);
  FloatBuffer inverses((end - begin) * heads);
  if (weights.data() == nullptr || inverses.data() == nullptr) return FAULT_MEMORY;
  if (!attention_weights(args, begin, end, weights.data(), inverses.data())) return FAULT_MEMORY;
  const WeightedArgs weighted = {args.x,   heads,        args.width, args.columns, args.indptr,
                                 args.col, args.entries, nullptr,    nullptr,      args.y};
  weighted_block({&weighted, weights.data(), inverses.data()}, begin, end);
  return FAULT_NONE;
}

}  // namespace edgegnn::EDGEGNN_LEVEL
