// QuantizeRows: floats to codes, with a step and limits for each row or for each column. Compiled once for each instruction set, see isa.h.
//
// Sixteen zeros have sixteen times the code zero_point: the features of a bag of words are hardly anything else.
#include "qsimd.h"
#include "quantized.h"

namespace edgegnn::EDGEGNN_LEVEL {
namespace {

using F = Lanes::F;
constexpr int Q = Lanes::Q;
constexpr int64_t kGroup = 16;

template <bool kByColumn, bool kFactor>
void quantize(const QuantizeArgs& args, int64_t begin, int64_t end) {
  const Lanes::I offset = Lanes::all(args.zero_point);
  const int64_t width = args.width;
  for (int64_t row = begin; row < end; ++row) {
    F step{}, low{}, high{};
    bool skip = args.skip_zeros;
    if constexpr (!kByColumn) {
      const float own = args.step[row * args.step_step];
      const float top = args.top[row * args.top_step];
      const Limits limits = limits_of(top, args.zero_point);
      skip = skip && (own < 0.0f || own > 0.0f) && top >= 0.0f;
      step = Lanes::all_f(own);
      low = Lanes::all_f(limits.low);
      high = Lanes::all_f(limits.high);
    }
    const auto sixteen = [&](const float* x, int64_t column, uint8_t* y) __attribute__((always_inline)) {
      if (skip && Lanes::nonzero16(x) == 0) {
        memset(y, args.zero_point, kGroup);
        return;
      }
      Lanes::I code[Q];
#pragma GCC unroll 4
      for (int q = 0; q < Q; ++q) {
        const int64_t at = column + q * Lanes::L;
        F v = Lanes::load_f(x + q * Lanes::L);
        if constexpr (kFactor) v = Lanes::mul_f(v, Lanes::load_f(args.factor + at));
        if constexpr (kByColumn) {
          v = Lanes::quotient(v, Lanes::load_f(args.step + at));
          code[q] = Lanes::round(Lanes::clip_number(v, Lanes::load_f(args.low + at), Lanes::load_f(args.high + at)));
        } else {
          code[q] = Lanes::round(Lanes::clip_number(Lanes::quotient(v, step), low, high));
        }
      }
      Lanes::store16(y, code, offset);
    };
    const float* const x = args.x + row * width;
    uint8_t* const y = args.y + row * width;
    int64_t column = 0;
    for (; column + kGroup <= width; column += kGroup) sixteen(x + column, column, y + column);
    if (column < width) {
      const auto left = static_cast<size_t>(width - column);
      float part[kGroup] = {};
      uint8_t codes[kGroup];
      memcpy(part, x + column, left * sizeof(float));
      sixteen(part, column, codes);
      memcpy(y + column, codes, left);
    }
  }
}

}  // namespace

void quantize_rows(const QuantizeArgs& shared, int64_t begin, int64_t end) {
  const QuantizeArgs args = shared;
  if (args.low != nullptr) {
    args.factor != nullptr ? quantize<true, true>(args, begin, end) : quantize<true, false>(args, begin, end);
  } else {
    args.factor != nullptr ? quantize<false, true>(args, begin, end) : quantize<false, false>(args, begin, end);
  }
}

}  // namespace edgegnn::EDGEGNN_LEVEL
