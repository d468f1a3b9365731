// QGemm, QuantizeGemm, the same with a norm: ...Norm, and the same with a float32 output: ...Float. SparseGemm. Those that read floats, with
// rows divided by their sums: Normalize...

#include "qgemm.h"

#include <stdlib.h>
#include <string.h>

#include "integer_op.h"
#include "ops.h"
#include "qgemm_weights.h"

namespace edgegnn {
namespace {

constexpr int64_t kItem = int64_t{1} << 21;       // products of one work item: some 10 us
constexpr int64_t kSparseDepth = 256;             // codes of fewer columns are multiplied before their zeros are found
constexpr int64_t kItemRows = 24;                 // a work item has a multiple of this many rows: those of the kernel's panel

// Calls kernel(args, begin, end) for blocks of rows that depend on the sizes alone.
template <class Kernel, class Args>
OrtStatus* over_rows(Context& context, int64_t rows, const Args& args, Kernel kernel) {
  const int64_t cost = (args.depth + 1) * (args.padded + kGroup);
  const int64_t blocks = kItem / (cost * kItemRows);
  const int64_t item = (blocks < 1 ? 1 : blocks) * kItemRows;
  bool failed = false;
  EDGEGNN_TRY(parallel_for(context, (rows + item - 1) / item, [&](int64_t i) {
    const int64_t end = (i + 1) * item;
    if (!kernel(args, i * item, end < rows ? end : rows)) __atomic_store_n(&failed, true, __ATOMIC_RELAXED);
  }));
  return failed ? out_of_memory(0) : nullptr;
}

struct State {
  Constants constants;
  Quantizer quantizer;
  bool quantizes;  // QuantizeGemm
  bool norms;      // ...Norm
  float x_low;     // what the least and the largest code of x stand for
  float x_high;
  float least_sum;  // Normalize...
  bool skip_zeros;  // a zero has the code x_zero_point
  void* kept;  // memory of `weights`, when they are constant
  Weights weights;
  Scratch scratch;
};

bool skips_zeros(const State& state, int64_t depth) { return state.quantizes ? state.skip_zeros : depth >= kSparseDepth; }

OrtStatus* keep_weights(State* state, const Info& info) {
  state->constants.find(info, 8);
  Tensor w;
  if (!info.constant_input(1, &w)) return nullptr;
  EDGEGNN_TRY(check_weights(w));
  if (w.dims[0] > kMaxDepth) return nullptr;  // refused when it runs
  const bool skips = skips_zeros(*state, w.dims[0]);
  const size_t bytes = Weights::size(w.dims[0], w.dims[1], skips);
  state->kept = malloc(bytes);
  if (state->kept == nullptr) return out_of_memory(bytes);
  state->weights.make(w, skips, state->kept);
  return nullptr;
}

template <bool SIGNED, bool FLOAT, bool NORM>
OrtStatus* create_gemm(void* memory, const Info& info) {
  auto* const state = static_cast<State*>(memory);
  state->norms = NORM;
  EDGEGNN_TRY(read_quantizer(info, SIGNED, FLOAT, !NORM, &state->quantizer));
  return keep_weights(state, info);
}

// 0 where rows aren't normalised.
OrtStatus* read_least_sum(const Info& info, bool normalizes, float* least) {
  if (!normalizes) return nullptr;
  *least = info.attribute("least_sum", 1.0f);
  if (!(*least >= 1e-30f && *least <= 1e30f)) return invalid("least_sum = %g is outside [1e-30, 1e30]", static_cast<double>(*least));
  return nullptr;
}

template <bool FLOAT, bool NORM, bool NORMALIZES>
OrtStatus* create_quantize_gemm(void* memory, const Info& info) {
  auto* const state = static_cast<State*>(memory);
  state->norms = NORM;
  EDGEGNN_TRY(read_quantizer(info, false, FLOAT, !NORM, &state->quantizer));
  EDGEGNN_TRY(read_least_sum(info, NORMALIZES, &state->least_sum));
  const float x_scale = state->quantizer.x_scale;
  const int64_t zero_point = state->quantizer.x_zero_point;
  const int64_t low = info.attribute("x_low", int64_t{0});
  const int64_t high = info.attribute("x_high", int64_t{255});
  if (low < 0 || low > high || high > 255) {
    return invalid("x_low = %lld and x_high = %lld must rise within [0, 255]", static_cast<long long>(low), static_cast<long long>(high));
  }
  if (!(x_scale >= 1e-30f && x_scale <= 1e30f)) return invalid("x_scale = %g is outside [1e-30, 1e30]", static_cast<double>(x_scale));
  state->quantizes = true;
  state->x_low = static_cast<float>(low - zero_point) * x_scale;
  state->x_high = static_cast<float>(high - zero_point) * x_scale;
  state->skip_zeros = low <= zero_point && zero_point <= high;
  return keep_weights(state, info);
}

void destroy_gemm(void* memory) {
  auto* const state = static_cast<State*>(memory);
  free(state->kept);
  state->scratch.free_all();
}

OrtStatus* gemm(void* memory, Context& context) {
  auto* const state = static_cast<State*>(memory);
  const Quantizer& quantizer = state->quantizer;
  Tensor x;
  Tensor w;
  Tensor w_scale;
  Tensor addend;
  Vector row_scale;
  Vector bias;
  Vector gain = {};
  Vector shift = {};
  EDGEGNN_TRY(state->constants.input(context, 0, "x", &x));
  EDGEGNN_TRY(state->constants.input(context, 1, "w", &w));
  EDGEGNN_TRY(state->constants.input(context, 2, "w_scale", &w_scale));
  EDGEGNN_TRY(state->constants.input(context, 5, "addend", &addend));
  EDGEGNN_TRY(check_weights(w));
  if (x.rank != 2 || x.dims[1] != w.dims[0]) return invalid("x must have the shape [M, K] for K = %lld rows of w", static_cast<long long>(w.dims[0]));
  const int64_t rows = x.dims[0];
  const int64_t depth = x.dims[1];
  const int64_t width = w.dims[1];
  const int64_t padded = padded_width(width);
  if (depth > kMaxDepth) return invalid("K = %lld; at most 65,536 products can be summed", static_cast<long long>(depth));
  if (w_scale.rank != 1 || w_scale.count != width) return invalid("w_scale must have N = %lld elements", static_cast<long long>(width));
  EDGEGNN_TRY(read_vector(context, state->constants, 3, "row_scale", rows, &row_scale));
  EDGEGNN_TRY(read_vector(context, state->constants, 4, "bias", width, &bias));
  if (state->norms) {
    EDGEGNN_TRY(read_vector(context, state->constants, 6, "gain", width, &gain));
    EDGEGNN_TRY(read_vector(context, state->constants, 7, "shift", width, &shift));
    if (width != 1 && (gain.step == 0 || shift.step == 0)) {
      return invalid("gain and shift must have N = %lld elements", static_cast<long long>(width));
    }
  }
  const bool one_addend = addend.rank == 1 && addend.count == 1;
  if (!one_addend && (addend.rank != 2 || addend.dims[0] != rows || addend.dims[1] != width)) {
    return invalid("addend must have the shape [M, N] or [1]");
  }

  QgemmArgs args = {};
  const int64_t dims[2] = {rows, width};
  EDGEGNN_TRY(context.output(0, dims, 2, &args.y));
  if (rows * width == 0) return nullptr;

  const size_t column_bytes = static_cast<size_t>(padded) * sizeof(float);
  const size_t columns_bytes = (state->norms ? 6 : 4) * column_bytes;
  const bool kept = state->kept != nullptr && state->weights.depth == depth && state->weights.width == width;
  Taken taken(&state->scratch);
  const bool skips = skips_zeros(*state, depth);
  EDGEGNN_TRY(taken.take(columns_bytes + (kept ? 0 : Weights::size(depth, width, skips))));
  Weights weights = state->weights;
  if (!kept) weights.make(w, skips, static_cast<uint8_t*>(taken.memory()) + columns_bytes);
  auto* const start = static_cast<int32_t*>(taken.memory());
  auto* const factor = reinterpret_cast<float*>(start + padded);
  float* const biases = factor + padded;
  float* const added = biases + padded;
  float* const gains = added + padded;
  float* const shifts = gains + padded;
  const int32_t centre = EDGEGNN_PICK_DOT(qgemm_centre)() - quantizer.x_zero_point;
  const float addend_value = one_addend ? *addend.as<float>() : 0.0f;
  for (int64_t n = 0; n < padded; ++n) {
    const bool inside = n < width;
    start[n] = static_cast<int32_t>(static_cast<uint32_t>(weights.totals[n]) * static_cast<uint32_t>(centre));
    factor[n] = inside ? quantizer.x_scale * w_scale.as<float>()[n] : 0.0f;
    biases[n] = inside ? bias.data[n * bias.step] : 0.0f;
    added[n] = addend_value;
    if (!state->norms) continue;
    gains[n] = inside ? gain.data[n * gain.step] : 0.0f;
    shifts[n] = inside ? shift.data[n * shift.step] : 0.0f;
  }

  if (state->quantizes) {
    args.floats = x.as<float>();
  } else {
    args.codes = x.as<uint8_t>();
  }
  args.depth = depth;
  args.width = width;
  args.padded = padded;
  args.zero_point = quantizer.x_zero_point;
  args.is_signed = quantizer.is_signed;
  args.low = state->x_low;
  args.high = state->x_high;
  args.scale = quantizer.x_scale;
  args.inverse = 1.0f / quantizer.x_scale;
  args.least_sum = state->least_sum;
  args.in_pairs = weights.in_pairs;
  args.packed = weights.packed;
  args.plain = weights.plain;
  args.start = start;
  args.factor = factor;
  args.bias = biases;
  args.row_scale = row_scale.data;
  args.row_scale_step = row_scale.step;
  if (state->norms) {
    args.gain = gains;
    args.shift = shifts;
    args.before_low = quantizer.clip_low;
    args.before_high = quantizer.clip_high;
  }
  if (!one_addend) {
    args.addend = addend.as<float>();
    args.addend_stride = width;
  } else if (addend_value != 0.0f) {
    args.addend = added;
  }
  args.epilogue = quantizer.epilogue;
  return over_rows(context, rows, args, EDGEGNN_PICK_DOT(qgemm_rows));
}

struct SparseState {
  Constants constants;
  float* kept;  // [depth, padded] weights, when they are constant
  int64_t depth;
  int64_t width;
  float least_sum;
  Scratch scratch;
};

void pad_weights(const Tensor& w, float* out) {
  const int64_t width = w.dims[1];
  const int64_t padded = padded_width(width);
  for (int64_t k = 0; k < w.dims[0]; ++k) {
    memcpy(out + k * padded, w.as<float>() + k * width, static_cast<size_t>(width) * sizeof(float));
    memset(out + k * padded + width, 0, static_cast<size_t>(padded - width) * sizeof(float));
  }
}

template <bool NORMALIZES>
OrtStatus* create_sparse(void* memory, const Info& info) {
  auto* const state = static_cast<SparseState*>(memory);
  EDGEGNN_TRY(read_least_sum(info, NORMALIZES, &state->least_sum));
  state->constants.find(info, 3);
  Tensor w;
  if (!info.constant_input(1, &w)) return nullptr;
  EDGEGNN_TRY(check_weights(w));
  state->depth = w.dims[0];
  state->width = w.dims[1];
  const size_t bytes = static_cast<size_t>(state->depth * padded_width(state->width)) * sizeof(float);
  state->kept = static_cast<float*>(malloc(bytes + 1));
  if (state->kept == nullptr) return out_of_memory(bytes);
  pad_weights(w, state->kept);
  return nullptr;
}

void destroy_sparse(void* memory) {
  auto* const state = static_cast<SparseState*>(memory);
  free(state->kept);
  state->scratch.free_all();
}

OrtStatus* sparse_gemm(void* memory, Context& context) {
  auto* const state = static_cast<SparseState*>(memory);
  Tensor x;
  Tensor w;
  Vector bias;
  EDGEGNN_TRY(state->constants.input(context, 0, "x", &x));
  EDGEGNN_TRY(state->constants.input(context, 1, "w", &w));
  EDGEGNN_TRY(check_weights(w));
  if (x.rank != 2 || x.dims[1] != w.dims[0]) return invalid("x must have the shape [M, K] for K = %lld rows of w", static_cast<long long>(w.dims[0]));
  const int64_t rows = x.dims[0];
  SparseGemmArgs args = {};
  args.depth = w.dims[0];
  args.width = w.dims[1];
  args.padded = padded_width(args.width);
  if (args.depth > INT32_MAX) return invalid("K = %lld must be below 2^31", static_cast<long long>(args.depth));
  EDGEGNN_TRY(read_vector(context, state->constants, 2, "bias", args.width, &bias));
  void* y = nullptr;
  const int64_t dims[2] = {rows, args.width};
  EDGEGNN_TRY(context.output(0, dims, 2, &y));
  if (rows * args.width == 0) return nullptr;

  const bool kept = state->kept != nullptr && state->depth == args.depth && state->width == args.width;
  const size_t column_bytes = static_cast<size_t>(args.padded) * sizeof(float);
  Taken taken(&state->scratch);
  EDGEGNN_TRY(taken.take(column_bytes + (kept ? 0 : static_cast<size_t>(args.depth) * column_bytes)));
  auto* const shift = static_cast<float*>(taken.memory());
  for (int64_t n = 0; n < args.padded; ++n) shift[n] = n < args.width ? bias.data[n * bias.step] : 0.0f;
  if (!kept) pad_weights(w, shift + args.padded);
  args.x = x.as<float>();
  args.w = kept ? state->kept : shift + args.padded;
  args.bias = shift;
  args.least_sum = state->least_sum;
  args.y = static_cast<float*>(y);
  return over_rows(context, rows, args, EDGEGNN_PICK(sparse_gemm_rows));
}

#define EDGEGNN_QUANTIZE_GEMM(START, END, REST, NORM, NORMALIZES)                                                                        \
  {START "QuantizeGemm" END, "fsffff" REST, "u", gemm, sizeof(State), create_quantize_gemm<false, NORM, NORMALIZES>, destroy_gemm},      \
  {START "QuantizeGemm" END "Float", "fsffff" REST, "f", gemm, sizeof(State), create_quantize_gemm<true, NORM, NORMALIZES>, destroy_gemm}

#define EDGEGNN_GEMM(END, REST, NORM)                                                                                             \
  {"QGemm" END, "usffff" REST, "u", gemm, sizeof(State), create_gemm<false, false, NORM>, destroy_gemm},                          \
  {"QGemm" END, "ssffff" REST, "u", gemm, sizeof(State), create_gemm<true, false, NORM>, destroy_gemm},                           \
  {"QGemm" END "Float", "usffff" REST, "f", gemm, sizeof(State), create_gemm<false, true, NORM>, destroy_gemm},                   \
  {"QGemm" END "Float", "ssffff" REST, "f", gemm, sizeof(State), create_gemm<true, true, NORM>, destroy_gemm},                    \
  EDGEGNN_QUANTIZE_GEMM("", END, REST, NORM, false),                                                                              \
  EDGEGNN_QUANTIZE_GEMM("Normalize", END, REST, NORM, true)

constexpr Op kOps[] = {
    EDGEGNN_GEMM("", "", false),
    EDGEGNN_GEMM("Norm", "ff", true),
    {"SparseGemm", "fff", "f", sparse_gemm, sizeof(SparseState), create_sparse<false>, destroy_sparse},
    {"NormalizeSparseGemm", "fff", "f", sparse_gemm, sizeof(SparseState), create_sparse<true>, destroy_sparse},
};

}  // namespace

OpTable qgemm_ops() { return table_of(kOps); }

}  // namespace edgegnn
