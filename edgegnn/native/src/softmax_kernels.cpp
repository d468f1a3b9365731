// Softmax over the entries of each row. Compiled once a level, see isa.h.
//
// A block of rows goes through three steps, so that a row of five entries costs no more an entry than one of five thousand: logits minus
// their row's maximum; the exponential of all of them in one run; the sums. Maximum and sum are taken entry by entry, heads side by
// side in a vector, so they don't depend on the width of the registers.

#include "buffer.h"
#include "csr.h"
#include "float_simd.h"
#include "spmm.h"

namespace edgegnn::EDGEGNN_LEVEL {
namespace {

constexpr int64_t kAhead = 24;  // entries

// N vectors of heads.
template <typename V, int N>
struct Heads {
  static constexpr int kCount = N * kLanes<V>;
  V part[N];

  static inline __attribute__((always_inline)) Heads all(float value) {
    Heads out;
#pragma GCC unroll 4
    for (int i = 0; i < N; ++i) out.part[i] = splat<V>(value);
    return out;
  }
  static inline __attribute__((always_inline)) Heads at(const float* p) {
    Heads out;
#pragma GCC unroll 4
    for (int i = 0; i < N; ++i) load(p + i * kLanes<V>, &out.part[i]);
    return out;
  }
  inline __attribute__((always_inline)) void put(float* p) const {
#pragma GCC unroll 4
    for (int i = 0; i < N; ++i) store(p + i * kLanes<V>, part[i]);
  }
  template <typename Function>
  inline __attribute__((always_inline)) Heads with(const Heads& other, Function function) const {
    Heads out;
#pragma GCC unroll 4
    for (int i = 0; i < N; ++i) out.part[i] = function(part[i], other.part[i]);
    return out;
  }
};

constexpr auto kPlus = [](auto a, auto b) __attribute__((always_inline)) { return a + b; };
constexpr auto kMinus = [](auto a, auto b) __attribute__((always_inline)) { return a - b; };
constexpr auto kTimes = [](auto a, auto b) __attribute__((always_inline)) { return a * b; };
constexpr auto kOver = [](auto a, auto b) __attribute__((always_inline)) { return a / b; };
constexpr auto kLarger = [](auto a, auto b) __attribute__((always_inline)) { return larger(a, b); };
constexpr auto kSmaller = [](auto a, auto b) __attribute__((always_inline)) { return smaller(a, b); };

#if defined(__AVX512F__)
typedef Heads<F16, 1> Sixteen;
typedef Heads<F8, 1> Eight;
#elif defined(__AVX2__)
typedef Heads<F8, 2> Sixteen;
typedef Heads<F8, 1> Eight;
#else
typedef Heads<F4, 4> Sixteen;
typedef Heads<F4, 2> Eight;
#endif

// Calls function(Heads type, first head) for heads side by side until all have had their turn.
template <typename Function>
EDGEGNN_INLINE void for_heads(int64_t heads, Function function) {
  int64_t h = 0;
  for (; heads - h >= 16; h += 16) function(Sixteen{}, h);
  if (heads - h >= 8) function(Eight{}, h), h += 8;
  if (heads - h >= 4) function(Heads<F4, 1>{}, h), h += 4;
  if (heads - h == 3) function(Heads<float, 3>{}, h);
  if (heads - h == 2) function(Heads<float, 2>{}, h);
  if (heads - h == 1) function(Heads<float, 1>{}, h);
}

// Takes `top` from the entries [0, count) of a row of w, `heads` floats apart.
template <typename H>
EDGEGNN_INLINE void subtract(float* w, int64_t count, int64_t heads, const H& top) {
  for (int64_t i = 0; i < count; ++i) H::at(w + i * heads).with(top, kMinus).put(w + i * heads);
}

template <typename H>
EDGEGNN_INLINE H sum_of(const float* w, int64_t count, int64_t heads) {
  H sum = H::all(0.0f);
  for (int64_t i = 0; i < count; ++i) sum = sum.with(H::at(w + i * heads), kPlus);
  return sum.with(H::all(1e-16f), kPlus);
}

// The exponential of values[0, count); up to a vector more is written behind them. Nothing was there: zeros, so that no lane holds garbage.
void exponentiate(float* values, int64_t count) {
  static_assert(kWide <= kSlack, "a vector behind the last value is still in the buffer");
  store(values + count, FW{});
  for (int64_t i = 0; i < count; i += kWide) {
    FW v;
    load(values + i, &v);
    store(values + i, exponential(v));
  }
}

// Heads from h on of the rows [begin, end): logits of the edge list, minus their row's maximum, to w in row order.
template <typename H>
void gather_logits(const SoftmaxArgs& args, int64_t begin, int64_t end, int64_t h, float* w) {
  const int64_t heads = args.heads;
  const int32_t* const indptr = args.indptr;
  const int32_t* const perm = args.perm;
  const float* const logits = args.logits + h;
  float* const y = args.y + h;
  const int64_t first = indptr[begin];
  const int64_t final_entry = indptr[end] - 1;
  w += h;
  for (int64_t r = begin; r < end; ++r) {
    const int64_t stop = indptr[r + 1];
    const int64_t from = indptr[r];
    H top = H::all(-__builtin_inff());
    for (int64_t e = from; e < stop; ++e) {
      int64_t at = e;
      if (perm != nullptr) {
        at = perm[e];
        const int64_t next = perm[e + kAhead < final_entry ? e + kAhead : final_entry];
        __builtin_prefetch(logits + next * heads);
        __builtin_prefetch(y + next * heads, 1);
      }
      const H v = H::at(logits + at * heads);
      v.put(w + (e - first) * heads);
      top = top.with(v, kLarger);
    }
    subtract(w + (from - first) * heads, stop - from, heads, top);
  }
}

template <typename H>
void scatter_shares(const SoftmaxArgs& args, int64_t begin, int64_t end, int64_t h, const float* w) {
  const int64_t heads = args.heads;
  const int32_t* const indptr = args.indptr;
  const int32_t* const perm = args.perm;
  float* const y = args.y + h;
  const int64_t first = indptr[begin];
  w += h;
  for (int64_t r = begin; r < end; ++r) {
    const int64_t stop = indptr[r + 1];
    const int64_t from = indptr[r];
    const H sum = sum_of<H>(w + (from - first) * heads, stop - from, heads);
    for (int64_t e = from; e < stop; ++e) {
      const int64_t at = perm == nullptr ? e : perm[e];
      H::at(w + (e - first) * heads).with(sum, kOver).put(y + at * heads);
    }
  }
}

// Heads from h on of the rows [begin, end): leaky_relu(a_src[col] + a_dst[row]), minus their row's maximum.
// CONVEX: slope <= 1, where leaky_relu(v) is the larger of v and slope * v; else it is the smaller.
template <typename H, bool CONVEX>
void attention_logits(const AttentionArgs& args, int64_t begin, int64_t end, int64_t h, float* w) {
  const int64_t heads = args.heads;
  const int32_t* const indptr = args.indptr;
  const int32_t* const col = args.col;
  const float* const a_src = args.a_src + h;
  const float* const a_dst = args.a_dst + h;
  const int64_t first = indptr[begin];
  const int64_t final_entry = indptr[end] - 1;
  const H slope = H::all(args.slope);
  w += h;
  for (int64_t r = begin; r < end; ++r) {
    const int64_t stop = indptr[r + 1];
    const int64_t from = indptr[r];
    const H shift = H::at(a_dst + r * heads);
    H top = H::all(-__builtin_inff());
    for (int64_t e = from; e < stop; ++e) {
      __builtin_prefetch(a_src + col[e + kAhead < final_entry ? e + kAhead : final_entry] * heads);
      H v = H::at(a_src + col[e] * heads).with(shift, kPlus);
      const H slanted = v.with(slope, kTimes);
      if constexpr (CONVEX) v = v.with(slanted, kLarger);
      if constexpr (!CONVEX) v = v.with(slanted, kSmaller);
      v.put(w + (e - first) * heads);
      top = top.with(v, kLarger);
    }
    subtract(w + (from - first) * heads, stop - from, heads, top);
  }
}

template <typename H>
void inverse_sums(const AttentionArgs& args, int64_t begin, int64_t end, int64_t h, const float* w, float* inverse) {
  const int64_t heads = args.heads;
  const int64_t first = args.indptr[begin];
  for (int64_t r = begin; r < end; ++r) {
    const int64_t from = args.indptr[r];
    const H sum = sum_of<H>(w + (from - first) * heads + h, args.indptr[r + 1] - from, heads);
    H::all(1.0f).with(sum, kOver).put(inverse + (r - begin) * heads + h);
  }
}

}  // namespace

int softmax_rows(const SoftmaxArgs& args, int64_t begin, int64_t end) {
  const int64_t first = args.indptr[begin];
  const int64_t count = args.indptr[end] - first;
  if (args.perm != nullptr && !all_below(args.perm + first, count, args.entries)) return FAULT_PERM;
  FloatBuffer buffer(count * args.heads + kSlack);
  float* const w = buffer.data();
  if (w == nullptr) return FAULT_MEMORY;
  for_heads(args.heads, [&](auto kind, int64_t h) { gather_logits<decltype(kind)>(args, begin, end, h, w); });
  exponentiate(w, count * args.heads);
  for_heads(args.heads, [&](auto kind, int64_t h) { scatter_shares<decltype(kind)>(args, begin, end, h, w); });
  return FAULT_NONE;
}

bool attention_weights(const AttentionArgs& args, int64_t begin, int64_t end, float* w, float* inverse) {
  const int64_t count = args.indptr[end] - args.indptr[begin];
  for_heads(args.heads, [&](auto kind, int64_t h) {
    if (args.slope <= 1.0f) {
      attention_logits<decltype(kind), true>(args, begin, end, h, w);
    } else {
      attention_logits<decltype(kind), false>(args, begin, end, h, w);
    }
  });
  exponentiate(w, count * args.heads);
  for_heads(args.heads, [&](auto kind, int64_t h) { inverse_sums<decltype(kind)>(args, begin, end, h, w, inverse); });
  return true;
}

void softmax_block(const int32_t* indptr, int64_t begin, int64_t end, int64_t heads, float* w, float* y) {
  const int64_t first = indptr[begin];
  for_heads(heads, [&](auto kind, int64_t h) {
    using H = decltype(kind);
    for (int64_t r = begin; r < end; ++r) {
      float* const row = w + (indptr[r] - first) * heads + h;
      const int64_t count = indptr[r + 1] - indptr[r];
      H top = H::all(-__builtin_inff());
      for (int64_t i = 0; i < count; ++i) top = top.with(H::at(row + i * heads), kLarger);
      subtract(row, count, heads, top);
    }
  });
  exponentiate(w, (indptr[end] - first) * heads);
  for_heads(heads, [&](auto kind, int64_t h) {
    using H = decltype(kind);
    for (int64_t r = begin; r < end; ++r) {
      const int64_t from = (indptr[r] - first) * heads + h;
      const int64_t count = indptr[r + 1] - indptr[r];
      const H sum = sum_of<H>(w + from, count, heads);
      for (int64_t i = 0; i < count; ++i) H::at(w + from + i * heads).with(sum, kOver).put(y + from + i * heads);
    }
  });
}

}  // namespace edgegnn::EDGEGNN_LEVEL
