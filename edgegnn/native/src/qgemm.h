// What the matrix product kernels are given: plain structures over raw pointers, filled and checked by the ops (qgemm.cpp).
//
// Columns of the weights are taken sixteen at a time; per-column arrays are padded with zeros to `padded`, a multiple of that.
#pragma once

#include "isa.h"
#include "quantized.h"

namespace edgegnn {

constexpr int64_t kGroup = 16;
constexpr int64_t kMaxDepth = 65536;  // 65,536 * 255 * 128 < 2^31: no sum overflows

// y[i, n] = epilogue(sum over k of (code[i, k] - zero_point) * w[k, n]) with v * factor[n] as the first step, and + addend[i, n] after the
// bias. Codes are bytes x, or floats x quantized here to clip(round_half_even(x / scale) + zero_point).
struct QgemmArgs {
  const uint8_t* codes;  // [rows, depth]; null: floats
  const float* floats;
  int64_t depth;
  int64_t width;
  int64_t padded;
  int32_t zero_point;  // of unsigned codes
  bool is_signed;
  // For floats: x is clipped to [low, high], where what is left has codes in range; to be rounded as Epilogue's y.
  float low;
  float high;
  float scale;
  float inverse;
  float least_sum;         // of floats: each row is divided by its sum first, or by this where that is less; 0: it is not
  bool in_pairs;           // no weight is -128
  const void* packed;      // weights, packed by qgemm_pack
  const int8_t* plain;     // [depth, padded] weights: mostly zero rows are multiplied sparsely; null: they are not
  const int32_t* start;    // [padded] what the sums start from: takes the zero point off
  const float* factor;     // [padded]
  const float* bias;       // [padded]
  const float* row_scale;
  int64_t row_scale_step;
  const float* addend;     // null: nothing; else addend[row * addend_stride + column]
  int64_t addend_stride;
  const float* gain;   // [padded], with `shift`: after that v is clipped to [before_low, before_high], * gain[n] + shift[n]; null: not so
  const float* shift;  // [padded]
  float before_low;
  float before_high;
  Epilogue epilogue;
  void* y;  // [rows, width]
};

// Rows [begin, end). False: out of memory.
EDGEGNN_DECLARE_KERNEL_DOT(bool, qgemm_rows, (const QgemmArgs& args, int64_t begin, int64_t end))

// Bytes that qgemm_pack writes for weights [depth, width].
EDGEGNN_DECLARE_KERNEL_DOT(int64_t, qgemm_packed_size, (int64_t depth, int64_t width))
EDGEGNN_DECLARE_KERNEL_DOT(void, qgemm_pack, (int64_t depth, int64_t width, const int8_t* w, void* packed))

// What codes are reduced by before they are multiplied: start[n] = (qgemm_centre - zero_point) * (sum over k of w[k, n]).
EDGEGNN_DECLARE_KERNEL_DOT(int32_t, qgemm_centre, ())

// y = x w + bias in float32, x w of each row divided by the sum of x's row where least_sum says so. Rows of mostly zeros are multiplied
// sparsely.
struct SparseGemmArgs {
  const float* x;  // [rows, depth]
  int64_t depth;
  int64_t width;
  int64_t padded;
  const float* w;     // [depth, padded]
  const float* bias;  // [padded]
  float least_sum;    // as in QgemmArgs
  float* y;           // [rows, width]
};

EDGEGNN_DECLARE_KERNEL(bool, sparse_gemm_rows, (const SparseGemmArgs& args, int64_t begin, int64_t end))

}  // namespace edgegnn
