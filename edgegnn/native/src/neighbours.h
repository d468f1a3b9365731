// What the kernels that make graphs from points are given: plain structures over raw pointers, filled and checked by the ops
// (neighbours.cpp).
//
// The squared distance of two points is the float32 sum of their squared differences, one coordinate after the other, never above the
// largest finite float. Of points that are equally far the one with the lower number comes first.
#pragma once

#include <stdint.h>

#include "isa.h"

namespace edgegnn {

// Points of a graph: sources [x_begin, x_end) and queries [y_begin, y_end).
struct PointGraph {
  int64_t x_begin, x_end;
  int64_t y_begin, y_end;
};

struct NeighbourArgs {
  const float* x;  // [sources, depth]
  const float* y;  // [queries, depth]
  int64_t depth;
  const PointGraph* graphs;  // in order of the queries; those without queries are left out
  int64_t graph_count;
  bool loop;       // false: a query doesn't get the source with its own number
  int64_t most;    // neighbours of a query, at most
  float squared;   // Radius: only sources nearer than this
  int32_t* found;  // [queries, most]
  int32_t* count;  // [queries]
};

// Neighbours of the queries [begin, end): the nearest, from near to far. False: out of memory.
EDGEGNN_DECLARE_KERNEL(bool, nearest_rows, (const NeighbourArgs& args, int64_t begin, int64_t end))

// Neighbours of the queries [begin, end): those within the radius, by number. False: out of memory.
EDGEGNN_DECLARE_KERNEL(bool, within_rows, (const NeighbourArgs& args, int64_t begin, int64_t end))

// `count` of the points x [points, depth], each the farthest from those before it; the first one is point 0. Numbers from `base` on are
// written to `out`. False: out of memory.
EDGEGNN_DECLARE_KERNEL(bool, farthest_points, (const float* x, int64_t points, int64_t depth, int64_t base, int64_t count, int64_t* out))

}  // namespace edgegnn
