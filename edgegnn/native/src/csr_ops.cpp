// CooToCsr, IndexToCsr, CsrDegree.

#include "compress.h"
#include "csr.h"
#include "ops.h"

namespace edgegnn {
namespace {

struct SortState {
  Scratch scratch;
  bool self_loops;
};

OrtStatus* create_coo(void* memory, const Info& info) {
  const int64_t self_loops = info.attribute("self_loops", int64_t{0});
  if (self_loops != 0 && self_loops != 1) return invalid("self_loops must be 0 or 1");
  static_cast<SortState*>(memory)->self_loops = self_loops == 1;
  return nullptr;
}

void destroy_sort(void* memory) { static_cast<SortState*>(memory)->scratch.free_all(); }

OrtStatus* empty_output(Context& context, size_t i) {
  const int64_t none = 0;
  void* data = nullptr;
  return context.output(i, &none, 1, &data);
}

OrtStatus* coo_to_csr(void* memory, Context& context) {
  auto* state = static_cast<SortState*>(memory);
  Tensor list;
  EdgeList edges = {};
  EDGEGNN_TRY(context.input(0, "edge_index", &list));
  EDGEGNN_TRY(context.size_input(1, "num_rows", &edges.rows));
  EDGEGNN_TRY(context.size_input(2, "num_cols", &edges.columns));
  if (list.rank != 2 || list.dims[0] != 2) return invalid("edge_index must have the shape [2, E]");
  if (state->self_loops && edges.rows != edges.columns) return invalid("self_loops needs num_rows = num_cols");
  edges.count = list.dims[1];
  edges.source = list.as<int64_t>();
  edges.target = edges.source + edges.count;
  edges.self_loops = state->self_loops;
  if (context.wants_output(2)) EDGEGNN_TRY(empty_output(context, 2));
  return compress(context, edges, {0, 1, context.wants_output(3) ? 3 : -1}, &state->scratch);
}

OrtStatus* index_to_csr(void* memory, Context& context) {
  Tensor index;
  EdgeList edges = {};
  EDGEGNN_TRY(context.input(0, "index", &index));
  EDGEGNN_TRY(context.size_input(1, "num_rows", &edges.rows));
  if (index.rank != 1) return invalid("index must have the shape [E]");
  edges.count = index.count;
  edges.target = index.as<int64_t>();
  EDGEGNN_TRY(empty_output(context, 1));
  return compress(context, edges, {0, -1, 2}, &static_cast<SortState*>(memory)->scratch);
}

OrtStatus* csr_degree(void*, Context& context) {
  Csr csr;
  EDGEGNN_TRY(read_rows(context, 0, 2, &csr));
  void* data = nullptr;
  EDGEGNN_TRY(context.output(0, &csr.rows, 1, &data));
  auto* degree = static_cast<float*>(data);
  for (int64_t r = 0; r < csr.rows; ++r) degree[r] = static_cast<float>(csr.indptr[r + 1] - csr.indptr[r]);
  return nullptr;
}

constexpr Op kOps[] = {
    {"CooToCsr", "lll", "iii?i?", coo_to_csr, sizeof(SortState), create_coo, destroy_sort},
    {"IndexToCsr", "ll", "iii", index_to_csr, sizeof(SortState), nullptr, destroy_sort},
    {"CsrDegree", "iil", "f", csr_degree},
};

}  // namespace

OpTable csr_ops() { return table_of(kOps); }

}  // namespace edgegnn
