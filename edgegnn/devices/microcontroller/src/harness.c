/* Runs the model on each graph of samples.bin, which the emulator reads from this machine; writes results.bin. */
#include "board.h"
#include "driver.h"

#define PAINT 0xA5A5A5A5u
#define ENOUGH 20000u /* ticks */
#define CALIBRATION 400000u

static long samples_file, results_file;

static long open_file(const char *name, long mode, long length) {
  struct {
    const char *name;
    long mode, length;
  } block = {name, mode, length};
  return semihost(1, &block);
}

static int read_bytes(void *to, size_t size) {
  struct {
    long file;
    void *to;
    size_t size;
  } block = {samples_file, to, size};
  return size == 0 || semihost(6, &block) == 0;
}

static int write_bytes(const void *from, size_t size) {
  struct {
    long file;
    const void *from;
    size_t size;
  } block = {results_file, from, size};
  return size == 0 || semihost(5, &block) == 0;
}

static uint8_t *heap = board_heap;

static void *room(size_t size) {
  uint8_t *found = heap;
  size = (size + 7) & ~(size_t)7;
  if (size > (size_t)(board_heap_end - heap)) return NULL;
  heap += size;
  return found;
}

static size_t most_of(const driver_input *in) {
  size_t size = driver_width(in->type);
  for (int d = 0; d < in->rank; ++d)
    size *= (size_t)(in->dims[d] == DRIVER_NODES   ? driver_max_nodes
                     : in->dims[d] == DRIVER_EDGES ? driver_max_edges
                                                   : in->dims[d]);
  return size;
}

static size_t size_of(const driver_input *in, int32_t nodes, int32_t edges) {
  size_t size = driver_width(in->type);
  for (int d = 0; d < in->rank; ++d)
    size *= (size_t)(in->dims[d] == DRIVER_NODES ? nodes : in->dims[d] == DRIVER_EDGES ? edges : in->dims[d]);
  return size;
}

static void *inputs[DRIVER_MOST_ARRAYS];
static void *outputs[DRIVER_MOST_ARRAYS];
static void *arena;

/* Fill the free part of the stack, run once, and see how deep it was used. */
static __attribute__((noinline)) uint32_t stack_of(int32_t nodes, int32_t edges, int *code) {
  uint32_t *low = (uint32_t *)(void *)board_stack_low, *here = (uint32_t *)__builtin_frame_address(0) - 32;
  for (volatile uint32_t *p = low; p < (volatile uint32_t *)here; ++p) *p = PAINT;
  *code = driver_run(nodes, edges, (const void *const *)inputs, outputs, arena);
  while (*(volatile uint32_t *)low == PAINT && low < here) ++low;
  return (uint32_t)((uint8_t *)(here + 32) - (uint8_t *)low);
}

static int one(void) {
  int32_t size[2];
  uint32_t said[4]; /* code, stack, ticks, repeats */
  int code = 0;
  if (!read_bytes(size, sizeof size)) return 2;
  for (int k = 0; k < driver_num_inputs; ++k)
    if (!read_bytes(inputs[k], size_of(&driver_inputs[k], size[0], size[1]))) return 2;
  said[1] = stack_of(size[0], size[1], &code);
  said[0] = (uint32_t)code;
  said[2] = said[3] = 0;
  if (code == 0) {
    start_counter();
    do {
      driver_run(size[0], size[1], (const void *const *)inputs, outputs, arena);
      said[2] = read_counter();
      ++said[3];
    } while (said[2] < ENOUGH);
  }
  if (!write_bytes(said, sizeof said)) return 3;
  return write_bytes(outputs[driver_main], code ? 0
                                      : driver_output_elements(driver_main, (size_t)size[0], (size_t)size[1]) *
                                            driver_width(driver_output_types[driver_main]))
             ? 0
             : 3;
}

int harness(void) {
  uint32_t count = 0, ticks[2];
  samples_file = open_file("samples.bin", 1, 11);
  results_file = open_file("results.bin", 5, 11);
  if (samples_file < 0 || results_file < 0 || !read_bytes(&count, sizeof count)) return 1;
  for (int k = 0; k < driver_num_inputs; ++k)
    if ((inputs[k] = room(most_of(&driver_inputs[k]))) == NULL) return 1;
  for (int k = 0; k < driver_num_outputs; ++k) {
    size_t size = driver_output_elements(k, (size_t)driver_max_nodes, (size_t)driver_max_edges);
    if ((outputs[k] = room(size * driver_width(driver_output_types[k]))) == NULL) return 1;
  }
  if ((arena = room(driver_arena_bytes)) == NULL) return 1;
  start_counter();
  two_instructions(CALIBRATION);
  ticks[0] = read_counter();
  ticks[1] = 2 * CALIBRATION;
  if (!write_bytes(ticks, sizeof ticks)) return 3;
  for (uint32_t i = 0; i < count; ++i) {
    int code = one();
    if (code) return code;
  }
  return 0;
}
