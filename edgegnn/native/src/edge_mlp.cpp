// QEdgeMlpMax, QEdgeProductMax.

#include "edge_mlp.h"

#include "csr.h"
#include "integer_op.h"
#include "ops.h"
#include "qgemm_weights.h"
#include "spmm.h"

namespace edgegnn {
namespace {

constexpr float kMost = 3.4028235e38f;

struct State {
  Constants constants;
  float x_scale;
  int32_t x_zero_point;
  float x_low;  // what the least and the largest code stand for
  float x_high;
  Epilogue hidden;
  Epilogue last;
  void* kept[2];  // memory of `weights`, where they are constant
  Weights weights[2];
  Scratch scratch;
};

bool is_scale(float value) { return value >= 1e-30f && value <= 1e30f; }

template <bool SINGLE>
OrtStatus* read_numbers(const Info& info, State* state) {
  const float x_scale = info.attribute("x_scale", 0.0f);
  const int64_t x_zero = info.attribute("x_zero_point", int64_t{0});
  const int64_t x_low = info.attribute("x_low", int64_t{0});
  const int64_t x_high = info.attribute("x_high", int64_t{255});
  const float scale = info.attribute("hidden_scale", SINGLE ? 1.0f : 0.0f);
  const int64_t zero = info.attribute("hidden_zero_point", int64_t{0});
  const float low = info.attribute("hidden_low", -kMost);
  const float high = info.attribute("hidden_high", kMost);
  const float last_low = info.attribute("clip_low", -kMost);
  const float last_high = info.attribute("clip_high", kMost);
  if (!is_scale(x_scale) || !is_scale(scale)) return invalid("x_scale and hidden_scale must be in [1e-30, 1e30]");
  if (x_zero < 0 || x_zero > 255 || zero < 0 || zero > 255) return invalid("x_zero_point and hidden_zero_point must be in [0, 255]");
  if (x_low < 0 || x_low > x_high || x_high > 255) return invalid("x_low and x_high must rise within [0, 255]");
  if (!(low == low) || !(high == high) || !(last_low == last_low) || !(last_high == last_high)) {
    return invalid("hidden_low, hidden_high, clip_low and clip_high must be numbers");
  }
  state->x_scale = x_scale;
  state->x_zero_point = static_cast<int32_t>(x_zero);
  state->x_low = static_cast<float>(x_low - x_zero) * x_scale;
  state->x_high = static_cast<float>(x_high - x_zero) * x_scale;
  if constexpr (SINGLE) {  // what is rounded is clipped to these first
    const float least_end = info.attribute("low", -kMost);
    const float most_end = info.attribute("high", kMost);
    if (!(least_end <= most_end)) return invalid("low and high must rise");
    const float bottom = state->x_low;
    const float top = state->x_high;
    const auto inside = [&](float v) { return v < bottom ? bottom : v > top ? top : v; };
    state->x_low = inside(least_end);
    state->x_high = inside(most_end);
  }
  const float least = static_cast<float>(-zero) * scale;
  const float most = static_cast<float>(255 - zero) * scale;
  const auto saturated = [&](float v) { return v < least ? least : v > most ? most : v; };
  state->hidden = {1.0f, saturated(low), saturated(high), scale, 1.0f / scale, static_cast<int32_t>(zero), false};
  state->last = {1.0f, last_low, last_high, 1.0f, 1.0f, 0, true};
  return nullptr;
}

template <bool SINGLE>
OrtStatus* create(void* memory, const Info& info) {
  auto* const state = static_cast<State*>(memory);
  EDGEGNN_TRY(read_numbers<SINGLE>(info, state));
  state->constants.find(info, SINGLE ? 5 : 8);
  for (int i = 0; i < (SINGLE ? 1 : 2); ++i) {
    Tensor w;
    if (!info.constant_input(i == 0 ? 2 : 5, &w)) continue;
    EDGEGNN_TRY(check_weights(w));
    if (w.dims[0] > kMaxDepth) continue;  // refused when it runs
    const size_t bytes = Weights::size(w.dims[0], w.dims[1], false);
    state->kept[i] = malloc(bytes);
    if (state->kept[i] == nullptr) return out_of_memory(bytes);
    state->weights[i].make(w, false, state->kept[i]);
  }
  return nullptr;
}

void destroy(void* memory) {
  auto* const state = static_cast<State*>(memory);
  for (void* kept : state->kept) free(kept);
  state->scratch.free_all();
}

// A product's inputs.
struct Layer {
  Tensor w;
  Tensor w_scale;
  Vector bias;
  int64_t padded;
  size_t bytes;  // of columns and, where they aren't kept, weights
};

OrtStatus* read_layer(const Context& context, const State& state, int i, int64_t depth, Layer* out) {
  const size_t at = i == 0 ? 2 : 5;
  EDGEGNN_TRY(state.constants.input(context, at, "w", &out->w));
  EDGEGNN_TRY(state.constants.input(context, at + 1, "w_scale", &out->w_scale));
  EDGEGNN_TRY(check_weights(out->w));
  if (depth > kMaxDepth) return invalid("K = %lld; at most 65,536 products can be summed", static_cast<long long>(depth));
  if (out->w.dims[0] != depth) return invalid("product %d has %lld rows of weights for %lld columns", i + 1,
                                              static_cast<long long>(out->w.dims[0]), static_cast<long long>(depth));
  const int64_t width = out->w.dims[1];
  if (out->w_scale.rank != 1 || out->w_scale.count != width) {
    return invalid("the scales of product %d must have N = %lld elements", i + 1, static_cast<long long>(width));
  }
  EDGEGNN_TRY(read_vector(context, state.constants, at + 2, "bias", width, &out->bias));
  out->padded = padded_width(width);
  const bool kept = state.kept[i] != nullptr && state.weights[i].depth == depth && state.weights[i].width == width;
  const size_t columns = (static_cast<size_t>(out->padded) * 3 * sizeof(float) + 63) / 64 * 64;
  out->bytes = columns + (kept ? 0 : (Weights::size(depth, width, false) + 63) / 64 * 64);
  return nullptr;
}

const float kOne = 1.0f;

// Fills in what a kernel is given of a product; `memory` has room for layer.bytes.
void fill(const State& state, const Layer& layer, int i, float x_scale, int32_t zero_point, const Epilogue& epilogue, void* memory, QgemmArgs* args) {
  const int64_t depth = layer.w.dims[0];
  const int64_t width = layer.w.dims[1];
  auto* const start = static_cast<int32_t*>(memory);
  auto* const factor = reinterpret_cast<float*>(start + layer.padded);
  float* const biases = factor + layer.padded;
  const size_t columns = (static_cast<size_t>(layer.padded) * 3 * sizeof(float) + 63) / 64 * 64;
  Weights weights = state.weights[i];
  if (state.kept[i] == nullptr || weights.depth != depth || weights.width != width) {
    weights.make(layer.w, false, static_cast<uint8_t*>(memory) + columns);
  }
  const int32_t centre = EDGEGNN_PICK_DOT(qgemm_centre)() - zero_point;
  for (int64_t n = 0; n < layer.padded; ++n) {
    const bool inside = n < width;
    start[n] = static_cast<int32_t>(static_cast<uint32_t>(weights.totals[n]) * static_cast<uint32_t>(centre));
    factor[n] = inside ? x_scale * layer.w_scale.as<float>()[n] : 0.0f;
    biases[n] = inside ? layer.bias.data[n * layer.bias.step] : 0.0f;
  }
  args->depth = depth;
  args->width = width;
  args->padded = layer.padded;
  args->zero_point = zero_point;
  args->scale = x_scale;
  args->inverse = 1.0f / x_scale;
  args->in_pairs = weights.in_pairs;
  args->packed = weights.packed;
  args->start = start;
  args->factor = factor;
  args->bias = biases;
  args->row_scale = &kOne;
  args->epilogue = epilogue;
}

template <bool SINGLE>
OrtStatus* edge_mlp(void* memory, Context& context) {
  auto* const state = static_cast<State*>(memory);
  Tensor source;
  Tensor target;
  Csr csr;
  EDGEGNN_TRY(context.input(0, "source", &source));
  EDGEGNN_TRY(context.input(1, "target", &target));
  EDGEGNN_TRY(read_csr(context, SINGLE ? 5 : 8, SINGLE ? 8 : 11, &csr));
  if (source.rank != 2) return invalid("source must have the shape [C, F]");
  if (target.rank != 2 || target.dims[0] != csr.rows || target.dims[1] != source.dims[1]) {
    return invalid("target must have the shape [num_rows, F] for the F of source");
  }
  Layer first;
  Layer second = {};
  const int64_t width = source.dims[1];
  EDGEGNN_TRY(read_layer(context, *state, 0, SINGLE ? width : 2 * width, &first));
  if constexpr (!SINGLE) EDGEGNN_TRY(read_layer(context, *state, 1, first.w.dims[1], &second));
  void* y = nullptr;
  const int64_t dims[] = {csr.rows, (SINGLE ? first : second).w.dims[1]};
  EDGEGNN_TRY(context.output(0, dims, 2, &y));
  if (csr.rows * dims[1] == 0) return check_range("col", csr.col, csr.entries, source.dims[0]);
  Taken taken(&state->scratch);
  EDGEGNN_TRY(taken.take(first.bytes + second.bytes));
  EdgeMlpArgs args = {};
  fill(*state, first, 0, state->x_scale, state->x_zero_point, SINGLE ? state->last : state->hidden, taken.memory(), &args.first);
  if constexpr (!SINGLE) {
    void* const behind = static_cast<uint8_t*>(taken.memory()) + first.bytes;
    fill(*state, second, 1, state->hidden.y_scale, state->hidden.y_zero_point, state->last, behind, &args.second);
  }
  args.first.low = state->x_low;
  args.first.high = state->x_high;
  args.source = source.as<float>();
  args.target = target.as<float>();
  args.width = width;
  args.columns = source.dims[0];
  args.indptr = csr.indptr;
  args.col = csr.col;
  args.entries = csr.entries;
  args.y = static_cast<float*>(y);
  int faults = FAULT_NONE;
  const int64_t bytes = 512 + (first.padded * width + second.padded * first.padded) / 32;  // products count as much as bytes
  const auto kernel = SINGLE ? EDGEGNN_PICK_DOT(edge_qproduct_rows) : EDGEGNN_PICK_DOT(edge_mlp_rows);
  EDGEGNN_TRY(over_rows(context, csr, bytes, kernel, args, &faults));
  if ((faults & FAULT_COL) != 0) return out_of_range("col", csr.col, csr.entries, source.dims[0]);
  return faults == FAULT_NONE ? nullptr : out_of_memory(0);
}

constexpr Op kOps[] = {
    {"QEdgeMlpMax", "ffsffsffiiil", "f", edge_mlp<false>, sizeof(State), create<false>, destroy},
    {"QEdgeProductMax", "ffsffiiil", "f", edge_mlp<true>, sizeof(State), create<true>, destroy},
};

}  // namespace

OpTable edge_mlp_ops() { return table_of(kOps); }

}  // namespace edgegnn
