// QSpMM: integer sums of gathered byte rows. Compiled once for each instruction set, see isa.h.
//
// The columns of a row are split into units of one vector; the last unit of a wide row overlaps the one before it instead of being
// narrower. A tile is up to kUnits units whose sums stay in registers while a row's entries go by. Rows of more than kBlock entries,
// whose sums could pass 16 bits, go another way.
#include "csr.h"
#include "qepilogue.h"
#include "quantized.h"

namespace edgegnn::EDGEGNN_LEVEL {
namespace {

constexpr int kUnits = 4;    // of a tile: as many as have room in 16 registers
constexpr int kAhead = 24;   // entries between the prefetch of a row and its use

template <class V, bool kPart, bool kFlip>
EDGEGNN_INLINE typename V::B load_codes(const uint8_t* p, int part) {
  const typename V::B x = kPart ? V::load_part(p, part) : V::load(p);
  return kFlip ? V::flip(x) : x;
}

// Sums of a row of more than kBlock entries, minus their zero points, as floats in the order of the registers. Sums are widened to
// 32 bits after every kBlock entries and to 64 after every 2^22: exact for any row.
template <class V, int U, bool kPart, bool kFlip>
__attribute__((noinline)) void sum_heavy_row(const QspmmArgs& args, int64_t from, int64_t to, const int64_t* offset, int part,
                                             float* out) {
  constexpr int64_t kSuper = int64_t{1} << 22;  // 2^22 * 255 < 2^31
  int32_t sums[U * V::W];
  int64_t totals[U * V::W] = {};
  for (int64_t start = from; start < to; start += kSuper) {
    const int64_t super_end = to - start > kSuper ? start + kSuper : to;
    memset(sums, 0, sizeof sums);
    for (int64_t j = start; j < super_end;) {
      const int64_t stop = super_end - j > kBlock ? j + kBlock : super_end;
      const int64_t ahead = stop + kAhead <= args.entries ? kAhead : 0;
      typename V::Sum sum[U];
#pragma GCC unroll 4
      for (int u = 0; u < U; ++u) V::clear(sum[u]);
      for (; j < stop; ++j) {
        const uint8_t* const next = args.x + offset[0] + args.col[j + ahead] * args.width;
        const uint8_t* const p = args.x + args.col[j] * args.width;
#pragma GCC unroll 4
        for (int at = 0; at < U * V::W; at += 64) __builtin_prefetch(next + at);
#pragma GCC unroll 4
        for (int u = 0; u < U; ++u) V::add(sum[u], load_codes<V, kPart, kFlip>(p + offset[u], part));
      }
#pragma GCC unroll 4
      for (int u = 0; u < U; ++u) {
        typename V::I block[V::N];
        V::unfold(sum[u], block);
#pragma GCC unroll 4
        for (int k = 0; k < V::N; ++k) {
          int32_t* const at = sums + (u * V::N + k) * V::L;
          V::store_i(at, V::add_i(V::load_i(at), block[k]));
        }
      }
    }
    for (int i = 0; i < U * V::W; ++i) totals[i] += sums[i];
  }
  for (int i = 0; i < U * V::W; ++i) out[i] = static_cast<float>(totals[i] - (to - from) * args.zero_point);
}

// One tile of the rows [begin, end): units [first, first + U).
template <class V, int U, bool kPart, bool kFlip, bool kFloat>
void tile(const QspmmArgs& shared, int64_t begin, int64_t end, int64_t first) {
  using I = typename V::I;
  using F = typename V::F;
  const QspmmArgs args = shared;  // stores through bytes could change `shared`, as far as the compiler knows
  const Constants<V> constants(args.epilogue);
  const int64_t width = args.width;
  const int part = kPart ? static_cast<int>(width) : V::W;
  int64_t offset[U];
  for (int u = 0; u < U; ++u) offset[u] = unit_column<V>(first + u, width);
  const int64_t last = offset[U - 1] - offset[0];  // only the last unit of a tile may be off the grid
  const uint8_t* const x = args.x + offset[0];
  const float* const bias = args.bias + first * V::W;
  // Steps that would change nothing are left out: the end of a row costs as much as a dozen entries.
  const bool is_centred = args.zero_point != 0;
  const bool is_scaled = args.row_scale_step != 0 || args.row_scale[0] != 1.0f;
  bool is_biased = false;
  for (int i = 0; i < U * V::W; ++i) is_biased = is_biased || !(bias[i] == 0.0f);
  const bool has_self = args.self_weight != 0.0f;
  const F self_weight = V::all_f(args.self_weight);
  const I zero_point = V::all(args.zero_point);

  for (int64_t row = begin; row < end; ++row) {
    const int64_t from = args.indptr[row];
    const int64_t to = args.indptr[row + 1];
    const F row_scale = V::all_f(args.row_scale[row * args.row_scale_step]);
    typename V::Sum sum[U];
#pragma GCC unroll 4
    for (int u = 0; u < U; ++u) V::clear(sum[u]);
    float heavy[U * V::W];
    const bool is_heavy = to - from > kBlock;
    if (__builtin_expect(is_heavy, 0)) {
      sum_heavy_row<V, U, kPart, kFlip>(args, from, to, offset, part, heavy);
    } else {
      const int64_t ahead = to + kAhead <= args.entries ? kAhead : 0;
      for (int64_t j = from; j < to; ++j) {
        const uint8_t* const next = x + args.col[j + ahead] * width;
        const uint8_t* const p = x + args.col[j] * width;
#pragma GCC unroll 4
        for (int at = 0; at < U * V::W; at += 64) __builtin_prefetch(next + at);
#pragma GCC unroll 4
        for (int u = 0; u < U; ++u) V::add(sum[u], load_codes<V, kPart, kFlip>(p + (u == U - 1 ? last : u * V::W), part));
      }
    }

    const I centre = V::all(static_cast<int32_t>(to - from) * args.zero_point);
#pragma GCC unroll 4
    for (int u = 0; u < U; ++u) {
      I code[V::N];
      F v[V::N];
      V::unfold(sum[u], code);
      if (is_centred) {
#pragma GCC unroll 4
        for (int k = 0; k < V::N; ++k) code[k] = V::sub_i(code[k], centre);
      }
#pragma GCC unroll 4
      for (int k = 0; k < V::N; ++k) v[k] = V::to_f(code[k]);
      if (__builtin_expect(is_heavy, 0)) {
#pragma GCC unroll 4
        for (int k = 0; k < V::N; ++k) v[k] = V::load_f(heavy + (u * V::N + k) * V::L);
      }
      if (has_self) {
        V::unfold_bytes(load_codes<V, kPart, kFlip>(args.x + row * width + offset[u], part), code);
#pragma GCC unroll 4
        for (int k = 0; k < V::N; ++k) {
          v[k] = V::add_f(v[k], V::mul_f(self_weight, V::to_f(V::sub_i(code[k], zero_point))));
        }
      }
#pragma GCC unroll 4
      for (int k = 0; k < V::N; ++k) v[k] = V::mul_f(v[k], constants.scale);
      if (is_scaled) {
#pragma GCC unroll 4
        for (int k = 0; k < V::N; ++k) v[k] = V::mul_f(v[k], row_scale);
      }
      if (is_biased) {
#pragma GCC unroll 4
        for (int k = 0; k < V::N; ++k) v[k] = V::add_f(v[k], V::load_f(bias + (u * V::N + k) * V::L));
      }
      finish<V, kFloat>(constants, v, args.y, row * width + offset[u], kPart ? part : V::W);
    }
  }
}

template <class V, int U, bool kPart>
void any_tile(const QspmmArgs& args, int64_t begin, int64_t end, int64_t first) {
  if (args.epilogue.to_float) {
    args.is_signed ? tile<V, U, kPart, true, true>(args, begin, end, first)
                   : tile<V, U, kPart, false, true>(args, begin, end, first);
  } else {
    args.is_signed ? tile<V, U, kPart, true, false>(args, begin, end, first)
                   : tile<V, U, kPart, false, false>(args, begin, end, first);
  }
}

template <class V>
void any_width(const QspmmArgs& args, int64_t begin, int64_t end) {
  const int64_t units = unit_count<V>(args.width);
  int64_t first = 0;
  if constexpr (V::kWidest) {
    for (; units - first >= kUnits; first += kUnits) any_tile<V, kUnits, false>(args, begin, end, first);
    if (units - first == 3) return any_tile<V, 3, false>(args, begin, end, first);
  }
  if (units - first == 2) return any_tile<V, 2, false>(args, begin, end, first);
  if (units - first == 1) any_tile<V, 1, false>(args, begin, end, first);
}

}  // namespace

bool qspmm_rows(const QspmmArgs& args, int64_t begin, int64_t end) {
  if (begin >= end) return true;
  const int64_t from = args.indptr[begin];
  if (!all_below(args.col + from, args.indptr[end] - from, args.columns)) return false;
  if (args.width < V16::W) {
    any_tile<V16, 1, true>(args, begin, end, 0);
  } else {
    with_vector(args.width, [&](auto v) { any_width<decltype(v)>(args, begin, end); });
  }
  return true;
}

int64_t arranged_size(int64_t width) {
  int64_t size = 0;
  with_vector(width, [&](auto v) { size = unit_count<decltype(v)>(width) * decltype(v)::W; });
  return size;
}

void arrange(int64_t width, int32_t* column) {
  with_vector(width, [&](auto v) {
    using V = decltype(v);
    for (int64_t unit = 0; unit < unit_count<V>(width); ++unit) {
      for (int k = 0; k < V::N; ++k) {
        for (int l = 0; l < V::L; ++l) {
          const int64_t at = unit_column<V>(unit, width) + V::column(k, l);
          *column++ = at < width ? static_cast<int32_t>(at) : -1;
        }
      }
    }
  });
}

}  // namespace edgegnn::EDGEGNN_LEVEL
