// CooToCsr, IndexToCsr, CsrDegree: from an edge list to compressed rows.

#include <string.h>

#include "ops.h"

namespace edgegnn {
namespace {

struct CooState {
  int64_t self_loops;
};

OrtStatus* create_coo(void* memory, const Info& info) {
  auto* state = static_cast<CooState*>(memory);
  state->self_loops = info.attribute("self_loops", int64_t{0});
  return nullptr;
}

OrtStatus* coo_to_csr(void*, Context& context) {
  Tensor edges;
  int64_t rows = 0;
  int64_t cols = 0;
  EDGEGNN_TRY(context.input(0, "edge_index", &edges));
  EDGEGNN_TRY(context.size_input(1, "num_rows", &rows));
  EDGEGNN_TRY(context.size_input(2, "num_cols", &cols));
  if (edges.rank != 2 || edges.dims[0] != 2) return invalid("edge_index must have the shape [2, E]");
  const int64_t count = edges.dims[1];
  const int64_t* source = edges.as<int64_t>();
  const int64_t* target = source + count;
  for (int64_t e = 0; e < count; ++e) {
    if (source[e] < 0 || source[e] >= cols) return invalid("edge_index[0, %lld] = %lld is outside [0, num_cols = %lld)", (long long)e, (long long)source[e], (long long)cols);
    if (target[e] < 0 || target[e] >= rows) return invalid("edge_index[1, %lld] = %lld is outside [0, num_rows = %lld)", (long long)e, (long long)target[e], (long long)rows);
  }
  void *indptr_, *col_, *row_, *perm_;
  const int64_t n = rows + 1;
  const int64_t none = 0;
  EDGEGNN_TRY(context.output(0, &n, 1, &indptr_));
  EDGEGNN_TRY(context.output(1, &count, 1, &col_));
  EDGEGNN_TRY(context.output(2, &none, 1, &row_));
  EDGEGNN_TRY(context.output(3, &count, 1, &perm_));
  auto* indptr = static_cast<int32_t*>(indptr_);
  auto* col = static_cast<int32_t*>(col_);
  auto* perm = static_cast<int32_t*>(perm_);
  memset(indptr, 0, sizeof(int32_t) * static_cast<size_t>(n));
  for (int64_t e = 0; e < count; ++e) ++indptr[target[e] + 1];
  for (int64_t r = 0; r < rows; ++r) indptr[r + 1] += indptr[r];
  for (int64_t e = 0; e < count; ++e) {
    const int32_t at = indptr[target[e]]++;
    col[at] = static_cast<int32_t>(source[e]);
    perm[at] = static_cast<int32_t>(e);
  }
  memmove(indptr + 1, indptr, sizeof(int32_t) * static_cast<size_t>(rows));
  indptr[0] = 0;
  return nullptr;
}

constexpr Op kOps[] = {
    {"CooToCsr", "lll", "iiii", coo_to_csr, sizeof(CooState), create_coo},
};

}  // namespace

OpTable csr_ops() { return table_of(kOps); }

}  // namespace edgegnn
