// QGemm and QuantizeGemm: products of byte codes and int8 weights. Compiled once for each instruction set, see isa.h.
//
// Rows go through a panel, where their codes have the multiplier's form: padded, and quantized when they came as floats. Rows that are
// nearly all zero don't: for each of the other elements a row of weights is added.
#include "buffer.h"
#include "nonzeros.h"
#include "qgemm.h"
#include "qgemm_finish.h"
#include "qgemm_tile.h"
#include "row_sum.h"

namespace edgegnn::EDGEGNN_LEVEL {
namespace {

using Code = Multiplier::Code;
using Weight = Multiplier::Weight;
constexpr int Q = Lanes::Q;
constexpr int64_t kPanelRows = 24;     // a multiple of every number of rows of a tile
constexpr int64_t kSparseShare = 8;    // a row is sparse when fewer than one in so many is not zero
constexpr int kSparseGroups = Q == 1 ? 8 : Q == 2 ? 4 : 2;

int64_t steps_of(int64_t depth) { return (depth + Multiplier::kDepth - 1) / Multiplier::kDepth; }

int64_t stride_of(int64_t depth) { return (depth + Multiplier::kPad - 1) / Multiplier::kPad * Multiplier::kPad; }

struct Rows {
  const Code* panel;
  int64_t stride;
  const int64_t* row;  // where each goes
};

// R rows times G groups of columns.
template <int R, int G>
void tile(const QgemmArgs& args, const Finish& finish, const Rows& rows, int64_t group) {
  Lanes::I sum[R][G * Q];
  const int64_t steps = steps_of(args.depth);
  const int64_t group_size = steps * Multiplier::kDepth * kGroup;
  const Weight* const w = static_cast<const Weight*>(args.packed) + group * group_size;
  Multiplier::run<R, G>(rows.panel, rows.stride, steps, w, group_size, args.in_pairs, args.start + group * kGroup, sum);
  for (int i = 0; i < R; ++i) {
    const Lanes::F row_scale = Lanes::all_f(args.row_scale[rows.row[i] * args.row_scale_step]);
    for (int g = 0; g < G; ++g) finish.group(sum[i] + g * Q, rows.row[i], (group + g) * kGroup, row_scale);
  }
}

template <int G>
void all_rows(const QgemmArgs& args, const Finish& finish, Rows rows, int64_t count, int64_t group) {
  constexpr int kMost = Multiplier::rows(G);
  const auto take = [&](auto tag) {
    constexpr int R = decltype(tag)::value;
    for (; count >= R; count -= R) {
      tile<R, G>(args, finish, rows, group);
      rows.panel += R * rows.stride;
      rows.row += R;
    }
  };
  take(Index<kMost>());
  if constexpr (kMost > 4) take(Index<4>());
  if constexpr (kMost > 2) take(Index<2>());
  take(Index<1>());
}

void all_groups(const QgemmArgs& args, const Finish& finish, const Rows& rows, int64_t count) {
  const int64_t groups = args.padded / kGroup;
  for (int64_t group = 0; group < groups;) {
    const int64_t left = groups - group;
    if constexpr (Multiplier::kMostGroups == 4) {
      if (left >= 4 && left != 5) {
        all_rows<4>(args, finish, rows, count, group);
        group += 4;
        continue;
      }
      if (left >= 3) {
        all_rows<3>(args, finish, rows, count, group);
        group += 3;
        continue;
      }
      if (left == 2) {
        all_rows<2>(args, finish, rows, count, group);
        group += 2;
        continue;
      }
    }
    all_rows<1>(args, finish, rows, count, group);
    group += 1;
  }
}

// A row of codes into the panel.
void prepare(const uint8_t* x, int64_t depth, uint8_t flip, Code* out) {
  for (int64_t k = 0; k < depth; ++k) out[k] = static_cast<Code>(static_cast<uint8_t>(x[k] ^ flip));
  for (int64_t k = depth; k < stride_of(depth); ++k) out[k] = 0;
}

// What quantize needs, in registers.
struct Quantize {
  Lanes::F low, high, scale, inverse;
  Lanes::I offset;

  explicit Quantize(const QgemmArgs& args)
      : low(Lanes::all_f(args.low)),
        high(Lanes::all_f(args.high)),
        scale(Lanes::all_f(args.scale)),
        inverse(Lanes::all_f(args.inverse)),
        offset(Lanes::all(args.zero_point)) {}

  // Rounded quotients: codes less their zero point.
  __attribute__((always_inline)) Lanes::I operator()(Lanes::F x) const {
    return Lanes::round(Lanes::divide(Lanes::clip_number(x, low, high), scale, inverse));
  }
};

// A row of floats, each divided by `divisor` where DIVIDES, into the panel; `bytes` has room for a row of codes.
template <bool DIVIDES>
void prepare_floats(const Quantize& quantize, const float* x, float divisor, int64_t depth, uint8_t* bytes, Code* out) {
  const Lanes::F by = Lanes::all_f(divisor);
  const auto sixteen = [&](const float* from, uint8_t* to) __attribute__((always_inline)) {
    Lanes::I code[Q];
#pragma GCC unroll 4
    for (int q = 0; q < Q; ++q) {
      const Lanes::F value = Lanes::load_f(from + q * Lanes::L);
      code[q] = quantize(DIVIDES ? Lanes::quotient(value, by) : value);
    }
    Lanes::store16(to, code, quantize.offset);
  };
  int64_t k = 0;
  for (; k + kGroup <= depth; k += kGroup) sixteen(x + k, bytes + k);
  if (k < depth) {
    float part[kGroup] = {};
    memcpy(part, x + k, sizeof(float) * static_cast<size_t>(depth - k));
    sixteen(part, bytes + k);
  }
  prepare(bytes, depth, Multiplier::kCentre, out);
}

// Sixteen-column groups [group, group + G) of a row with `count` nonzeros: `code` of them, less the zero point, at `position`.
template <int G>
void sparse_tile(const QgemmArgs& args, const Finish& finish, int64_t row, const int32_t* position, const int32_t* code,
                 int64_t count, int64_t group) {
  Lanes::I sum[G * Q];
  each<G * Q>([&](auto q) EDGEGNN_LAMBDA { sum[q] = Lanes::zero(); });
  const int8_t* const w = args.plain + group * kGroup;
  for (int64_t i = 0; i < count; ++i) {
    const int8_t* const from = w + position[i] * args.padded;
    each<G>([&](auto g) EDGEGNN_LAMBDA {
      Lanes::I weight[Q];
      Lanes::widen16(from + g * kGroup, weight);
      each<Q>([&](auto q) EDGEGNN_LAMBDA {
        sum[g * Q + q] = Lanes::add_short_product(sum[g * Q + q], weight[q], code[i]);
      });
    });
  }
  Lanes::I out[G * Q];
  each<G * Q>([&](auto q) EDGEGNN_LAMBDA { out[q] = sum[q]; });
  const Lanes::F row_scale = Lanes::all_f(args.row_scale[row * args.row_scale_step]);
  for (int g = 0; g < G; ++g) finish.group(out + g * Q, row, (group + g) * kGroup, row_scale);
}

// Codes, less the zero point, of the elements of row `at` that are not zero. Of floats, each is divided by `divisor` first where DIVIDES.
template <bool DIVIDES>
void sparse_codes(const QgemmArgs& args, const Quantize& quantize, int64_t at, float divisor, const int32_t* position, int64_t count,
                  int32_t* code) {
  if (args.codes != nullptr) {
    const uint8_t* const x = args.codes + at * args.depth;
    const int flip = args.is_signed ? 128 : 0;
    for (int64_t i = 0; i < count; ++i) code[i] = (x[position[i]] ^ flip) - args.zero_point;
    return;
  }
  const float* const x = args.floats + at * args.depth;
  const Lanes::F by = Lanes::all_f(divisor);
  for (int64_t i = 0; i < count; i += Lanes::L) {
    float value[Lanes::L] = {};
    for (int64_t k = 0; k < Lanes::L && i + k < count; ++k) value[k] = x[position[i + k]];
    const Lanes::F loaded = Lanes::load_f(value);
    Lanes::store_i(code + i, quantize(DIVIDES ? Lanes::quotient(loaded, by) : loaded));
  }
}

void sparse_row(const QgemmArgs& args, const Finish& finish, int64_t row, const int32_t* position, const int32_t* code, int64_t count) {
  const int64_t groups = args.padded / kGroup;
  int64_t group = 0;
  for (; groups - group >= kSparseGroups; group += kSparseGroups) {
    sparse_tile<kSparseGroups>(args, finish, row, position, code, count, group);
  }
  for (; groups - group >= 2; group += 2) sparse_tile<2>(args, finish, row, position, code, count, group);
  for (; group < groups; ++group) sparse_tile<1>(args, finish, row, position, code, count, group);
}

}  // namespace

bool qgemm_rows(const QgemmArgs& shared, int64_t begin, int64_t end) {
  const QgemmArgs args = shared;
  const Finish finish(args);
  int64_t row[kPanelRows];
  const uint8_t flip = static_cast<uint8_t>((args.is_signed ? 128 : 0) ^ Multiplier::kCentre);
  const int64_t stride = stride_of(args.depth);
  const int64_t limit = args.plain != nullptr ? args.depth / kSparseShare : -1;
  const bool in_place = args.codes != nullptr && flip == 0 && sizeof(Code) == 1 && stride == args.depth && limit < 0;
  const int64_t positions = limit < 0 ? 0 : limit + kNonzeroSlack;
  const int64_t panel_bytes = in_place ? 0 : kPanelRows * stride * static_cast<int64_t>(sizeof(Code));
  const int64_t row_bytes = args.floats == nullptr ? 0 : (args.depth + kGroup + 3) / 4 * 4;
  FloatBuffer buffer((panel_bytes + 3) / 4 + row_bytes / 4 + 2 * positions);
  if (buffer.data() == nullptr) return false;
  auto* const position = reinterpret_cast<int32_t*>(buffer.data());
  int32_t* const code = position + positions;
  auto* const bytes = reinterpret_cast<uint8_t*>(code + positions);
  Code* const panel = reinterpret_cast<Code*>(bytes + row_bytes);
  const auto zero = static_cast<uint8_t>(args.zero_point ^ (args.is_signed ? 128 : 0));

  const Quantize quantize(args);
  const bool divides = args.least_sum > 0.0f;
  int64_t dense = 0;
  const auto multiply_dense = [&] {
    const Code* const first = in_place ? reinterpret_cast<const Code*>(args.codes + row[0] * args.depth) : panel;
    all_groups(args, finish, {first, stride, row}, dense);
    dense = 0;
  };
  for (int64_t at = begin; at < end; ++at) {
    const uint8_t* const codes = args.codes == nullptr ? nullptr : args.codes + at * args.depth;
    const float* const floats = args.floats == nullptr ? nullptr : args.floats + at * args.depth;
    if (limit >= 0) {
      const int64_t count = codes != nullptr ? find_others(codes, args.depth, zero, limit, position)
                                             : find_nonzeros(floats, args.depth, limit, position);
      const float divisor = divides && count >= 0 ? sparse_divisor(floats, position, count, args.least_sum) : 1.0f;
      if (count >= 0 && divisor == divisor) {  // where the sum is NaN, the quotients of zeros are, too
        if (divides) {
          sparse_codes<true>(args, quantize, at, divisor, position, count, code);
        } else {
          sparse_codes<false>(args, quantize, at, divisor, position, count, code);
        }
        sparse_row(args, finish, at, position, code, count);
        continue;
      }
    }
    if (divides) {
      const float divisor = dense_divisor(floats, args.depth, args.least_sum);
      prepare_floats<true>(quantize, floats, divisor, args.depth, bytes, panel + dense * stride);
    } else if (floats != nullptr) {
      prepare_floats<false>(quantize, floats, 1.0f, args.depth, bytes, panel + dense * stride);
    } else if (!in_place) {
      prepare(codes, args.depth, flip, panel + dense * stride);
    }
    row[dense++] = at;
    if (dense == kPanelRows) multiply_dense();
  }
  if (dense > 0) multiply_dense();
  return true;
}

int64_t qgemm_packed_size(int64_t depth, int64_t width) {
  const int64_t groups = (width + kGroup - 1) / kGroup;
  return groups * kGroup * steps_of(depth) * Multiplier::kDepth * static_cast<int64_t>(sizeof(Weight));
}

void qgemm_pack(int64_t depth, int64_t width, const int8_t* w, void* packed) {
  constexpr int kDepth = Multiplier::kDepth;
  auto* out = static_cast<Weight*>(packed);
  for (int64_t column = 0; column < width; column += kGroup) {
    for (int64_t step = 0; step < steps_of(depth); ++step, out += kDepth * kGroup) {
      for (int k = 0; k < kDepth; ++k) {
        for (int n = 0; n < kGroup; ++n) {
          const bool inside = step * kDepth + k < depth && column + n < width;
          out[Multiplier::at(k, n)] = inside ? w[(step * kDepth + k) * width + column + n] : Weight{0};
        }
      }
    }
  }
}

int32_t qgemm_centre() { return Multiplier::kCentre; }

}  // namespace edgegnn::EDGEGNN_LEVEL
