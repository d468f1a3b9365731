// What the float kernels are given: plain structures over raw pointers, filled and checked by the ops (spmm.cpp, attention.cpp).
#pragma once

#include <stdint.h>

#include "isa.h"

namespace edgegnn {

enum Reduction : int { REDUCE_SUM, REDUCE_MEAN, REDUCE_MAX, REDUCE_MIN };

// What a kernel found wrong, as a set of bits. Rows of the block may then not have been written.
enum Fault : int { FAULT_NONE = 0, FAULT_COL = 1, FAULT_PERM = 2, FAULT_MEMORY = 4 };

// y[r] = reduction of x[col[e]] over the entries e of row r; zeros for a row without any.
struct SpmmArgs {
  const float* x;  // [columns, width]
  int64_t width;
  int64_t columns;
  const int32_t* indptr;  // checked
  const int32_t* col;     // [entries], checked block by block; null: entry e reads row e of x
  int64_t entries;
  float* y;  // [rows, width]
  Reduction reduction;
};

// Rows [begin, end); a set of Fault.
EDGEGNN_DECLARE_KERNEL(int, spmm_rows, (const SpmmArgs& args, int64_t begin, int64_t end))

// y[r, h] = sum of w[perm[e], h] * x[col[e], h] over the entries e of row r.
struct WeightedArgs {
  const float* x;  // [columns, heads, width]
  int64_t heads;
  int64_t width;  // of one head
  int64_t columns;
  const int32_t* indptr;
  const int32_t* col;
  int64_t entries;
  const float* w;       // [entries, heads], in the order of the edge list
  const int32_t* perm;  // [entries], or null: the edge list is in row order
  float* y;             // [rows, heads, width]
};

EDGEGNN_DECLARE_KERNEL(int, spmm_weighted_rows, (const WeightedArgs& args, int64_t begin, int64_t end))

// Softmax over each row: y[perm[e], h] = exp(logits[perm[e], h] - max) / (sum + 1e-16).
struct SoftmaxArgs {
  const float* logits;  // [entries, heads]
  int64_t heads;
  const int32_t* indptr;
  int64_t entries;
  const int32_t* perm;
  float* y;
};

EDGEGNN_DECLARE_KERNEL(int, softmax_rows, (const SoftmaxArgs& args, int64_t begin, int64_t end))

// y[r, h] = sum over e of softmax_e(leaky_relu(a_src[col[e], h] + a_dst[r, h])) * x[col[e], h].
struct AttentionArgs {
  const float* x;      // [columns, heads, width]
  const float* a_src;  // [columns, heads]
  const float* a_dst;  // [rows, heads]
  int64_t heads;
  int64_t width;
  int64_t columns;
  const int32_t* indptr;
  const int32_t* col;
  int64_t entries;
  float slope;
  float* y;  // [rows, heads, width]
};

EDGEGNN_DECLARE_KERNEL(int, attention_rows, (const AttentionArgs& args, int64_t begin, int64_t end))

// The weights of AttentionSpMM alone, for kernels with other values than float: for the rows [begin, end), whose first entry is
// `first`, w[e - first, h] = exp(logit - max) and inverse[r - begin, h] = 1 / (sum + 1e-16). w has room for kSlack floats more. The
// columns of those entries have been checked. False: out of memory. x, width, columns and y of `args` are not used.
constexpr int64_t kSlack = 16;
EDGEGNN_DECLARE_KERNEL(bool, attention_weights, (const AttentionArgs& args, int64_t begin, int64_t end, float* w, float* inverse))

// Softmax over the entries of each of the rows [begin, end), whose first entry is `first`: w[e - first, h] becomes y[e - first, h]. w has
// room for kSlack floats more, and is changed.
EDGEGNN_DECLARE_KERNEL(void, softmax_block, (const int32_t* indptr, int64_t begin, int64_t end, int64_t heads, float* w, float* y))

}  // namespace edgegnn
