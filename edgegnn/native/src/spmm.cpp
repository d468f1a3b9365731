// SpMM, SpMMMean, SpMMMax, SpMMMin, SpMMWeighted, SegmentSum, SegmentMean, SegmentMax, SegmentMin.

#include "spmm.h"

#include "csr.h"
#include "ops.h"

namespace edgegnn {
namespace {

// Allocates output 0 as `shape` with its first dimension replaced by the number of rows.
OrtStatus* output_like(const Context& context, const Tensor& shape, int64_t rows, void** out) {
  int64_t dims[kMaxRank];
  for (int i = 0; i < shape.rank; ++i) dims[i] = shape.dims[i];
  dims[0] = rows;
  return context.output(0, dims, static_cast<size_t>(shape.rank), out);
}

OrtStatus* reduce(Context& context, const Csr& csr, const int32_t* col, const Tensor& x, const char* index, Reduction reduction) {
  void* y = nullptr;
  EDGEGNN_TRY(output_like(context, x, csr.rows, &y));
  const int64_t width = x.trailing(1);
  // A graph with a bad index is refused even when there is nothing to compute.
  if (csr.rows * width == 0) return check_range(index, col, csr.entries, x.dims[0]);
  const SpmmArgs args = {x.as<float>(), width, x.dims[0], csr.indptr, col, csr.entries, static_cast<float*>(y), reduction};
  int faults = FAULT_NONE;
  EDGEGNN_TRY(over_rows(context, csr, width * static_cast<int64_t>(sizeof(float)), EDGEGNN_PICK(spmm_rows), args, &faults));
  return faults == FAULT_NONE ? nullptr : out_of_range(index, col, csr.entries, x.dims[0]);
}

template <Reduction REDUCTION>
OrtStatus* spmm(void*, Context& context) {
  Tensor x;
  Csr csr;
  EDGEGNN_TRY(context.input(0, "x", &x));
  EDGEGNN_TRY(read_csr(context, 1, 4, &csr));
  if (x.rank < 1) return invalid("x must have at least one dimension");
  return reduce(context, csr, csr.col, x, "col", REDUCTION);
}

template <Reduction REDUCTION>
OrtStatus* segment(void*, Context& context) {
  Tensor messages;
  Csr csr;
  const int32_t* perm = nullptr;
  EDGEGNN_TRY(context.input(0, "messages", &messages));
  EDGEGNN_TRY(read_rows(context, 1, 4, &csr));
  EDGEGNN_TRY(read_perm(context, 3, csr.entries, &perm));
  if (messages.rank < 1 || messages.dims[0] != csr.entries) {
    return invalid("messages must have one row for each of the %lld entries", static_cast<long long>(csr.entries));
  }
  return reduce(context, csr, perm, messages, "perm", REDUCTION);
}

// Number of weights an entry: w is [E], [E, H] or [E, H, 1]. -1: it has another shape.
int64_t weights_an_entry(const Tensor& w, int64_t entries) {
  if (w.rank < 1 || w.rank > 3 || w.dims[0] != entries || (w.rank == 3 && w.dims[2] != 1)) return -1;
  return w.rank == 1 ? 1 : w.dims[1];
}

OrtStatus* spmm_weighted(void*, Context& context) {
  Tensor x;
  Tensor w;
  Csr csr;
  const int32_t* perm = nullptr;
  EDGEGNN_TRY(context.input(0, "x", &x));
  EDGEGNN_TRY(context.input(1, "w", &w));
  EDGEGNN_TRY(read_csr(context, 2, 6, &csr));
  EDGEGNN_TRY(read_perm(context, 5, csr.entries, &perm));
  if (x.rank < 1) return invalid("x must have at least one dimension");
  const int64_t heads = weights_an_entry(w, csr.entries);
  if (heads != 1 && (x.rank != 3 || heads != x.dims[1])) {
    return invalid("w must have the shape [E], [E, 1], or [E, H] when x is [C, H, F], for E = %lld entries",
                   static_cast<long long>(csr.entries));
  }
  void* y = nullptr;
  EDGEGNN_TRY(output_like(context, x, csr.rows, &y));
  const int64_t width = x.trailing(1);
  if (csr.rows * width == 0) return check_range("col", csr.col, csr.entries, x.dims[0]);
  const WeightedArgs args = {x.as<float>(), heads,       width / heads,   x.dims[0], csr.indptr,
                             csr.col,       csr.entries, w.as<float>(), perm,      static_cast<float*>(y)};
  int faults = FAULT_NONE;
  EDGEGNN_TRY(over_rows(context, csr, width * static_cast<int64_t>(sizeof(float)), EDGEGNN_PICK(spmm_weighted_rows), args, &faults));
  if ((faults & FAULT_COL) != 0) return out_of_range("col", csr.col, csr.entries, x.dims[0]);
  if ((faults & FAULT_PERM) != 0) return out_of_range("perm", perm, csr.entries, csr.entries);
  return faults == FAULT_NONE ? nullptr : out_of_memory(0);
}

constexpr Op kOps[] = {
    {"SpMM", "fiiil", "f", spmm<REDUCE_SUM>},
    {"SpMMMean", "fiiil", "f", spmm<REDUCE_MEAN>},
    {"SpMMMax", "fiiil", "f", spmm<REDUCE_MAX>},
    {"SpMMMin", "fiiil", "f", spmm<REDUCE_MIN>},
    {"SpMMWeighted", "ffiiiil", "f", spmm_weighted},
    {"SegmentSum", "fiiil", "f", segment<REDUCE_SUM>},
    {"SegmentMean", "fiiil", "f", segment<REDUCE_MEAN>},
    {"SegmentMax", "fiiil", "f", segment<REDUCE_MAX>},
    {"SegmentMin", "fiiil", "f", segment<REDUCE_MIN>},
};

}  // namespace

OpTable spmm_ops() { return table_of(kOps); }

}  // namespace edgegnn
