// Nearest neighbours, neighbours within a radius, farthest points. Compiled once for each instruction set, see isa.h.
//
// Sources are turned into panels [depth, points] that stay in the cache, so that a vector holds one coordinate of as many points, and
// distances are summed up without a sum across lanes: equal on every processor.
#include "neighbours.h"

#include <stdlib.h>
#include <string.h>

#include "buffer.h"
#include "float_simd.h"

namespace edgegnn::EDGEGNN_LEVEL {
namespace {

constexpr int64_t kPanelFloats = 32768;  // of one panel: 128 KiB
constexpr int64_t kPanelPoints = 4096;
constexpr int64_t kChunk = 32;           // distances looked at at once; a multiple of two vectors
constexpr float kFarthest = 3.40282347e38f;
constexpr int kQueries = 4;

constexpr int64_t rounded(int64_t count) { return (count + kChunk - 1) / kChunk * kChunk; }

// Points [begin, end) as columns of a panel; columns up to a whole chunk hold zeros.
void fill_panel(const float* x, int64_t depth, int64_t begin, int64_t end, float* panel) {
  const int64_t stride = rounded(end - begin);
  for (int64_t j = 0; j < depth; ++j) {
    float* const row = panel + j * stride;
    for (int64_t i = begin; i < end; ++i) row[i - begin] = x[i * depth + j];
    for (int64_t i = end - begin; i < stride; ++i) row[i] = 0.0f;
  }
}

// Squared distances of Q points y [Q, depth] to all columns of a panel: out [Q, stride].
template <int Q>
void distances(const float* panel, int64_t stride, int64_t depth, const float* y, float* out) {
  const FW most = splat<FW>(kFarthest);
  for (int64_t s = 0; s < stride; s += 2 * kWide) {
    FW low[Q], high[Q];
#pragma GCC unroll 8
    for (int q = 0; q < Q; ++q) low[q] = high[q] = FW{};
    const float* column = panel + s;
    for (int64_t j = 0; j < depth; ++j, column += stride) {
      FW a, b;
      load(column, &a);
      load(column + kWide, &b);
#pragma GCC unroll 8
      for (int q = 0; q < Q; ++q) {
        const FW c = splat<FW>(y[q * depth + j]);
        const FW d = c - a;
        const FW e = c - b;
        low[q] += d * d;
        high[q] += e * e;
      }
    }
#pragma GCC unroll 8
    for (int q = 0; q < Q; ++q) {
      store(out + q * stride + s, low[q] < most ? low[q] : most);
      store(out + q * stride + s + kWide, high[q] < most ? high[q] : most);
    }
  }
}

// Whether any of kChunk distances is below a limit.
EDGEGNN_INLINE bool any_below(const float* distance, float limit) {
  int found = 0;
  for (int64_t i = 0; i < kChunk; ++i) found |= static_cast<int>(distance[i] < limit);
  return found != 0;
}

// Moves the `wanted` smallest of different keys to the front.
void select_smallest(uint64_t* keys, int64_t count, int64_t wanted) {
  int64_t low = 0;
  int64_t high = count - 1;
  while (low < high) {
    const uint64_t pivot = keys[(low + high) / 2];
    int64_t i = low;
    int64_t j = high;
    while (i <= j) {
      while (keys[i] < pivot) ++i;
      while (keys[j] > pivot) --j;
      if (i > j) break;
      const uint64_t key = keys[i];
      keys[i++] = keys[j];
      keys[j--] = key;
    }
    if (wanted <= j) {
      high = j;
    } else if (wanted >= i) {
      low = i;
    } else {
      return;
    }
  }
}

void sort_keys(uint64_t* keys, int64_t count) {
  while (count > 16) {
    const int64_t half = count / 2;
    select_smallest(keys, count, half);
    sort_keys(keys + half, count - half);
    count = half;
  }
  for (int64_t i = 1; i < count; ++i) {
    const uint64_t key = keys[i];
    int64_t at = i;
    for (; at > 0 && keys[at - 1] > key; --at) keys[at] = keys[at - 1];
    keys[at] = key;
  }
}

// The nearest points so far, in no order: the bits of a distance, which is 0 or more, and below them the number of the point. There is
// room for `room` keys; when it is full, all but the `most` smallest go.
struct Nearest {
  uint64_t* keys;
  int64_t count;
  int64_t most;
  int64_t room;
  float limit;

  void add(float distance, int32_t number) {
    uint32_t bits;
    memcpy(&bits, &distance, 4);
    keys[count++] = static_cast<uint64_t>(bits) << 32 | static_cast<uint32_t>(number);
    if (count == room) shrink();
  }

  void shrink() {
    select_smallest(keys, count, most);
    count = most;
    uint64_t last = 0;
    for (int64_t i = 0; i < most; ++i) last = keys[i] > last ? keys[i] : last;
    const auto bits = static_cast<uint32_t>(last >> 32);
    memcpy(&limit, &bits, 4);
  }

  // `points` distances, of the points `first`, first + 1, ...: all have higher numbers than those before them, and lose where they are
  // as far.
  void look_at(const float* distances, int64_t points, int32_t first) {
    for (int64_t at = 0; at < points; at += kChunk) {
      if (!any_below(distances + at, limit)) continue;
      const int64_t end = at + kChunk < points ? at + kChunk : points;
      for (int64_t i = at; i < end; ++i) {
        if (distances[i] < limit) add(distances[i], first + static_cast<int32_t>(i));
      }
    }
  }

  // Writes the points from near to far; how many they are.
  int32_t finish(int32_t* found) {
    if (count > most) shrink();
    sort_keys(keys, count);
    for (int64_t i = 0; i < count; ++i) found[i] = static_cast<int32_t>(static_cast<uint32_t>(keys[i]));
    return static_cast<int32_t>(count);
  }
};

// Calls work(query, first query's row of distances, first source, sources) for queries [begin, end) of one graph and each panel.
template <class Work>
bool over_panels(const NeighbourArgs& args, const PointGraph& graph, int64_t begin, int64_t end, const Work& work) {
  const int64_t depth = args.depth;
  int64_t width = kPanelFloats / (depth > 0 ? depth : 1) / kChunk * kChunk;
  width = width < kChunk ? kChunk : width < kPanelPoints ? width : kPanelPoints;
  const int64_t sources = graph.x_end - graph.x_begin;
  if (sources < width) width = rounded(sources);
  FloatBuffer panel(width * depth);
  FloatBuffer distance(width * kQueries);
  if (panel.data() == nullptr || distance.data() == nullptr) return false;
  for (int64_t first = graph.x_begin; first < graph.x_end; first += width) {
    const int64_t last = first + width < graph.x_end ? first + width : graph.x_end;
    const int64_t stride = rounded(last - first);
    fill_panel(args.x, depth, first, last, panel.data());
    int64_t q = begin;
    for (; q + kQueries <= end; q += kQueries) {
      distances<kQueries>(panel.data(), stride, depth, args.y + q * depth, distance.data());
      for (int i = 0; i < kQueries; ++i) work(q + i, distance.data() + i * stride, first, last - first);
    }
    for (; q < end; ++q) {
      distances<1>(panel.data(), stride, depth, args.y + q * depth, distance.data());
      work(q, distance.data(), first, last - first);
    }
  }
  return true;
}

// Calls work(graph, begin, end) for the parts of [begin, end) that lie in one graph.
template <class Work>
bool over_graphs(const NeighbourArgs& args, int64_t begin, int64_t end, const Work& work) {
  int64_t low = 0;
  for (int64_t high = args.graph_count; low < high;) {  // the first graph whose queries end behind `begin`
    const int64_t middle = (low + high) / 2;
    if (args.graphs[middle].y_end <= begin) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  for (; low < args.graph_count && args.graphs[low].y_begin < end; ++low) {
    const PointGraph& graph = args.graphs[low];
    if (!work(graph, graph.y_begin > begin ? graph.y_begin : begin, graph.y_end < end ? graph.y_end : end)) return false;
  }
  return true;
}

// Takes the query's own number out of what it found.
int32_t without_itself(int32_t* found, int32_t count, int64_t itself) {
  int32_t kept = 0;
  for (int32_t i = 0; i < count; ++i) {
    if (found[i] != itself) found[kept++] = found[i];
  }
  return kept;
}

}  // namespace

bool nearest_rows(const NeighbourArgs& shared, int64_t begin, int64_t end) {
  const NeighbourArgs args = shared;
  const int64_t room = 2 * args.most + kChunk;
  const size_t bytes = static_cast<size_t>(room) * sizeof(uint64_t) + sizeof(Nearest);  // of one query
  void* const memory = malloc(static_cast<size_t>(end - begin) * bytes);
  if (memory == nullptr) return false;
  auto* const nearest = static_cast<Nearest*>(memory);
  auto* const keys = reinterpret_cast<uint64_t*>(nearest + (end - begin));
  for (int64_t q = begin; q < end; ++q) nearest[q - begin] = {keys + (q - begin) * room, 0, args.most, room, __builtin_inff()};
  const bool done = over_graphs(args, begin, end, [&](const PointGraph& graph, int64_t from, int64_t to) {
    return over_panels(args, graph, from, to, [&](int64_t q, const float* distance, int64_t first, int64_t points) {
      nearest[q - begin].look_at(distance, points, static_cast<int32_t>(first));
    });
  });
  for (int64_t q = begin; done && q < end; ++q) {
    int32_t* const found = args.found + q * args.most;
    args.count[q] = nearest[q - begin].finish(found);
    if (!args.loop) args.count[q] = without_itself(found, args.count[q], q);
  }
  free(memory);
  return done;
}

bool within_rows(const NeighbourArgs& shared, int64_t begin, int64_t end) {
  const NeighbourArgs args = shared;
  for (int64_t q = begin; q < end; ++q) args.count[q] = 0;
  return over_graphs(args, begin, end, [&](const PointGraph& graph, int64_t from, int64_t to) {
    return over_panels(args, graph, from, to, [&](int64_t q, const float* distance, int64_t first, int64_t points) {
      int64_t count = args.count[q];
      for (int64_t at = 0; at < points && count < args.most; at += kChunk) {
        if (!any_below(distance + at, args.squared)) continue;
        const int64_t last = at + kChunk < points ? at + kChunk : points;
        for (int64_t i = at; i < last && count < args.most; ++i) {
          if (!(distance[i] < args.squared) || (!args.loop && first + i == q)) continue;
          args.found[q * args.most + count++] = static_cast<int32_t>(first + i);
        }
      }
      args.count[q] = static_cast<int32_t>(count);
    });
  });
}

bool farthest_points(const float* x, int64_t points, int64_t depth, int64_t base, int64_t count, int64_t* out) {
  const int64_t stride = rounded(points);
  FloatBuffer panel(stride * depth);
  FloatBuffer distance(stride);
  FloatBuffer nearest(stride);
  if (panel.data() == nullptr || distance.data() == nullptr || nearest.data() == nullptr) return false;
  fill_panel(x, depth, 0, points, panel.data());
  float* const least = nearest.data();
  for (int64_t i = 0; i < stride; ++i) least[i] = i < points ? __builtin_inff() : -1.0f;
  int64_t at = 0;
  for (int64_t done = 0;; ++done) {
    out[done] = base + at;
    if (done + 1 == count) return true;
    distances<1>(panel.data(), stride, depth, x + at * depth, distance.data());
    FW largest = splat<FW>(-1.0f);
    for (int64_t i = 0; i < stride; i += kWide) {
      FW old, now;
      load(least + i, &old);
      load(distance.data() + i, &now);
      old = now < old ? now : old;
      store(least + i, old);
      largest = largest < old ? old : largest;
    }
    float top = -1.0f;
    for (int l = 0; l < kWide; ++l) top = largest[l] > top ? largest[l] : top;
    for (at = 0; least[at] != top; ++at) {
    }
  }
}

}  // namespace edgegnn::EDGEGNN_LEVEL
