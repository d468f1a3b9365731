// PairAttention, PairAttentionEdges, DotAttention, DotAttentionEdges.

#include "edge_attention.h"

#include "edge_inputs.h"
#include "ops.h"

namespace edgegnn {
namespace {

struct Number {
  float value;
};

OrtStatus* create_pair(void* state, const Info& info) {
  static_cast<Number*>(state)->value = info.attribute("negative_slope", 0.2f);
  return nullptr;
}

OrtStatus* create_dot(void* state, const Info& info) {
  static_cast<Number*>(state)->value = info.attribute("scale", 1.0f);
  return nullptr;
}

// Rows of both ends: `sources` [C, H, K] and `targets` [R, H, K].
OrtStatus* check_ends(const Tensor& sources, const char* source, const Tensor& targets, const char* target, int64_t rows) {
  if (sources.rank != 3) return invalid("%s must have the shape [C, H, K]", source);
  if (targets.rank != 3 || targets.dims[0] != rows || targets.dims[1] != sources.dims[1] || targets.dims[2] != sources.dims[2]) {
    return invalid("%s must have the shape [num_rows, H, K] for the H and K of %s", target, source);
  }
  return nullptr;
}

template <bool FEATURES>
OrtStatus* pair_attention(void* state, Context& context) {
  constexpr size_t graph = FEATURES ? 5 : 3;
  Tensor source;
  Tensor target;
  Tensor att;
  Csr csr;
  EdgeFeatures features = {};
  Tensor product = {};
  EDGEGNN_TRY(context.input(0, "source", &source));
  EDGEGNN_TRY(context.input(1, "target", &target));
  EDGEGNN_TRY(context.input(2, "att", &att));
  EDGEGNN_TRY(read_csr(context, graph, graph + (FEATURES ? 4 : 3), &csr));
  EDGEGNN_TRY(check_ends(source, "source", target, "target", csr.rows));
  const int64_t heads = source.dims[1];
  const int64_t width = source.dims[2];
  if (att.rank != 2 || att.dims[0] != heads || att.dims[1] != width) return invalid("att must have the shape [H, K] of source");
  if constexpr (FEATURES) {
    EDGEGNN_TRY(read_features(context, 3, 8, csr.entries, &features));
    EDGEGNN_TRY(context.input(4, "product", &product));
    if (product.rank != 2 || product.dims[0] != features.width || product.dims[1] != heads * width) {
      return invalid("product must have the shape [D, H * K]");
    }
  }
  void* y = nullptr;
  const int64_t dims[] = {csr.entries, heads};
  EDGEGNN_TRY(context.output(0, dims, 2, &y));
  if (csr.entries * heads == 0) return check_range("col", csr.col, csr.entries, source.dims[0]);
  const PairArgs args = {source.as<float>(), target.as<float>(), att.as<float>(), heads,    width,
                         source.dims[0],     csr.indptr,         csr.col,         csr.entries, static_cast<Number*>(state)->value,
                         features,           product.as<float>(), static_cast<float*>(y)};
  int faults = FAULT_NONE;
  const int64_t bytes = heads * (width * 4 + 32);
  EDGEGNN_TRY(over_rows(context, csr, bytes, EDGEGNN_PICK(pair_attention_rows), args, &faults));
  return said(faults, csr, source.dims[0], features);
}

template <bool FEATURES>
OrtStatus* dot_attention(void* state, Context& context) {
  constexpr size_t graph = FEATURES ? 4 : 2;
  Tensor query;
  Tensor key;
  Csr csr;
  EdgeFeatures features = {};
  Tensor edge_query = {};
  EDGEGNN_TRY(context.input(0, "query", &query));
  EDGEGNN_TRY(context.input(1, "key", &key));
  EDGEGNN_TRY(read_csr(context, graph, graph + (FEATURES ? 4 : 3), &csr));
  EDGEGNN_TRY(check_ends(key, "key", query, "query", csr.rows));
  const int64_t heads = key.dims[1];
  const int64_t width = key.dims[2];
  void* y = nullptr;
  void* mixed = nullptr;
  const int64_t dims[] = {csr.entries, heads};
  EDGEGNN_TRY(context.output(0, dims, 2, &y));
  if constexpr (FEATURES) {
    EDGEGNN_TRY(read_features(context, 3, 7, csr.entries, &features));
    EDGEGNN_TRY(context.input(2, "edge_query", &edge_query));
    if (edge_query.rank != 3 || edge_query.dims[0] != csr.rows || edge_query.dims[1] != heads || edge_query.dims[2] != features.width) {
      return invalid("edge_query must have the shape [num_rows, H, D]");
    }
    const int64_t mixed_dims[] = {csr.rows, heads, features.width};
    EDGEGNN_TRY(context.output(1, mixed_dims, 3, &mixed));
  }
  if (csr.rows * heads == 0) return check_range("col", csr.col, csr.entries, key.dims[0]);
  const DotArgs args = {query.as<float>(), key.as<float>(), heads,    width,
                        key.dims[0],       csr.indptr,      csr.col,  csr.entries, static_cast<Number*>(state)->value,
                        features,          edge_query.as<float>(),    static_cast<float*>(y), static_cast<float*>(mixed)};
  int faults = FAULT_NONE;
  const int64_t bytes = heads * (width * 4 + 32 + features.width * 4);
  EDGEGNN_TRY(over_rows(context, csr, bytes, EDGEGNN_PICK(dot_attention_rows), args, &faults));
  return said(faults, csr, key.dims[0], features);
}

constexpr Op kOps[] = {
    {"PairAttention", "fffiiil", "f", pair_attention<false>, sizeof(Number), create_pair},
    {"PairAttentionEdges", "fffffiiiil", "f", pair_attention<true>, sizeof(Number), create_pair},
    {"DotAttention", "ffiiil", "f", dot_attention<false>, sizeof(Number), create_dot},
    {"DotAttentionEdges", "ffffiiiil", "ff", dot_attention<true>, sizeof(Number), create_dot},
};

}  // namespace

OpTable edge_attention_ops() { return table_of(kOps); }

}  // namespace edgegnn
