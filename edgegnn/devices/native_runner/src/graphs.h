/* Graphs from an .npz file, checked against the model's inputs. */
#ifndef EDGEGNN_GRAPHS_H
#define EDGEGNN_GRAPHS_H

#include "npz.h"

typedef struct {
  int32_t nodes, edges;
  void *inputs[DRIVER_MOST_ARRAYS];
  float *expected; /* of the first output; NULL where there is none */
  size_t expected_elements;
} graph;

/* Read the arrays of one graph, each named prefix + name; what is wrong, or "". */
const char *graph_read(const npz_file *file, const char *prefix, graph *g);

#endif
