// What the kernels of PairAttention and DotAttention are given, filled and checked by the ops (edge_attention.cpp).
//
// Both make a softmax over the entries of each row, of scores that depend on both ends of an edge at once (GATv2, transformers), without
// a tensor of one row an edge. A sum over the channels of a head is made of sixteen sums, each of every sixteenth product in their order;
// then the second half is added to the first, four times.
#pragma once

#include <stdint.h>

#include "edges.h"
#include "isa.h"

namespace edgegnn {

// score[e, h] = sum over k of att[h, k] * leaky(source[col[e], h, k] + target[r, h, k] (+ (features[e] * product)[h, k])).
struct PairArgs {
  const float* source;  // [columns, heads, width]
  const float* target;  // [rows, heads, width]
  const float* att;     // [heads, width]
  int64_t heads;
  int64_t width;
  int64_t columns;
  const int32_t* indptr;
  const int32_t* col;
  int64_t entries;
  float slope;
  EdgeFeatures features;  // width 0: there are none
  const float* product;   // [features.width, heads, width]
  float* y;               // [entries, heads], in row order
};

// Rows [begin, end); a set of Fault (spmm.h).
EDGEGNN_DECLARE_KERNEL(int, pair_attention_rows, (const PairArgs& args, int64_t begin, int64_t end))

// score[e, h] = scale * (sum over k of query[r, h, k] * key[col[e], h, k] (+ sum over d of edge_query[r, h, d] * features[e, d])).
struct DotArgs {
  const float* query;  // [rows, heads, width]
  const float* key;    // [columns, heads, width]
  int64_t heads;
  int64_t width;
  int64_t columns;
  const int32_t* indptr;
  const int32_t* col;
  int64_t entries;
  float scale;
  EdgeFeatures features;    // width 0: there are none
  const float* edge_query;  // [rows, heads, features.width]
  float* y;                 // [entries, heads], in row order
  float* mixed;             // [rows, heads, features.width]: sum of y[e, h] * features[e]; null without features
};

EDGEGNN_DECLARE_KERNEL(int, dot_attention_rows, (const DotArgs& args, int64_t begin, int64_t end))

}  // namespace edgegnn
