/* The program for a device without Python: proves, measures and uses one model. No library is needed. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "graphs.h"
#include "machine.h"

#define FORMAT "edgegnn-native/1"
#define SHOWN 20

typedef struct {
  const char *samples, *input;
  int events, host_reads, hex;
  long warmup_runs, runs, windows, window_iterations, limit, timed;
  double warmup_seconds, seconds, window_seconds;
} options;

static graph *graphs;
static size_t num_graphs, num_timed;
static void *outputs[DRIVER_MOST_ARRAYS];
static void *arena;
static options opt = {NULL, NULL, 0, 0, 0, 10, 200, 5, 10, 0, 0, 1.0, 10.0, 10.0};

static int fail(int code, const char *what, const char *why) {
  fprintf(stderr, "edgegnn: error: %s%s%s\n", what, *why ? ": " : "", why);
  return code;
}

static void infer(const graph *g) {
  int code = driver_run(g->nodes, g->edges, (const void *const *)g->inputs, outputs, arena);
  if (code != 0) {
    fprintf(stderr, "edgegnn: error: the model refuses a graph with the code %d: %s\n", code,
            code == 4 ? "an index of a node is out of range" : "it has too many or no nodes or edges");
    exit(1);
  }
}

static int prepare(void) {
  for (int k = 0; k < driver_num_outputs; ++k) {
    size_t most = driver_output_elements(k, (size_t)driver_max_nodes, (size_t)driver_max_edges);
    outputs[k] = calloc(most + 1, driver_width(driver_output_types[k]));
    if (outputs[k] == NULL) return fail(1, "the memory is full", "");
  }
  arena = malloc(driver_arena_bytes);
  return arena == NULL ? fail(1, "the memory is full", "") : 0;
}

static int load(const char *path) {
  npz_file file;
  char prefix[24];
  const char *why = npz_open(path, &file);
  if (*why) return fail(1, path, why);
  while (num_graphs < 100000) {
    size_t i = 0;
    snprintf(prefix, sizeof prefix, "%04zu.", num_graphs);
    while (i < file.count && strncmp(file.arrays[i].name, prefix, strlen(prefix)) != 0) ++i;
    if (i == file.count) break;
    graphs = realloc(graphs, (num_graphs + 1) * sizeof *graphs);
    if (graphs == NULL) return fail(1, "the memory is full", "");
    why = graph_read(&file, prefix, &graphs[num_graphs]);
    if (*why) return fail(1, path, why);
    ++num_graphs;
  }
  npz_close(&file);
  num_timed = opt.timed > 0 && (size_t)opt.timed < num_graphs ? (size_t)opt.timed : num_graphs;
  return num_graphs ? 0 : fail(1, path, "it holds no graphs");
}

/* -- verify --------------------------------------------------------------------------------------------------------- */

static size_t arg_max(const float *row, size_t width) {
  size_t best = 0;
  for (size_t i = 1; i < width; ++i)
    if (row[i] > row[best]) best = i;
  return best;
}

static int same_row(const float *found, const float *wanted, size_t width) {
  if (driver_target == 'v' || driver_target == 'n') return 1; /* the largest difference says it */
  if (driver_target == 'c' && width > 1) return arg_max(found, width) == arg_max(wanted, width);
  for (size_t i = 0; i < width; ++i)
    if ((found[i] > 0) != (wanted[i] > 0)) return 0;
  return 1;
}

static void say_output(size_t i) {
  const graph *g = &graphs[i];
  size_t size = driver_output_elements(driver_main, (size_t)g->nodes, (size_t)g->edges) * driver_width(driver_output_types[driver_main]);
  const uint8_t *bytes = outputs[driver_main];
  printf("output %zu ", i);
  for (size_t k = 0; k < size; ++k) printf("%02x", bytes[k]);
  printf("\n");
}

static int verify(void) {
  size_t rows = 0, same = 0;
  double worst = 0;
  for (size_t i = 0; i < num_graphs; ++i) {
    const graph *g = &graphs[i];
    size_t size = driver_output_elements(driver_main, (size_t)g->nodes, (size_t)g->edges), width;
    size_t own = driver_output_rows(driver_main, (size_t)g->nodes, (size_t)g->edges);
    const float *found = outputs[driver_main];
    infer(g);
    if (opt.hex) {
      say_output(i);
      continue;
    }
    if (g->expected == NULL || g->expected_elements != size || driver_output_types[driver_main] != 'f')
      return fail(1, "a graph has no expected outputs of the right size", "");
    for (size_t k = 0; k < size; ++k) {
      double error = fabs((double)found[k] - (double)g->expected[k]);
      if (!(error <= worst)) worst = isfinite(error) ? error : INFINITY;
    }
    width = own ? size / own : 0;
    for (size_t r = 0; r < own; ++r) same += same_row(found + r * width, g->expected + r * width, width);
    rows += own;
  }
  if (opt.hex) return 0;
  printf("%s: %zu graphs, %zu of %zu predictions as expected, largest difference %.3g\n", driver_name, num_graphs, same,
         rows, worst);
  if (!isfinite(worst)) return fail(1, "the model computes infinities or NaN", "");
  if (driver_max_error >= 0 && worst > driver_max_error) return fail(1, "an output differs by more than is allowed", "");
  if ((double)same + 1e-9 >= driver_min_agreement * (double)rows) return 0;
  return fail(1, "the model predicts something else than it should", "");
}

/* -- bench ---------------------------------------------------------------------------------------------------------- */

typedef struct {
  float *ns;
  size_t n, room;
  int64_t wall, cpu;
} pass;

static void note(pass *p, int64_t ns) {
  if (p->n == p->room) {
    size_t room = p->room ? 2 * p->room : 4096;
    float *grown = realloc(p->ns, room * sizeof(float));
    if (grown == NULL) {
      fail(1, "the memory is full", "");
      exit(1);
    }
    p->ns = grown;
    p->room = room;
  }
  p->ns[p->n++] = (float)ns;
}

static void watch(int64_t *last, int64_t t) {
  if (opt.events && t - *last > 100000000) {
    *last = t;
    if (left_alone()) exit(3);
  }
}

static pass time_pass(long runs, double seconds) {
  pass p = {NULL, 0, 0, 0, 0};
  int64_t cpu = cpu_ns(), begin = clock_ns(), last = begin;
  while (p.n < (size_t)runs || (double)(clock_ns() - begin) < seconds * 1e9) {
    for (size_t i = 0; i < num_timed; ++i) {
      int64_t t = clock_ns();
      infer(&graphs[i]);
      note(&p, clock_ns() - t);
    }
    watch(&last, clock_ns());
  }
  p.wall = clock_ns() - begin;
  p.cpu = cpu_ns() - cpu;
  return p;
}

static void phase(const char *name) {
  if (opt.events) printf("{\"event\": \"phase\", \"phase\": \"%s\"}\n", name);
  fflush(stdout);
}

static void window_event(const char *event, int index, long count, int64_t ns) {
  printf("{\"event\": \"%s\", \"kind\": \"%s\", \"index\": %d, \"iterations\": %ld, \"seconds\": %.9g}\n", event,
         index ? "load" : "idle", index ? index - 1 : 0, count, (double)ns * 1e-9);
  fflush(stdout);
}

static void windows(void) {
  char line[64];
  size_t next = 0;
  for (int index = 0; index <= (int)opt.windows; ++index) {
    int64_t begin, last, least = (int64_t)(opt.window_seconds * 1e9);
    long count = 0;
    window_event("window_ready", index, 0, 0);
    if (fgets(line, sizeof line, stdin) == NULL) exit(3);
    begin = last = clock_ns();
    window_event("window_start", index, 0, 0);
    while (clock_ns() - begin < least || (index && count < opt.window_iterations)) {
      if (index) {
        infer(&graphs[next++ % num_timed]);
        ++count;
      } else {
        usleep(20000);
      }
      watch(&last, clock_ns());
    }
    last = clock_ns() - begin;
    window_event("window_end", index, count, last);
    printf("window %d %ld %lld\n", index > 0, count, (long long)last);
  }
}

static int ascending(const void *a, const void *b) {
  float x = *(const float *)a, y = *(const float *)b;
  return (x > y) - (x < y);
}

static void report(pass *p) {
  size_t n = p->n;
  double wall = (double)p->wall * 1e-9;
  if (opt.events) {
    for (size_t i = 0; i < n; ++i) printf("%s%.0f%s", i % 500 ? " " : "times ", (double)p->ns[i], i % 500 == 499 || i + 1 == n ? "\n" : "");
    printf("pass %lld %lld\n", (long long)p->wall, (long long)p->cpu);
    return;
  }
  qsort(p->ns, n, sizeof(float), ascending);
  printf("%s, 1 thread, no runtime\n", driver_name);
  printf("  latency    p50 %.4f ms, p90 %.4f ms, p99 %.4f ms, min %.4f ms\n", p->ns[n / 2] * 1e-6, p->ns[n * 9 / 10] * 1e-6,
         p->ns[n * 99 / 100] * 1e-6, p->ns[0] * 1e-6);
  printf("             %zu inferences over %zu graphs\n  throughput %.1f per second\n", n, num_timed, (double)n / wall);
}

static int bench(void) {
  pass warm, timed;
  int64_t before, peak;
  phase("load");
  if (opt.events) {
    printf("format %s\n", FORMAT);
    say_facts();
    say_state("before");
  }
  before = memory_bytes("VmRSS");
  if (prepare()) return 1;
  for (size_t i = 0; i < 2 * num_graphs; ++i) infer(&graphs[i % num_graphs]);
  peak = memory_bytes("VmHWM");
  phase("warm-up");
  warm = time_pass(opt.warmup_runs, opt.warmup_seconds);
  phase("latency");
  timed = time_pass(opt.runs, opt.seconds);
  if (opt.events) {
    say_state("after");
    printf("memory %lld %lld %zu\nwarmup %zu\n", (long long)before, (long long)peak, driver_arena_bytes, warm.n);
  }
  report(&timed);
  if (!opt.events) {
    printf("  memory     %.1f kB over baseline, arena %zu bytes\n", before < 0 ? 0.0 : (double)(peak - before) / 1e3,
           driver_arena_bytes);
    return 0;
  }
  phase("verify");
  opt.hex = 1;
  verify();
  if (opt.host_reads) {
    phase("energy");
    windows();
  }
  printf("{\"event\": \"result\", \"result\": {}}\n");
  return fflush(stdout) ? 1 : 0;
}

/* -- predict -------------------------------------------------------------------------------------------------------- */

static int predict(void) {
  npz_file file;
  graph g;
  const char *why = npz_open(opt.input, &file);
  if (!*why) why = graph_read(&file, "", &g);
  if (*why) return fail(1, opt.input, why);
  if (prepare()) return 1;
  infer(&g);
  for (int k = 0; k < driver_num_outputs; ++k) {
    size_t size = driver_output_elements(k, (size_t)g.nodes, (size_t)g.edges);
    size_t rows = driver_output_rows(k, (size_t)g.nodes, (size_t)g.edges), width = rows ? size / rows : 0;
    for (size_t r = 0; r < rows; ++r) {
      printf("%s row %zu:", driver_output_names[k], r);
      for (size_t c = 0; c < width; ++c) {
        size_t at = r * width + c;
        switch (driver_output_types[k]) {
          case 'f': printf(" %.9g", (double)((float *)outputs[k])[at]); break;
          case 'i': printf(" %ld", (long)((int32_t *)outputs[k])[at]); break;
          case 'u': printf(" %d", ((uint8_t *)outputs[k])[at]); break;
          default: printf(" %d", ((int8_t *)outputs[k])[at]);
        }
      }
      printf("\n");
    }
  }
  return 0;
}

/* -- the command line ----------------------------------------------------------------------------------------------- */

static const char USAGE[] =
    "usage: edgegnn-runner verify|bench [--samples FILE.npz] | predict FILE.npz | crc FILE\n"
    "  verify   does it compute here what PyTorch computed?\n"
    "  bench    latency and memory on this machine; --quick: seconds instead of a minute\n"
    "  predict  one graph: numpy.savez('graph.npz', x=x, edge_index=edges)\n";

static int number(const char *text, double *out) {
  char *end;
  *out = strtod(text, &end);
  return *end == 0 && end != text && *out >= 0 && *out <= 1e9;
}

static int parse(int argc, char **argv) {
  for (int i = 2; i < argc; ++i) {
    const char *name = argv[i];
    double value = 0;
    if (strcmp(name, "--events") == 0) opt.events = 1;
    else if (strcmp(name, "--host-reads") == 0) opt.host_reads = 1;
    else if (strcmp(name, "--hex") == 0) opt.hex = 1;
    else if (strcmp(name, "--quick") == 0) {
      opt.warmup_runs = 3, opt.runs = 20, opt.windows = 3;
      opt.warmup_seconds = 0.2, opt.seconds = opt.window_seconds = 1.0;
    } else if (strcmp(name, "--samples") == 0 && i + 1 < argc) opt.samples = argv[++i];
    else if (name[0] != '-') opt.input = name;
    else {
      if (i + 1 >= argc || !number(argv[++i], &value)) return fail(2, name, "an unknown option, or no number behind it");
      if (strcmp(name, "--warmup-runs") == 0) opt.warmup_runs = (long)value;
      else if (strcmp(name, "--runs") == 0) opt.runs = (long)value;
      else if (strcmp(name, "--windows") == 0) opt.windows = (long)value;
      else if (strcmp(name, "--window-iterations") == 0) opt.window_iterations = (long)value;
      else if (strcmp(name, "--timed") == 0) opt.timed = (long)value;
      else if (strcmp(name, "--limit") == 0) opt.limit = (long)value;
      else if (strcmp(name, "--warmup-seconds") == 0) opt.warmup_seconds = value;
      else if (strcmp(name, "--seconds") == 0) opt.seconds = value;
      else if (strcmp(name, "--window-seconds") == 0) opt.window_seconds = value;
      else return fail(2, name, "an unknown option");
    }
  }
  return 0;
}

static int crc(const char *path) {
  FILE *f = fopen(path, "rb");
  struct stat facts;
  uint8_t *bytes;
  if (f == NULL || fstat(fileno(f), &facts) != 0) return fail(1, path, "it can't be opened");
  bytes = malloc((size_t)facts.st_size + 1);
  if (bytes == NULL || fread(bytes, 1, (size_t)facts.st_size, f) != (size_t)facts.st_size)
    return fail(1, path, "it can't be read");
  printf("%08lx\n", (unsigned long)crc32_of(bytes, (size_t)facts.st_size));
  return 0;
}

int main(int argc, char **argv) {
  const char *command = argc > 1 ? argv[1] : "";
  int code = parse(argc, argv);
  if (code) return code;
  if (opt.limit) alarm((unsigned)opt.limit);
  if (strcmp(command, "crc") == 0 && opt.input) return crc(opt.input);
  if (strcmp(command, "predict") == 0 && opt.input) return predict();
  if (strcmp(command, "verify") != 0 && strcmp(command, "bench") != 0) {
    fputs(USAGE, stderr);
    return 2;
  }
  code = load(opt.samples ? opt.samples : "/proc/self/exe");
  if (code) return code;
  if (strcmp(command, "bench") == 0) return bench();
  return prepare() ? 1 : verify();
}
