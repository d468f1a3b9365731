// What the kernel of GatedSum and GatedSumEdges is given, filled and checked by the ops (gated_sum.cpp).
#pragma once

#include "edges.h"
#include "isa.h"

namespace edgegnn {

// A number of each edge and channel: source[col[e]] + target[r] (+ features[e] times the product).
struct BothEnds {
  const float* source;   // [columns, width]
  const float* target;   // [rows, width]
  const float* product;  // [features.width, width]; null without features
};

// y[r] = sum over the entries e of row r of sigmoid(gate of e) * softplus(value of e).
struct GatedArgs {
  BothEnds gate;
  BothEnds value;
  int64_t width;
  int64_t columns;
  const int32_t* indptr;
  const int32_t* col;
  int64_t entries;
  EdgeFeatures features;  // width 0: there are none
  float* y;               // [rows, width]
};

// Rows [begin, end); a set of Fault (spmm.h).
EDGEGNN_DECLARE_KERNEL(int, gated_rows, (const GatedArgs& args, int64_t begin, int64_t end))

}  // namespace edgegnn
