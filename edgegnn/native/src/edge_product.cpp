// EdgeProductMax.

#include "edge_product.h"

#include "csr.h"
#include "integer_op.h"
#include "ops.h"
#include "qgemm_weights.h"
#include "spmm.h"

namespace edgegnn {
namespace {

struct State {
  Constants constants;
  float low;
  float high;
  Scratch scratch;
};

OrtStatus* create(void* memory, const Info& info) {
  auto* const state = static_cast<State*>(memory);
  constexpr float kMost = 3.4028235e38f;
  state->low = info.attribute("low", -kMost);
  state->high = info.attribute("high", kMost);
  if (!(state->low == state->low) || !(state->high == state->high)) return invalid("low and high must be numbers");
  state->constants.find(info, 4);
  return nullptr;
}

void destroy(void* memory) { static_cast<State*>(memory)->scratch.free_all(); }

OrtStatus* edge_product(void* memory, Context& context) {
  auto* const state = static_cast<State*>(memory);
  Tensor source;
  Tensor target;
  Tensor w;
  Vector bias;
  Csr csr;
  EDGEGNN_TRY(context.input(0, "source", &source));
  EDGEGNN_TRY(context.input(1, "target", &target));
  EDGEGNN_TRY(state->constants.input(context, 2, "w", &w));
  EDGEGNN_TRY(read_csr(context, 4, 7, &csr));
  EDGEGNN_TRY(check_weights(w));
  if (source.rank != 2) return invalid("source must have the shape [C, K]");
  if (target.rank != 2 || target.dims[0] != csr.rows || target.dims[1] != source.dims[1]) {
    return invalid("target must have the shape [num_rows, K] for the K of source");
  }
  const int64_t depth = source.dims[1];
  const int64_t width = w.dims[1];
  if (w.dims[0] != depth || depth > INT32_MAX) return invalid("w must have the shape [K, N] for the K of source");
  EDGEGNN_TRY(read_vector(context, state->constants, 3, "bias", width, &bias));
  void* y = nullptr;
  const int64_t dims[] = {csr.rows, width};
  EDGEGNN_TRY(context.output(0, dims, 2, &y));
  if (csr.rows * width == 0) return check_range("col", csr.col, csr.entries, source.dims[0]);
  const int64_t padded = padded_width(width);
  const size_t column_bytes = static_cast<size_t>(padded) * sizeof(float);
  Taken taken(&state->scratch);
  EDGEGNN_TRY(taken.take(static_cast<size_t>(depth + 1) * column_bytes));
  auto* const biases = static_cast<float*>(taken.memory());
  float* const weights = biases + padded;
  for (int64_t n = 0; n < padded; ++n) biases[n] = n < width ? bias.data[n * bias.step] : 0.0f;
  for (int64_t k = 0; k < depth; ++k) {
    memcpy(weights + k * padded, w.as<float>() + k * width, static_cast<size_t>(width) * sizeof(float));
    memset(weights + k * padded + width, 0, static_cast<size_t>(padded - width) * sizeof(float));
  }
  SparseGemmArgs product = {};
  product.depth = depth;
  product.width = width;
  product.padded = padded;
  product.w = weights;
  product.bias = biases;
  const EdgeProductArgs args = {source.as<float>(), target.as<float>(), depth,       source.dims[0], csr.indptr, csr.col,
                                csr.entries,        state->low,         state->high, product,        static_cast<float*>(y)};
  int faults = FAULT_NONE;
  const int64_t bytes = 512 + depth * padded / 16;  // products count as much as bytes
  EDGEGNN_TRY(over_rows(context, csr, bytes, EDGEGNN_PICK(edge_product_rows), args, &faults));
  if ((faults & FAULT_COL) != 0) return out_of_range("col", csr.col, csr.entries, source.dims[0]);
  return faults == FAULT_NONE ? nullptr : out_of_memory(0);
}

constexpr Op kOps[] = {
    {"EdgeProductMax", "ffffiiil", "f", edge_product, sizeof(State), create, destroy},
};

}  // namespace

OpTable edge_product_ops() { return table_of(kOps); }

}  // namespace edgegnn
