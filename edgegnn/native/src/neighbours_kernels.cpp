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

// The nearest points so far, from near to far.
struct Nearest {
  float* distance;
  int32_t* point;
  int64_t count;
  int64_t most;

  float limit() const { return count < most ? __builtin_inff() : distance[most - 1]; }

  // A point with a higher number than those before it: it goes behind the ones that are as far.
  void add(float value, int32_t number) {
    int64_t low = 0;
    for (int64_t high = count; low < high;) {
      const int64_t middle = (low + high) / 2;
      if (distance[middle] <= value) {
        low = middle + 1;
      } else {
        high = middle;
      }
    }
    const int64_t moved = (count < most ? count : most - 1) - low;
    memmove(distance + low + 1, distance + low, static_cast<size_t>(moved) * sizeof(float));
    memmove(point + low + 1, point + low, static_cast<size_t>(moved) * sizeof(int32_t));
    distance[low] = value;
    point[low] = number;
    count += count < most ? 1 : 0;
  }

  // `points` distances, of the points `first`, first + 1, ...
  void look_at(const float* distances, int64_t points, int32_t first) {
    float worst = limit();
    for (int64_t at = 0; at < points; at += kChunk) {
      if (!any_below(distances + at, worst)) continue;
      const int64_t end = at + kChunk < points ? at + kChunk : points;
      for (int64_t i = at; i < end; ++i) {
        if (!(distances[i] < worst)) continue;
        add(distances[i], first + static_cast<int32_t>(i));
        worst = limit();
      }
    }
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
  FloatBuffer buffer((end - begin) * args.most);
  if (buffer.data() == nullptr) return false;
  for (int64_t q = begin; q < end; ++q) args.count[q] = 0;
  const bool done = over_graphs(args, begin, end, [&](const PointGraph& graph, int64_t from, int64_t to) {
    return over_panels(args, graph, from, to, [&](int64_t q, const float* distance, int64_t first, int64_t points) {
      Nearest nearest = {buffer.data() + (q - begin) * args.most, args.found + q * args.most, args.count[q], args.most};
      nearest.look_at(distance, points, static_cast<int32_t>(first));
      args.count[q] = static_cast<int32_t>(nearest.count);
    });
  });
  if (done && !args.loop) {
    for (int64_t q = begin; q < end; ++q) args.count[q] = without_itself(args.found + q * args.most, args.count[q], q);
  }
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
