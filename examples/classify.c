/* Classifies a graph with a model that edgegnn wrote as C; no Python, no runtime, no malloc.

       edgegnn export model.pt --quant dq-int8 --format c --max-nodes 64 --max-edges 256 -o gin
       cc -std=c99 -O2 -I gin/c -o classify classify.c gin/c/model.c
       ./classify < graph.txt

   The model is called `gin` here, as its folder is. graph.txt has the numbers of nodes and edges, the features of each
   node, and the source and the target of each edge:

       2 1
       0.5 1.0 0.0
       0.1 0.0 1.0
       0 1
*/
#include <stdio.h>

#include "model.h"

#ifndef FEATURES
#define FEATURES 3 /* columns of x: see model.h, or -DFEATURES=... */
#endif
#ifndef CLASSES
#define CLASSES 2
#endif

static float x[EDGEGNN_GIN_MAX_NODES * FEATURES];
static int32_t edges[2 * EDGEGNN_GIN_MAX_EDGES];
static uint64_t arena[(EDGEGNN_GIN_ARENA_BYTES + 7) / 8];

/* 0, or what to tell the user. */
static const char *read_graph(edgegnn_gin_inputs *in) {
  int nodes, number;
  if (scanf("%d %d", &nodes, &number) != 2) return "no numbers of nodes and edges";
  if (nodes < 1 || nodes > EDGEGNN_GIN_MAX_NODES) return "too many nodes, or none";
  if (number < 0 || number > EDGEGNN_GIN_MAX_EDGES) return "too many edges";
  for (int i = 0; i < nodes * FEATURES; ++i) {
    if (scanf("%f", &x[i]) != 1) return "a feature is missing";
  }
  for (int i = 0; i < number; ++i) { /* all sources come first, then all targets */
    int source, target;
    if (scanf("%d %d", &source, &target) != 2) return "an end of an edge is missing";
    edges[i] = source;
    edges[number + i] = target;
  }
  in->num_nodes = nodes;
  in->num_edges = number;
  in->x = x;
  in->edge_index = edges;
  return NULL;
}

int main(void) {
  float logits[CLASSES];
  edgegnn_gin_inputs in = {0};
  edgegnn_gin_outputs out = {0};
  int best = 0, code;
  const char *wrong = read_graph(&in);
  out.logits = logits;
  if (wrong != NULL) {
    fprintf(stderr, "classify: %s\n", wrong);
    return 1;
  }
  code = edgegnn_gin_run(&in, &out, arena);
  if (code != EDGEGNN_GIN_OK) {
    fprintf(stderr, "classify: the model refuses this graph: code %d, see model.h\n", code);
    return 1;
  }
  for (int c = 1; c < CLASSES; ++c) best = logits[c] > logits[best] ? c : best;
  printf("class %d\n", best);
  return 0;
}
