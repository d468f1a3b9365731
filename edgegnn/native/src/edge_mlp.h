// What the kernels of QEdgeMlpMax and QEdgeProductMax are given, filled and checked by the op (edge_mlp.cpp).
#pragma once

#include "qgemm.h"

namespace edgegnn {

// y[r] = maximum over the entries e of row r of second(first(codes of [target[r], source[col[e]] - target[r]])): two integer products of a
// few entries at a time, which never leave the cache.
struct EdgeMlpArgs {
  const float* source;  // [columns, width]
  const float* target;  // [rows, width]
  int64_t width;
  int64_t columns;
  const int32_t* indptr;
  const int32_t* col;
  int64_t entries;
  QgemmArgs first;   // of 2 * width codes, to codes; its limits, scale and zero point are those of the codes that it reads
  QgemmArgs second;  // to floats
  float* y;          // [rows, second.width]; 0 where there is no entry
};

// Rows [begin, end); a set of Fault (spmm.h).
EDGEGNN_DECLARE_KERNEL_DOT(int, edge_mlp_rows, (const EdgeMlpArgs& args, int64_t begin, int64_t end))

// The same with the maximum of first(codes of source[col[e]] + target[r]) alone, to floats; `second` is not used.
EDGEGNN_DECLARE_KERNEL_DOT(int, edge_qproduct_rows, (const EdgeMlpArgs& args, int64_t begin, int64_t end))

}  // namespace edgegnn
