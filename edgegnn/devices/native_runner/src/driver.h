/* What the runner knows of a model; model_driver.c, written for each model, defines it. */
#ifndef EDGEGNN_DRIVER_H
#define EDGEGNN_DRIVER_H

#include <stddef.h>
#include <stdint.h>

#define DRIVER_MOST_ARRAYS 32
#define DRIVER_MOST_DIMS 8
#define DRIVER_NODES (-1) /* a size that is the number of nodes */
#define DRIVER_EDGES (-2)

typedef struct {
  const char *name;
  char type; /* f: float, i: int32_t, u: uint8_t, s: int8_t */
  int rank;
  int32_t dims[DRIVER_MOST_DIMS];
} driver_input;

extern const char driver_name[];
extern const int32_t driver_max_nodes, driver_max_edges, driver_fixed_nodes; /* fixed_nodes: 0 where any number may come */
extern const size_t driver_arena_bytes;
/* c: each row predicts a class, l: labels (above 0), v: values. */
extern const char driver_target;
/* What `verify` accepts: largest difference of an output (below 0: any finite one), least share of equal predictions. */
extern const double driver_max_error, driver_min_agreement;
/* driver_main: the output that predictions are read from. */
extern const int driver_num_inputs, driver_num_outputs, driver_main;
extern const driver_input driver_inputs[];
extern const char *const driver_output_names[];
extern const char driver_output_types[];

/* Bytes of an element of a type. */
size_t driver_width(char type);
/* Elements of an output, and its rows. */
size_t driver_output_elements(int output, size_t nodes, size_t edges);
size_t driver_output_rows(int output, size_t nodes, size_t edges);
/* One inference; the code of edgegnn_NAME_run. */
int driver_run(int32_t nodes, int32_t edges, const void *const *inputs, void *const *outputs, void *arena);

#endif
