// Sums of neighbours' rows with a weight for each channel, and for each plane of channels (vectors in space). Compiled once a level,
// see isa.h.
//
// A tile of channels of up to three planes stays in registers while a destination's entries are added up: the weights of an edge are
// read once for all planes. The last vector of a row ends where the row ends and may overlap the one before it.

#include "channels.h"

#include "csr.h"
#include "float_simd.h"
#include "spmm.h"

namespace edgegnn::EDGEGNN_LEVEL {
namespace {

constexpr int64_t kAhead = 8;  // entries

template <typename V>
EDGEGNN_INLINE V load_as(const float* p) {
  V v;
  load(p, &v);
  return v;
}

// Planes [p, p + PLANES), channels [c, c + span), rows [begin, end), in COUNT vectors a plane.
template <typename V, int PLANES, int COUNT>
void tile(const ChannelsArgs& given, int64_t begin, int64_t end, int64_t p, int64_t c, int64_t span) {
  const ChannelsArgs args = given;
  const int64_t width = args.width;
  const int64_t x_width = args.x_planes * width;
  const int64_t plane = args.x_planes == 1 ? 0 : width;
  const int64_t step = args.d_planes == 1 ? 0 : 1;
  const float* const x = args.x + p * plane + c;
  const float* const w = args.w + c;
  const float* const d = args.d + p * step;
  const int64_t last = span - kLanes<V>;
  float* y = args.y + (begin * args.planes + p) * width + c;
  const int64_t final_entry = args.indptr[end] - 1;
  int64_t e = args.indptr[begin];
  for (int64_t r = begin; r < end; ++r, y += args.planes * width) {
    const int64_t stop = args.indptr[r + 1];
    V sum[PLANES * COUNT];
#pragma GCC unroll 12
    for (int i = 0; i < PLANES * COUNT; ++i) sum[i] = splat<V>(0.0f);
    for (; e < stop; ++e) {
      const int64_t edge = args.perm == nullptr ? e : args.perm[e];
      const int64_t later = e + kAhead < final_entry ? e + kAhead : final_entry;
      const int64_t next = args.perm == nullptr ? later : args.perm[later];
      prefetch<COUNT * static_cast<int>(sizeof(V))>(reinterpret_cast<uintptr_t>(w) +
                                                    static_cast<uintptr_t>(next * args.w_width) * sizeof(float));
      const float* from = x + args.col[e] * x_width;
      const float* weights = w + edge * args.w_width;
      const float* factors = d + edge * args.d_planes;
#pragma GCC unroll 4
      for (int i = 0; i < COUNT; ++i) {
        const int64_t at = i == COUNT - 1 ? last : i * kLanes<V>;
        const V weight = load_as<V>(weights + at);
#pragma GCC unroll 3
        for (int k = 0; k < PLANES; ++k) {
          const V message = weight * load_as<V>(from + k * plane + at);
          sum[k * COUNT + i] = sum[k * COUNT + i] + message * splat<V>(factors[k * step]);
        }
      }
    }
#pragma GCC unroll 3
    for (int k = 0; k < PLANES; ++k) {
#pragma GCC unroll 4
      for (int i = 0; i < COUNT; ++i) store(y + k * width + (i == COUNT - 1 ? last : i * kLanes<V>), sum[k * COUNT + i]);
    }
  }
}

template <typename V, int PLANES>
void channels(const ChannelsArgs& args, int64_t begin, int64_t end, int64_t p) {
  for (int64_t c = 0, span; c < args.width; c += span) {
    const int64_t left = args.width - c;
    span = left < 4 * kLanes<V> ? left : 4 * kLanes<V>;
    if (left > span && left - span < kLanes<V>) span -= kLanes<V>;  // what is left has a whole vector
    switch ((span + kLanes<V> - 1) / kLanes<V>) {
      case 1: tile<V, PLANES, 1>(args, begin, end, p, c, span); break;
      case 2: tile<V, PLANES, 2>(args, begin, end, p, c, span); break;
      case 3: tile<V, PLANES, 3>(args, begin, end, p, c, span); break;
      default: tile<V, PLANES, 4>(args, begin, end, p, c, span); break;
    }
  }
}

template <typename V>
void planes(const ChannelsArgs& args, int64_t begin, int64_t end) {
  for (int64_t p = 0; p < args.planes;) {
    const int64_t left = args.planes - p;
    if (left >= 3) {
      channels<V, 3>(args, begin, end, p);
      p += 3;
    } else if (left == 2) {
      channels<V, 2>(args, begin, end, p);
      p += 2;
    } else {
      channels<V, 1>(args, begin, end, p);
      p += 1;
    }
  }
}

}  // namespace

int channels_rows(const ChannelsArgs& args, int64_t begin, int64_t end) {
  const int64_t first = args.indptr[begin];
  const int64_t count = args.indptr[end] - first;
  if (!all_below(args.col + first, count, args.columns)) return FAULT_COL;
  if (args.perm != nullptr && !all_below(args.perm + first, count, args.entries)) return FAULT_PERM;
  if (args.width >= kWide) {
    planes<FW>(args, begin, end);
    return FAULT_NONE;
  }
#if defined(__AVX512F__)
  if (args.width >= 8) {
    planes<F8>(args, begin, end);
    return FAULT_NONE;
  }
#endif
  if (args.width >= 4) {
    planes<F4>(args, begin, end);
  } else {
    planes<float>(args, begin, end);
  }
  return FAULT_NONE;
}

}  // namespace edgegnn::EDGEGNN_LEVEL
