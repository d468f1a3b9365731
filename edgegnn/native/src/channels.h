// What the kernel of SpMMChannels is given, filled and checked by the op (channels.cpp).
#pragma once

#include <stdint.h>

#include "isa.h"

namespace edgegnn {

// y[r, p, c] = sum of d[perm[e], p] * (w[perm[e], offset + c] * x[col[e], p, c]) over the entries e of row r. x may have one plane for
// all planes of y, and d one number for all.
struct ChannelsArgs {
  const float* x;  // [columns, x_planes, width]
  int64_t x_planes;
  int64_t width;
  int64_t columns;
  const float* w;  // [entries, w_width], in the order of the edge list; moved by the offset
  int64_t w_width;
  const float* d;  // [entries, d_planes], in the order of the edge list
  int64_t d_planes;
  const int32_t* indptr;
  const int32_t* col;
  int64_t entries;
  const int32_t* perm;  // [entries], or null: the edge list is in row order
  float* y;             // [rows, planes, width]
  int64_t planes;
};

// Rows [begin, end); a set of Fault (spmm.h).
EDGEGNN_DECLARE_KERNEL(int, channels_rows, (const ChannelsArgs& args, int64_t begin, int64_t end))

}  // namespace edgegnn
