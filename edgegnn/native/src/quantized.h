// What the integer kernels are given: plain structures over raw pointers, filled and checked by the ops (qspmm.cpp, qgemm.cpp).
//
// Integer rows reach the kernels as unsigned bytes. Signed codes are turned into them on the way (x + 128 = x ^ 0x80 as a byte), and
// their zero point with them, so that x - zero_point is the same number.
#pragma once

#include <stdint.h>

#include "isa.h"

namespace edgegnn {

// How an accumulated value v becomes an output element, in this order: v * scale, * row_scale[i], + bias[f], clipped to [low, high]
// and, for byte outputs, round_half_even(v / y_scale) + y_zero_point. For bytes [low, high] lies inside what a byte can hold, so
// that nothing is left to saturate: clipping v first gives the same code, since rounding is monotone.
struct Epilogue {
  float scale;
  float low;
  float high;
  float y_scale;
  float y_inverse;  // 1 / y_scale, rounded to nearest
  int32_t y_zero_point;
  bool to_float;  // float32 output, y_* unused
};

// y[i, f] = epilogue(sum over j of x[col[j], f] - zero_point), for the rows [begin, end) of a CSR matrix.
struct QspmmArgs {
  const uint8_t* x;  // [columns, width]
  int64_t width;
  int64_t columns;
  int32_t zero_point;  // of the unsigned codes
  bool is_signed;
  const int32_t* indptr;  // checked
  const int32_t* col;     // checked block by block
  int64_t entries;
  const float* row_scale;
  int64_t row_scale_step;  // 0: one number for all rows; 1: one each
  const float* bias;       // arranged
  float self_weight;       // adds self_weight * (x[i] - zero_point); 0: nothing
  Epilogue epilogue;
  void* y;  // [rows, width] of uint8 or float
};

// Rows [begin, end). False when a column is out of range: then some rows may not have been written.
EDGEGNN_DECLARE_KERNEL(bool, qspmm_rows, (const QspmmArgs& args, int64_t begin, int64_t end))

// y[i, h, f] = epilogue(inverse[i, h] * sum over e of w[e, h] * (x[col[e], h, f] - zero_point)), for entries e of row i.
//
// Weights are rounded to 16 significant bits: times the 8 of a code that is exact in float32, and so the sum, which is made in float32 in
// the order of the entries, is the same with and without a fused multiply-add.
struct QweightedArgs {
  const uint8_t* x;  // [columns, heads * width]
  int64_t heads;
  int64_t width;  // of one head
  int64_t columns;
  int32_t zero_point;
  bool is_signed;
  const int32_t* indptr;  // checked
  const int32_t* col;     // checked block by block
  int64_t entries;
  // Weights: w and perm of QSpMMWeighted, or, when w is null, the attention that a_src, a_dst and slope make.
  const float* w;       // [entries, heads] in the order of the edge list
  const int32_t* perm;  // null: the edge list is in row order; checked block by block
  const float* a_src;   // [columns, heads]
  const float* a_dst;   // [rows, heads]
  float slope;
  const int32_t* head_of;  // head of each column: arranged for heads * width; may be null when heads is 1
  const float* row_scale;
  int64_t row_scale_step;
  const float* bias;  // arranged for heads * width
  Epilogue epilogue;
  void* y;  // [rows, heads * width] of uint8 or float
};

// Rows [begin, end); a set of Fault (spmm.h).
EDGEGNN_DECLARE_KERNEL(int, qweighted_rows, (const QweightedArgs& args, int64_t begin, int64_t end))

// y[i, f] = zero_point + round_half_even(clip(x[i, f] * factor[f] / step, low, high)), the step and the limits by row or by column.
struct QuantizeArgs {
  const float* x;  // [rows, width]
  int64_t width;
  int32_t zero_point;  // 0, or 128 of signed codes
  const float* factor;  // [padded], or null: 1
  // By row (or one for all, where its step is 0): step[i * step_step] and top[i * top_step], limits made in the kernel.
  const float* step;
  const float* top;
  int64_t step_step;
  int64_t top_step;
  // By column: `step`, and these instead of `top`; [padded] to a multiple of 16.
  const float* low;  // null: by row
  const float* high;
  bool skip_zeros;  // where no row says otherwise, 0 has the code zero_point
  uint8_t* y;       // [rows, width]
};

EDGEGNN_DECLARE_KERNEL(void, quantize_rows, (const QuantizeArgs& args, int64_t begin, int64_t end))

// Limits of codes less their zero point, both of which a byte holds, low <= high, for any `top`: what is clipped to them is what
// max(min(v, top), -top) or max(min(v, top), 0) saturates to, and a NaN that is clipped to `low` has the code of the lower end.
struct Limits {
  float low;
  float high;
};
static inline Limits limits_of(float top, int32_t zero_point) {
  const float least = static_cast<float>(-zero_point);
  const float most = static_cast<float>(255 - zero_point);
  const float end = zero_point == 0 ? 0.0f : -top;
  const float low = end > least ? (end < most ? end : most) : least;  // a NaN: least
  const float high = top > low ? (top < most ? top : most) : low;
  return {low, high};
}

// Per-column numbers in the order in which the kernels' registers hold columns: how many they are for rows of `width`, and the column of
// each, -1 where there is none.
EDGEGNN_DECLARE_KERNEL(int64_t, arranged_size, (int64_t width))
EDGEGNN_DECLARE_KERNEL(void, arrange, (int64_t width, int32_t* column))

}  // namespace edgegnn
