// Knn, Radius, FarthestPoints: graphs from points.

#include "neighbours.h"

#include <stdlib.h>

#include "ops.h"

namespace edgegnn {
namespace {

constexpr int64_t kQueriesAnItem = 64;

struct State {
  int64_t k;
  bool loop;
  float squared;
  int64_t most;
  float ratio;
  Scratch scratch;
};

void destroy(void* memory) { static_cast<State*>(memory)->scratch.free_all(); }

OrtStatus* read_loop(const Info& info, State* state) {
  const int64_t loop = info.attribute("loop", int64_t{1});
  if (loop != 0 && loop != 1) return invalid("loop must be 0 or 1");
  state->loop = loop == 1;
  return nullptr;
}

OrtStatus* create_knn(void* memory, const Info& info) {
  auto* const state = static_cast<State*>(memory);
  state->k = info.attribute("k", int64_t{0});
  if (state->k < 1 || state->k >= INT32_MAX) return invalid("k = %lld must be 1 or more", static_cast<long long>(state->k));
  return read_loop(info, state);
}

OrtStatus* create_radius(void* memory, const Info& info) {
  auto* const state = static_cast<State*>(memory);
  state->squared = info.attribute("squared_radius", -1.0f);
  state->most = info.attribute("max_num_neighbors", int64_t{0});
  if (!(state->squared >= 0.0f)) return invalid("squared_radius = %g must be 0 or more", static_cast<double>(state->squared));
  if (state->most < 1) return invalid("max_num_neighbors = %lld must be 1 or more", static_cast<long long>(state->most));
  return read_loop(info, state);
}

OrtStatus* create_farthest(void* memory, const Info& info) {
  auto* const state = static_cast<State*>(memory);
  state->ratio = info.attribute("ratio", 0.0f);
  if (!(state->ratio > 0.0f && state->ratio <= 1.0f)) return invalid("ratio = %g is outside (0, 1]", static_cast<double>(state->ratio));
  return nullptr;
}

OrtStatus* check_points(const Tensor& x, const Tensor& batch, const char* name, const char* batch_name) {
  if (x.rank != 2) return invalid("%s must have the shape [N, D]", name);
  if (x.dims[0] >= INT32_MAX) return invalid("%s has too many points", name);
  if (batch.rank != 1 || batch.count != x.dims[0]) return invalid("%s must have one number for each point of %s", batch_name, name);
  const auto* const values = x.as<float>();
  for (int64_t i = 0; i < x.count; ++i) {
    if (values[i] - values[i] != 0.0f) return invalid("%s has NaN or infinity at point %lld", name, static_cast<long long>(i / x.dims[1]));
  }
  const auto* const graph = batch.as<int64_t>();
  for (int64_t i = 0; i < batch.count; ++i) {
    const int64_t before = i > 0 ? graph[i - 1] : 0;
    if (graph[i] < before || graph[i] > INT32_MAX) {
      return invalid("%s[%lld] = %lld: graphs must be numbered in rising order, from 0", batch_name, static_cast<long long>(i),
                     static_cast<long long>(graph[i]));
    }
  }
  return nullptr;
}

int64_t end_of_run(const int64_t* batch, int64_t count, int64_t at) {
  int64_t end = at;
  while (end < count && batch[end] == batch[at]) ++end;
  return end;
}

struct Points {
  Tensor x, y, batch_x, batch_y;
  PointGraph* graphs;
  int64_t graph_count;
  int64_t largest;  // sources of a graph, at most

  int64_t queries() const { return y.dims[0]; }
  ~Points() { free(graphs); }
};

OrtStatus* read_points(const Context& context, Points* points) {
  points->graphs = nullptr;
  points->graph_count = points->largest = 0;
  EDGEGNN_TRY(context.input(0, "x", &points->x));
  EDGEGNN_TRY(context.input(1, "y", &points->y));
  EDGEGNN_TRY(context.input(2, "batch_x", &points->batch_x));
  EDGEGNN_TRY(context.input(3, "batch_y", &points->batch_y));
  EDGEGNN_TRY(check_points(points->x, points->batch_x, "x", "batch_x"));
  EDGEGNN_TRY(check_points(points->y, points->batch_y, "y", "batch_y"));
  if (points->x.dims[1] != points->y.dims[1]) return invalid("x and y must have the same number of coordinates");
  const auto* const of_x = points->batch_x.as<int64_t>();
  const auto* const of_y = points->batch_y.as<int64_t>();
  const int64_t sources = points->x.dims[0];
  const int64_t queries = points->queries();
  int64_t runs = 0;
  for (int64_t i = 0; i < queries; ++i) runs += i == 0 || of_y[i] != of_y[i - 1] ? 1 : 0;
  const auto bytes = static_cast<size_t>(runs + 1) * sizeof(PointGraph);
  points->graphs = static_cast<PointGraph*>(malloc(bytes));
  if (points->graphs == nullptr) return out_of_memory(bytes);
  int64_t x_at = 0;
  for (int64_t at = 0; at < queries;) {
    PointGraph graph = {};
    graph.y_begin = at;
    graph.y_end = at = end_of_run(of_y, queries, at);
    while (x_at < sources && of_x[x_at] < of_y[graph.y_begin]) ++x_at;
    graph.x_begin = x_at;
    if (x_at < sources && of_x[x_at] == of_y[graph.y_begin]) x_at = end_of_run(of_x, sources, x_at);
    graph.x_end = x_at;
    if (graph.x_end - graph.x_begin > points->largest) points->largest = graph.x_end - graph.x_begin;
    points->graphs[points->graph_count++] = graph;
  }
  return nullptr;
}

using Kernel = bool (*)(const NeighbourArgs&, int64_t, int64_t);

OrtStatus* over_queries(Context& context, Kernel kernel, const NeighbourArgs& args, int64_t queries) {
  int failed = 0;
  const int64_t items = (queries + kQueriesAnItem - 1) / kQueriesAnItem;
  EDGEGNN_TRY(parallel_for(context, items, [&](int64_t i) {
    const int64_t begin = i * kQueriesAnItem;
    const int64_t end = begin + kQueriesAnItem < queries ? begin + kQueriesAnItem : queries;
    if (!kernel(args, begin, end)) __atomic_store_n(&failed, 1, __ATOMIC_RELAXED);
  }));
  return failed == 0 ? nullptr : out_of_memory(0);
}

// Output 0: what was found as an edge list, sources in row 0.
OrtStatus* write_edges(Context& context, const NeighbourArgs& args, int64_t queries) {
  int64_t edges = 0;
  for (int64_t q = 0; q < queries; ++q) edges += args.count[q];
  const int64_t dims[2] = {2, edges};
  void* data = nullptr;
  EDGEGNN_TRY(context.output(0, dims, 2, &data));
  auto* const source = static_cast<int64_t*>(data);
  int64_t at = 0;
  for (int64_t q = 0; q < queries; ++q) {
    for (int32_t i = 0; i < args.count[q]; ++i, ++at) {
      source[at] = args.found[q * args.most + i];
      source[edges + at] = q;
    }
  }
  return nullptr;
}

// Runs a kernel that needs room for `most` neighbours of each query.
OrtStatus* find(Context& context, Scratch* scratch, Kernel kernel, NeighbourArgs* args, int64_t queries) {
  if (args->most > 0 && queries > (int64_t{1} << 46) / args->most) return invalid("there are too many neighbours to look for");
  const auto bytes = static_cast<size_t>(queries * (args->most + 1) + 1) * sizeof(int32_t);
  void* const memory = scratch->take(bytes);
  if (memory == nullptr) return out_of_memory(bytes);
  args->count = static_cast<int32_t*>(memory);
  args->found = args->count + queries;
  OrtStatus* status = over_queries(context, kernel, *args, queries);
  if (status == nullptr) status = write_edges(context, *args, queries);
  scratch->give_back(memory);
  return status;
}

NeighbourArgs args_of(const Points& points, const State& state) {
  NeighbourArgs args = {};
  args.x = points.x.as<float>();
  args.y = points.y.as<float>();
  args.depth = points.x.dims[1];
  args.graphs = points.graphs;
  args.graph_count = points.graph_count;
  args.loop = state.loop;
  args.squared = state.squared;
  return args;
}

OrtStatus* knn(void* memory, Context& context) {
  auto* const state = static_cast<State*>(memory);
  Points points;
  EDGEGNN_TRY(read_points(context, &points));
  NeighbourArgs args = args_of(points, *state);
  const int64_t wanted = state->loop ? state->k : state->k + 1;  // one may be the query itself
  args.most = wanted < points.largest ? wanted : points.largest;
  return find(context, &state->scratch, EDGEGNN_PICK(nearest_rows), &args, points.queries());
}

OrtStatus* radius(void* memory, Context& context) {
  auto* const state = static_cast<State*>(memory);
  Points points;
  EDGEGNN_TRY(read_points(context, &points));
  NeighbourArgs args = args_of(points, *state);
  args.most = state->most < points.largest ? state->most : points.largest;
  return find(context, &state->scratch, EDGEGNN_PICK(within_rows), &args, points.queries());
}

int64_t share_of(int64_t points, float ratio) {
  const float share = static_cast<float>(points) * ratio;
  const auto whole = static_cast<int64_t>(share);
  return static_cast<float>(whole) < share ? whole + 1 : whole;
}

OrtStatus* farthest(void* memory, Context& context) {
  auto* const state = static_cast<State*>(memory);
  Tensor x;
  Tensor batch;
  EDGEGNN_TRY(context.input(0, "x", &x));
  EDGEGNN_TRY(context.input(1, "batch", &batch));
  EDGEGNN_TRY(check_points(x, batch, "x", "batch"));
  const auto* const graph = batch.as<int64_t>();
  const int64_t points = x.dims[0];
  int64_t runs = 0;
  int64_t total = 0;
  for (int64_t at = 0; at < points; ++runs) {
    const int64_t end = end_of_run(graph, points, at);
    total += share_of(end - at, state->ratio);
    at = end;
  }
  void* data = nullptr;
  EDGEGNN_TRY(context.output(0, &total, 1, &data));
  const auto bytes = static_cast<size_t>(2 * runs + 1) * sizeof(int64_t);
  auto* const starts = static_cast<int64_t*>(state->scratch.take(bytes));  // first point and first output of each graph
  if (starts == nullptr) return out_of_memory(bytes);
  int64_t run = 0;
  int64_t written = 0;
  for (int64_t at = 0; at < points; ++run) {
    starts[2 * run] = at;
    starts[2 * run + 1] = written;
    const int64_t end = end_of_run(graph, points, at);
    written += share_of(end - at, state->ratio);
    at = end;
  }
  const auto kernel = EDGEGNN_PICK(farthest_points);
  int failed = 0;
  OrtStatus* status = parallel_for(context, runs, [&](int64_t i) {
    const int64_t begin = starts[2 * i];
    const int64_t end = i + 1 < runs ? starts[2 * i + 2] : points;
    int64_t* const out = static_cast<int64_t*>(data) + starts[2 * i + 1];
    const int64_t count = (i + 1 < runs ? starts[2 * i + 3] : total) - starts[2 * i + 1];
    const float* const from = x.as<float>() + begin * x.dims[1];
    if (!kernel(from, end - begin, x.dims[1], begin, count, out)) __atomic_store_n(&failed, 1, __ATOMIC_RELAXED);
  });
  state->scratch.give_back(starts);
  if (status != nullptr) return status;
  return failed == 0 ? nullptr : out_of_memory(0);
}

constexpr Op kOps[] = {
    {"Knn", "ffll", "l", knn, sizeof(State), create_knn, destroy},
    {"Radius", "ffll", "l", radius, sizeof(State), create_radius, destroy},
    {"FarthestPoints", "fl", "l", farthest, sizeof(State), create_farthest, destroy},
};

}  // namespace

OpTable neighbour_ops() { return table_of(kOps); }

}  // namespace edgegnn
