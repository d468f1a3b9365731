#include "graphs.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static char wrong[300];

static const char *fail(const char *name, const char *what) {
  snprintf(wrong, sizeof wrong, "%s: %s", name, what);
  return wrong;
}

static const char *take_size(const driver_input *in, int dim, int64_t found, graph *g) {
  int32_t want = in->dims[dim], *known = want == DRIVER_NODES ? &g->nodes : &g->edges;
  char text[160];
  int64_t most = want == DRIVER_NODES ? driver_max_nodes : driver_max_edges;
  const char *what = want == DRIVER_NODES ? "nodes" : "edges";
  if (want >= 0) {
    if (found == want) return "";
    snprintf(text, sizeof text, "its size %d is %lld, the model takes %d", dim, (long long)found, (int)want);
    return fail(in->name, text);
  }
  if (found > most) {
    snprintf(text, sizeof text, "the graph has %lld %s, this runner was made for %lld at most", (long long)found, what,
             (long long)most);
    return fail(in->name, text);
  }
  if (*known >= 0 && *known != found) {
    snprintf(text, sizeof text, "%lld rows of %s, another array has %d", (long long)found, what, (int)*known);
    return fail(in->name, text);
  }
  *known = (int32_t)found;
  return "";
}

const char *graph_read(const npz_file *file, const char *prefix, graph *g) {
  char name[160];
  const npz_array *array;
  const char *why;
  memset(g, 0, sizeof *g);
  g->nodes = g->edges = -1;
  for (int k = 0; k < driver_num_inputs; ++k) {
    const driver_input *in = &driver_inputs[k];
    snprintf(name, sizeof name, "%s%s", prefix, in->name);
    array = npz_find(file, name);
    if (array == NULL) return fail(name, "this array is missing");
    if (array->rank != in->rank) return fail(name, "it has another number of dimensions than the model takes");
    for (int d = 0; d < in->rank; ++d) {
      why = take_size(in, d, array->dims[d], g);
      if (*why) return why;
    }
    g->inputs[k] = calloc(array->elements + 1, driver_width(in->type));
    if (g->inputs[k] == NULL) return fail(name, "it doesn't fit into the memory");
    why = npz_convert(array, in->type, g->inputs[k]);
    if (*why) return fail(name, why);
  }
  if (g->nodes < 0) g->nodes = driver_fixed_nodes;
  if (g->edges < 0) g->edges = 0;
  snprintf(name, sizeof name, "%sbatch", prefix);
  array = npz_find(file, name);
  for (size_t i = 0; array != NULL && i < array->elements * (size_t)(array->type[2] - 48); ++i)
    if (array->data[i]) return fail(name, "there is more than one graph in it: this runner takes one at a time");
  snprintf(name, sizeof name, "%sexpected", prefix);
  array = npz_find(file, name);
  if (array != NULL) {
    g->expected_elements = array->elements;
    g->expected = calloc(array->elements + 1, sizeof(float));
    if (g->expected == NULL) return fail(name, "it doesn't fit into the memory");
    why = npz_convert(array, 'f', g->expected);
    if (*why) return fail(name, why);
  }
  return "";
}
