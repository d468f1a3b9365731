// GatedSum: messages with a gate for each channel (CGConv), made and added up channel by channel. Compiled once a level, see isa.h.
#include "gated_sum.h"

#include "buffer.h"
#include "edge_features.h"

namespace edgegnn::EDGEGNN_LEVEL {
namespace {

constexpr int64_t kAhead = 8;  // entries

// `count` floats from p on, the other lanes 0; all of them where WHOLE.
template <bool WHOLE>
EDGEGNN_INLINE FW some(const float* p, int64_t count) {
  FW v;
  if constexpr (WHOLE) {
    load(p, &v);
  } else {
    float part[kWide] = {};
    for (int64_t i = 0; i < count; ++i) part[i] = p[i];
    load(part, &v);
  }
  return v;
}

EDGEGNN_INLINE FW sigmoid(FW v) { return splat<FW>(1.0f) / (splat<FW>(1.0f) + exponential(-v)); }

// log(1 + e^v) is max(v, 0) + log(1 + t) for t = e^-|v|; log(1 + t) is twice the area tangent of z = t / (2 + t), which is at most a third.
EDGEGNN_INLINE FW softplus(FW v) {
  const FW nought = FW{};
  const FW t = exponential(v > nought ? -v : v);
  const FW z = t / (splat<FW>(2.0f) + t);
  const FW square = z * z;
  FW p = splat<FW>(1.0f / 15.0f);
  p = p * square + splat<FW>(1.0f / 13.0f);
  p = p * square + splat<FW>(1.0f / 11.0f);
  p = p * square + splat<FW>(1.0f / 9.0f);
  p = p * square + splat<FW>(1.0f / 7.0f);
  p = p * square + splat<FW>(1.0f / 5.0f);
  p = p * square + splat<FW>(1.0f / 3.0f);
  p = p * square + splat<FW>(1.0f);
  return (v > nought ? v : nought) + (z + z) * p;
}

// Channels [c, c + count) of an edge's number.
template <bool FEATURES, bool WHOLE>
EDGEGNN_INLINE FW both_ends(const GatedArgs& args, const BothEnds& ends, int64_t from, int64_t row, const float* features, int64_t c, int64_t count) {
  FW v = some<WHOLE>(ends.source + from + c, count) + some<WHOLE>(ends.target + row + c, count);
  if constexpr (FEATURES) {
    FW added = FW{};
    for (int64_t d = 0; d < args.features.width; ++d) {
      added = added + splat<FW>(features[d]) * some<WHOLE>(ends.product + d * args.width + c, count);
    }
    v = v + added;
  }
  return v;
}

template <bool FEATURES>
void gated(const GatedArgs& given, int64_t begin, int64_t end, const float* features) {
  const GatedArgs args = given;
  const int64_t width = args.width;
  const int32_t* const indptr = args.indptr;
  const int32_t* const col = args.col;
  const int64_t first = indptr[begin];
  const int64_t final_entry = indptr[end] - 1;
  for (int64_t r = begin; r < end; ++r) {
    float* const y = args.y + r * width;
    for (int64_t c = 0; c < width; ++c) y[c] = 0.0f;
    for (int64_t e = indptr[r]; e < indptr[r + 1]; ++e) {
      const int64_t next = col[e + kAhead < final_entry ? e + kAhead : final_entry] * width;
      for (int64_t c = 0; c < width; c += 16) {
        __builtin_prefetch(args.gate.source + next + c);
        __builtin_prefetch(args.value.source + next + c);
      }
      const int64_t from = col[e] * width;
      const float* const own = features + (e - first) * args.features.width;
      int64_t c = 0;
      for (; c + kWide <= width; c += kWide) {
        const FW gate = sigmoid(both_ends<FEATURES, true>(args, args.gate, from, r * width, own, c, kWide));
        const FW value = softplus(both_ends<FEATURES, true>(args, args.value, from, r * width, own, c, kWide));
        store(y + c, some<true>(y + c, kWide) + gate * value);
      }
      const int64_t left = width - c;
      if (left > 0) {
        const FW gate = sigmoid(both_ends<FEATURES, false>(args, args.gate, from, r * width, own, c, left));
        const FW value = softplus(both_ends<FEATURES, false>(args, args.value, from, r * width, own, c, left));
        float part[kWide];
        store(part, gate * value);
        for (int64_t i = 0; i < left; ++i) y[c + i] = y[c + i] + part[i];
      }
    }
  }
}

}  // namespace

int gated_rows(const GatedArgs& args, int64_t begin, int64_t end) {
  const int64_t first = args.indptr[begin];
  const int64_t count = args.indptr[end] - first;
  if (const int fault = checked(args.col, args.columns, args.features, args.entries, first, count)) return fault;
  FloatBuffer room(args.features.perm == nullptr ? 0 : count * args.features.width);
  if (room.data() == nullptr) return FAULT_MEMORY;
  const float* const features = in_row_order(args.features, first, count, room.data());
  args.features.width > 0 ? gated<true>(args, begin, end, features) : gated<false>(args, begin, end, features);
  return FAULT_NONE;
}

}  // namespace edgegnn::EDGEGNN_LEVEL
