// The end of a matrix product: sixteen int32 or float sums of one row to sixteen elements of the output. See qsimd.h.
#pragma once

#include "qgemm.h"
#include "qsimd.h"

namespace edgegnn::EDGEGNN_LEVEL {

// What finish_group needs of its arguments, in registers. Q vectors hold sixteen columns.
struct Finish {
  using I = Lanes::I;
  using F = Lanes::F;
  static constexpr int Q = Lanes::Q;

  const float* factor;
  const float* bias;
  const float* addend;
  int64_t addend_stride;
  const float* gain;
  const float* shift;
  int64_t width;
  bool to_float;
  void* y;
  F before_low, before_high, low, high, y_scale, y_inverse;
  I offset;

  explicit Finish(const QgemmArgs& args)
      : factor(args.factor),
        bias(args.bias),
        addend(args.addend),
        addend_stride(args.addend_stride),
        gain(args.gain),
        shift(args.shift),
        width(args.width),
        to_float(args.epilogue.to_float),
        y(args.y),
        before_low(Lanes::all_f(args.before_low)),
        before_high(Lanes::all_f(args.before_high)),
        low(Lanes::all_f(args.epilogue.low)),
        high(Lanes::all_f(args.epilogue.high)),
        y_scale(Lanes::all_f(args.epilogue.y_scale)),
        y_inverse(Lanes::all_f(args.epilogue.y_inverse)),
        offset(Lanes::all(args.epilogue.y_zero_point)) {}

  // Columns [column, column + 16) of `row`, as many of them as there are.
  __attribute__((always_inline)) void group(const I sum[Q], int64_t row, int64_t column, F row_scale) const {
    const int64_t left = width - column;
    const int count = left < kGroup ? static_cast<int>(left) : static_cast<int>(kGroup);
    const int64_t at = row * width + column;
    F v[Q];
    each<Q>([&](auto q) EDGEGNN_LAMBDA {
      const int64_t n = column + q * Lanes::L;
      v[q] = Lanes::mul_f(Lanes::to_f(sum[q]), Lanes::load_f(factor + n));
      v[q] = Lanes::add_f(Lanes::mul_f(v[q], row_scale), Lanes::load_f(bias + n));
    });
    if (addend != nullptr) {
      float part[kGroup] = {};
      const float* from = addend + row * addend_stride + column;
      if (count < kGroup) {
        memcpy(part, from, sizeof(float) * static_cast<size_t>(count));
        from = part;
      }
      each<Q>([&](auto q) EDGEGNN_LAMBDA { v[q] = Lanes::add_f(v[q], Lanes::load_f(from + q * Lanes::L)); });
    }
    if (gain != nullptr) {
      each<Q>([&](auto q) EDGEGNN_LAMBDA {
        const int64_t n = column + q * Lanes::L;
        v[q] = Lanes::mul_f(Lanes::clip(v[q], before_low, before_high), Lanes::load_f(gain + n));
        v[q] = Lanes::add_f(v[q], Lanes::load_f(shift + n));
      });
    }
    if (to_float) {
      float part[kGroup];
      float* const out = static_cast<float*>(y) + at;
      float* const to = count < kGroup ? part : out;
      each<Q>([&](auto q) EDGEGNN_LAMBDA { Lanes::store_f(to + q * Lanes::L, Lanes::clip(v[q], low, high)); });
      if (count < kGroup) memcpy(out, part, sizeof(float) * static_cast<size_t>(count));
      return;
    }
    I code[Q];
    each<Q>([&](auto q) EDGEGNN_LAMBDA {
      code[q] = Lanes::round(Lanes::divide(Lanes::clip_number(v[q], low, high), y_scale, y_inverse));
    });
    uint8_t part[kGroup];
    uint8_t* const out = static_cast<uint8_t*>(y) + at;
    Lanes::store16(count < kGroup ? part : out, code, offset);
    if (count < kGroup) memcpy(out, part, static_cast<size_t>(count));
  }
};

}  // namespace edgegnn::EDGEGNN_LEVEL
