// What the kernel of EdgeProductMax is given, filled and checked by the op (edge_product.cpp).
#pragma once

#include "qgemm.h"

namespace edgegnn {

// y[r] = maximum over the entries e of row r of clip(source[col[e]] + target[r]) times the weights: a few entries at a time, which never
// leave the cache.
struct EdgeProductArgs {
  const float* source;  // [columns, width]
  const float* target;  // [rows, width]
  int64_t width;
  int64_t columns;
  const int32_t* indptr;
  const int32_t* col;
  int64_t entries;
  float low;  // what is multiplied is clipped to these
  float high;
  SparseGemmArgs product;  // of depth `width`; its x and y are filled in by the kernel
  float* y;                // [rows, product.width]; 0 where there is no entry
};

// Rows [begin, end); a set of Fault (spmm.h).
EDGEGNN_DECLARE_KERNEL(int, edge_product_rows, (const EdgeProductArgs& args, int64_t begin, int64_t end))

}  // namespace edgegnn
