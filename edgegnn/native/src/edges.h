// What operators on edges are given of them beside the graph.
#pragma once

#include <stdint.h>

namespace edgegnn {

// Features of the edges, in the order of the edge list: [entries, width]. `perm` is null where that is the order of the rows.
struct EdgeFeatures {
  const float* values;
  int64_t width;
  const int32_t* perm;
};

}  // namespace edgegnn
