// GatedSum, GatedSumEdges.

#include "gated_sum.h"

#include "edge_inputs.h"
#include "ops.h"

namespace edgegnn {
namespace {

// Inputs `at` and `at` + 1, one row of the same width for each source and each target.
OrtStatus* read_ends(const Context& context, size_t at, const char* source, const char* target, int64_t rows, Tensor* ends) {
  EDGEGNN_TRY(context.input(at, source, &ends[0]));
  EDGEGNN_TRY(context.input(at + 1, target, &ends[1]));
  if (ends[0].rank != 2) return invalid("%s must have the shape [C, F]", source);
  if (ends[1].rank != 2 || ends[1].dims[0] != rows || ends[1].dims[1] != ends[0].dims[1]) {
    return invalid("%s must have the shape [num_rows, F] for the F of %s", target, source);
  }
  return nullptr;
}

OrtStatus* read_product(const Context& context, size_t at, const char* name, int64_t depth, int64_t width, const float** out) {
  Tensor product;
  EDGEGNN_TRY(context.input(at, name, &product));
  if (product.rank != 2 || product.dims[0] != depth || product.dims[1] != width) return invalid("%s must have the shape [D, F]", name);
  *out = product.as<float>();
  return nullptr;
}

template <bool FEATURES>
OrtStatus* gated_sum(void*, Context& context) {
  constexpr size_t graph = FEATURES ? 7 : 4;
  Csr csr;
  EdgeFeatures features = {};
  Tensor gate[2];
  Tensor value[2];
  EDGEGNN_TRY(read_csr(context, graph, graph + (FEATURES ? 4 : 3), &csr));
  EDGEGNN_TRY(read_ends(context, 0, "gate_source", "gate_target", csr.rows, gate));
  EDGEGNN_TRY(read_ends(context, 2, "value_source", "value_target", csr.rows, value));
  const int64_t columns = gate[0].dims[0];
  const int64_t width = gate[0].dims[1];
  if (value[0].dims[0] != columns || value[0].dims[1] != width) return invalid("value_source must have the shape of gate_source");
  GatedArgs args = {{gate[0].as<float>(), gate[1].as<float>(), nullptr},
                    {value[0].as<float>(), value[1].as<float>(), nullptr},
                    width,
                    columns,
                    csr.indptr,
                    csr.col,
                    csr.entries,
                    features,
                    nullptr};
  if constexpr (FEATURES) {
    EDGEGNN_TRY(read_features(context, 4, 10, csr.entries, &args.features));
    EDGEGNN_TRY(read_product(context, 5, "gate_product", args.features.width, width, &args.gate.product));
    EDGEGNN_TRY(read_product(context, 6, "value_product", args.features.width, width, &args.value.product));
  }
  void* y = nullptr;
  const int64_t dims[] = {csr.rows, width};
  EDGEGNN_TRY(context.output(0, dims, 2, &y));
  if (csr.rows * width == 0) return check_range("col", csr.col, csr.entries, columns);
  args.y = static_cast<float*>(y);
  int faults = FAULT_NONE;
  EDGEGNN_TRY(over_rows(context, csr, width * 32, EDGEGNN_PICK(gated_rows), args, &faults));
  return said(faults, csr, columns, args.features);
}

constexpr Op kOps[] = {
    {"GatedSum", "ffffiiil", "f", gated_sum<false>},
    {"GatedSumEdges", "fffffffiiiil", "f", gated_sum<true>},
};

}  // namespace

OpTable gated_sum_ops() { return table_of(kOps); }

}  // namespace edgegnn
