// Attention whose scores depend on both ends of an edge at once. Compiled once a level, see isa.h.
//
// A block of rows: scores of its entries to a buffer, row by row, so that what belongs to the row stays in the first cache; then the
// softmax of all of them. Four heads are summed at once where there are as many: four sums of sixteen lanes become one vector of four.

#include "edge_attention.h"

#include "buffer.h"
#include "edge_features.h"

namespace edgegnn::EDGEGNN_LEVEL {
namespace {

constexpr int64_t kAhead = 12;  // entries
constexpr int kParts = 16 / kWide;

// Sixteen lanes.
struct Lanes {
  FW part[kParts];
};

EDGEGNN_INLINE Lanes zeros() {
  Lanes out;
#pragma GCC unroll 4
  for (int i = 0; i < kParts; ++i) out.part[i] = FW{};
  return out;
}

EDGEGNN_INLINE Lanes sixteen(const float* p) {
  Lanes out;
#pragma GCC unroll 4
  for (int i = 0; i < kParts; ++i) load(p + i * kWide, &out.part[i]);
  return out;
}

// The `count` < 16 floats from p on; the other lanes are 0.
EDGEGNN_INLINE Lanes fewer(const float* p, int64_t count) {
#if defined(__AVX512F__)
  return {{(FW)_mm512_maskz_loadu_ps(static_cast<__mmask16>((1u << count) - 1), p)}};
#else
  float padded[16] = {};
  for (int64_t i = 0; i < count; ++i) padded[i] = p[i];
  return sixteen(padded);
#endif
}

template <typename Function>
EDGEGNN_INLINE Lanes lanewise(const Lanes& a, const Lanes& b, Function function) {
  Lanes out;
#pragma GCC unroll 4
  for (int i = 0; i < kParts; ++i) out.part[i] = function(a.part[i], b.part[i]);
  return out;
}
EDGEGNN_INLINE Lanes operator+(const Lanes& a, const Lanes& b) {
  return lanewise(a, b, [](FW u, FW v) __attribute__((always_inline)) { return u + v; });
}
EDGEGNN_INLINE Lanes operator*(const Lanes& a, const Lanes& b) {
  return lanewise(a, b, [](FW u, FW v) __attribute__((always_inline)) { return u * v; });
}
EDGEGNN_INLINE Lanes all(float value) {
  Lanes out;
#pragma GCC unroll 4
  for (int i = 0; i < kParts; ++i) out.part[i] = splat<FW>(value);
  return out;
}
// v where it is above 0, else v * slope: a NaN stays one.
EDGEGNN_INLINE Lanes leaky(const Lanes& v, const Lanes& slope) {
  return lanewise(v, slope, [](FW u, FW s) __attribute__((always_inline)) { return u > FW{} ? u : u * s; });
}

// The lanes l and l + 8 added, then those of l and l + 4.
EDGEGNN_INLINE F4 folded(const Lanes& v) {
#if defined(__AVX512F__)
  const __m512 whole = (__m512)v.part[0];
  const __m256 half = _mm256_add_ps(_mm512_maskz_extractf32x8_ps(0xFF, whole, 0), _mm512_maskz_extractf32x8_ps(0xFF, whole, 1));
  return (F4)_mm_add_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps(half, 1));
#elif defined(__AVX2__)
  const __m256 half = (__m256)(v.part[0] + v.part[1]);
  return (F4)_mm_add_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps(half, 1));
#else
  return (v.part[0] + v.part[2]) + (v.part[1] + v.part[3]);
#endif
}

// Turns four vectors, so that vector i has lane i of each.
EDGEGNN_INLINE void turn(F4* a, F4* b, F4* c, F4* d) {
#if defined(EDGEGNN_X86)
  const __m128 low_ab = _mm_unpacklo_ps((__m128)*a, (__m128)*b);
  const __m128 low_cd = _mm_unpacklo_ps((__m128)*c, (__m128)*d);
  const __m128 high_ab = _mm_unpackhi_ps((__m128)*a, (__m128)*b);
  const __m128 high_cd = _mm_unpackhi_ps((__m128)*c, (__m128)*d);
  *a = (F4)_mm_movelh_ps(low_ab, low_cd);
  *b = (F4)_mm_movehl_ps(low_cd, low_ab);
  *c = (F4)_mm_movelh_ps(high_ab, high_cd);
  *d = (F4)_mm_movehl_ps(high_cd, high_ab);
#else
  const float32x4x2_t ab = vtrnq_f32((float32x4_t)*a, (float32x4_t)*b);
  const float32x4x2_t cd = vtrnq_f32((float32x4_t)*c, (float32x4_t)*d);
  *a = (F4)vcombine_f32(vget_low_f32(ab.val[0]), vget_low_f32(cd.val[0]));
  *b = (F4)vcombine_f32(vget_low_f32(ab.val[1]), vget_low_f32(cd.val[1]));
  *c = (F4)vcombine_f32(vget_high_f32(ab.val[0]), vget_high_f32(cd.val[0]));
  *d = (F4)vcombine_f32(vget_high_f32(ab.val[1]), vget_high_f32(cd.val[1]));
#endif
}

// The sums of HEADS times sixteen lanes, each times `scale`.
template <int HEADS>
EDGEGNN_INLINE void put_sums(const Lanes* sums, float scale, float* out) {
  if constexpr (HEADS == 4) {
    F4 a = folded(sums[0]);
    F4 b = folded(sums[1]);
    F4 c = folded(sums[2]);
    F4 d = folded(sums[3]);
    turn(&a, &b, &c, &d);
    store(out, ((a + c) + (b + d)) * splat<F4>(scale));
  } else {
#pragma GCC unroll 4
    for (int h = 0; h < HEADS; ++h) {
      const F4 v = folded(sums[h]);
      out[h] = ((v[0] + v[2]) + (v[1] + v[3])) * scale;
    }
  }
}

// Adds term(head, column, load) of sixteen columns at a time to each head's sum: `load` reads the columns, also the last, fewer ones.
template <int HEADS, typename Term>
EDGEGNN_INLINE void add_columns(Lanes* sums, int64_t width, Term term) {
  int64_t c = 0;
  for (; c + 16 <= width; c += 16) {
#pragma GCC unroll 4
    for (int h = 0; h < HEADS; ++h) {
      sums[h] = sums[h] + term(h, c, [](const float* p) __attribute__((always_inline)) { return sixteen(p); });
    }
  }
  const int64_t left = width - c;
  if (left > 0) {
#pragma GCC unroll 4
    for (int h = 0; h < HEADS; ++h) {
      sums[h] = sums[h] + term(h, c, [left](const float* p) __attribute__((always_inline)) { return fewer(p, left); });
    }
  }
}

template <int N>
struct Count {
  static constexpr int kValue = N;
};

// Calls function(number of heads, first head) for four heads at a time, then for those that are left.
template <typename Function>
EDGEGNN_INLINE void for_heads(int64_t heads, Function function) {
  int64_t h = 0;
  for (; heads - h >= 4; h += 4) function(Count<4>{}, h);
  if (heads - h >= 2) function(Count<2>{}, h), h += 2;
  if (heads - h == 1) function(Count<1>{}, h);
}

// Calls visit(row, entry) for the entries of the rows [begin, end), and fetches the rows of `table` ahead, [.., row_width].
template <typename Args, typename Visit>
EDGEGNN_INLINE void for_entries(const Args& args, const float* table, int64_t row_width, int64_t span, int64_t begin, int64_t end, Visit visit) {
  const int32_t* const indptr = args.indptr;
  const int32_t* const col = args.col;
  const int64_t final_entry = indptr[end] - 1;
  const auto row_bytes = static_cast<uintptr_t>(row_width) * sizeof(float);
  const int64_t lines = (span * static_cast<int64_t>(sizeof(float)) + 63) / 64;
  int64_t e = indptr[begin];
  for (int64_t r = begin; r < end; ++r) {
    const int64_t stop = indptr[r + 1];
    for (; e < stop; ++e) {
      const int64_t later = e + kAhead < final_entry ? e + kAhead : final_entry;
      const uintptr_t next = reinterpret_cast<uintptr_t>(table) + static_cast<uintptr_t>(col[later]) * row_bytes;
      for (int64_t line = 0; line < lines; ++line) __builtin_prefetch(reinterpret_cast<const void*>(next + 64 * static_cast<uintptr_t>(line)));
      visit(r, e, col[e] * row_width);
    }
  }
}

// WIDTH: columns of a head, 0 where they are found at run time.
template <int HEADS, int WIDTH, bool FEATURES>
void pair_scores(const PairArgs& given, int64_t begin, int64_t end, int64_t h, const float* features, float* w) {
  const PairArgs args = given;
  const int64_t width = WIDTH > 0 ? WIDTH : args.width;
  const int64_t row_width = args.heads * width;
  const int64_t depth = args.features.width;
  const float* const source = args.source + h * width;
  const float* const target = args.target + h * width;
  const float* const att = args.att + h * width;
  const float* const product = args.product + h * width;
  const Lanes slope = all(args.slope);
  const int64_t first = args.indptr[begin];
  for_entries(args, source, row_width, HEADS * width, begin, end, [&](int64_t r, int64_t e, int64_t from) __attribute__((always_inline)) {
    const float* const a = source + from;
    const float* const b = target + r * row_width;
    const float* const own = features + (e - first) * depth;
    Lanes sums[HEADS];
#pragma GCC unroll 4
    for (int i = 0; i < HEADS; ++i) sums[i] = zeros();
    Lanes added[HEADS];  // of sixteen columns a head: all heads in one run over the features
    if constexpr (FEATURES && WIDTH == 16) {
#pragma GCC unroll 4
      for (int i = 0; i < HEADS; ++i) added[i] = zeros();
      for (int64_t d = 0; d < depth; ++d) {
        const Lanes feature = all(own[d]);
#pragma GCC unroll 4
        for (int i = 0; i < HEADS; ++i) added[i] = added[i] + feature * sixteen(product + d * row_width + i * WIDTH);
      }
    }
    add_columns<HEADS>(sums, width, [&](int head, int64_t c, auto read) __attribute__((always_inline)) {
      const int64_t at = head * width + c;
      Lanes v = read(a + at) + read(b + at);
      if constexpr (FEATURES && WIDTH == 16) v = v + added[head];
      if constexpr (FEATURES && WIDTH != 16) {
        Lanes g = zeros();
        for (int64_t d = 0; d < depth; ++d) g = g + all(own[d]) * read(product + d * row_width + at);
        v = v + g;
      }
      return leaky(v, slope) * read(att + at);
    });
    put_sums<HEADS>(sums, 1.0f, w + (e - first) * args.heads + h);
  });
}

template <int HEADS, int WIDTH>
void dot_scores(const DotArgs& given, int64_t begin, int64_t end, int64_t h, const float* features, float* w) {
  const DotArgs args = given;
  const int64_t width = WIDTH > 0 ? WIDTH : args.width;
  const int64_t row_width = args.heads * width;
  const int64_t depth = args.features.width;
  const float* const key = args.key + h * width;
  const float* const query = args.query + h * width;
  const int64_t first = args.indptr[begin];
  for_entries(args, key, row_width, HEADS * width, begin, end, [&](int64_t r, int64_t e, int64_t from) __attribute__((always_inline)) {
    const float* const k = key + from;
    const float* const q = query + r * row_width;
    Lanes sums[HEADS];
#pragma GCC unroll 4
    for (int i = 0; i < HEADS; ++i) sums[i] = zeros();
    add_columns<HEADS>(sums, width, [&](int head, int64_t c, auto read) __attribute__((always_inline)) {
      return read(q + head * width + c) * read(k + head * width + c);
    });
    if (depth > 0) {
      const float* const own = features + (e - first) * depth;
      const float* const u = args.edge_query + (r * args.heads + h) * depth;
      add_columns<HEADS>(sums, depth, [&](int head, int64_t c, auto read) __attribute__((always_inline)) {
        return read(u + head * depth + c) * read(own + c);
      });
    }
    put_sums<HEADS>(sums, args.scale, w + (e - first) * args.heads + h);
  });
}

// mixed[r, h] = sum of y[e, h] * features[e] over the entries of the rows [begin, end), one entry after the other.
void mix_features(const DotArgs& args, int64_t begin, int64_t end, const float* features) {
  const int64_t depth = args.features.width;
  const int64_t heads = args.heads;
  const int64_t first = args.indptr[begin];
  for (int64_t r = begin; r < end; ++r) {
    float* const out = args.mixed + r * heads * depth;
    for (int64_t i = 0; i < heads * depth; ++i) out[i] = 0.0f;
    for (int64_t e = args.indptr[r]; e < args.indptr[r + 1]; ++e) {
      const float* const own = features + (e - first) * depth;
      for (int64_t h = 0; h < heads; ++h) {
        const float weight = args.y[e * heads + h];
        float* const sum = out + h * depth;
        int64_t d = 0;
        for (; d + 4 <= depth; d += 4) {
          F4 v;
          F4 s;
          load(own + d, &v);
          load(sum + d, &s);
          store(sum + d, s + v * splat<F4>(weight));
        }
        for (; d < depth; ++d) sum[d] = sum[d] + own[d] * weight;
      }
    }
  }
}

}  // namespace

int pair_attention_rows(const PairArgs& args, int64_t begin, int64_t end) {
  const int64_t first = args.indptr[begin];
  const int64_t count = args.indptr[end] - first;
  if (const int fault = checked(args.col, args.columns, args.features, args.entries, first, count)) return fault;
  FloatBuffer scores(count * args.heads + kSlack);
  FloatBuffer room(args.features.perm == nullptr ? 0 : count * args.features.width);
  const float* const features = in_row_order(args.features, first, count, room.data());
  float* const w = scores.data();
  if (w == nullptr || room.data() == nullptr) return FAULT_MEMORY;
  for_heads(args.heads, [&](auto heads, int64_t h) {
    constexpr int kHeads = decltype(heads)::kValue;
    const bool sixteen_columns = args.width == 16;
    const auto score = args.features.width > 0 ? (sixteen_columns ? pair_scores<kHeads, 16, true> : pair_scores<kHeads, 0, true>)
                                               : (sixteen_columns ? pair_scores<kHeads, 16, false> : pair_scores<kHeads, 0, false>);
    score(args, begin, end, h, features, w);
  });
  softmax_block(args.indptr, begin, end, args.heads, w, args.y + first * args.heads);
  return FAULT_NONE;
}

int dot_attention_rows(const DotArgs& args, int64_t begin, int64_t end) {
  const int64_t first = args.indptr[begin];
  const int64_t count = args.indptr[end] - first;
  if (const int fault = checked(args.col, args.columns, args.features, args.entries, first, count)) return fault;
  FloatBuffer scores(count * args.heads + kSlack);
  FloatBuffer room(args.features.perm == nullptr ? 0 : count * args.features.width);
  const float* const features = in_row_order(args.features, first, count, room.data());
  float* const w = scores.data();
  if (w == nullptr || room.data() == nullptr) return FAULT_MEMORY;
  for_heads(args.heads, [&](auto heads, int64_t h) {
    constexpr int kHeads = decltype(heads)::kValue;
    const auto score = args.width == 16 ? dot_scores<kHeads, 16> : dot_scores<kHeads, 0>;
    score(args, begin, end, h, features, w);
  });
  softmax_block(args.indptr, begin, end, args.heads, w, args.y + first * args.heads);
  if (args.mixed != nullptr) mix_features(args, begin, end, features);
  return FAULT_NONE;
}

}  // namespace edgegnn::EDGEGNN_LEVEL
