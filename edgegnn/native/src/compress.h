// Sorting an edge list by destination: the work of CooToCsr and IndexToCsr.
#pragma once

#include "glue.h"

namespace edgegnn {

struct EdgeList {
  const int64_t* source;  // null for IndexToCsr: entries have no source
  const int64_t* target;
  int64_t count;
  int64_t rows;     // targets are in [0, rows)
  int64_t columns;  // sources are in [0, columns)
  bool self_loops;  // edges from a node to itself are left out, then one for each node is appended
};

// Where compress() puts its results: output numbers of the op, -1 for one it has not got.
struct Outputs {
  int indptr;
  int col;
  int perm;
};

// Checks every index and writes indptr, col and perm, stable. The result does not depend on the number of threads.
OrtStatus* compress(Context& context, const EdgeList& edges, const Outputs& outputs, Scratch* scratch);

}  // namespace edgegnn
