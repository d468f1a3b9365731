// SegmentSoftmax, AttentionSpMM.

#include <cstring>

#include "csr.h"
#include "ops.h"
#include "spmm.h"

namespace edgegnn {
namespace {

OrtStatus* segment_softmax(void*, Context& context) {
  Tensor logits;
  Csr csr;
  const int32_t* perm = nullptr;
  EDGEGNN_TRY(context.input(0, "logits", &logits));
  EDGEGNN_TRY(read_rows(context, 1, 4, &csr));
  EDGEGNN_TRY(read_perm(context, 3, csr.entries, &perm));
  if (logits.rank < 1 || logits.rank > 2 || logits.dims[0] != csr.entries) {
    return invalid("logits must have the shape [E] or [E, H], for E = %lld entries", static_cast<long long>(csr.entries));
  }
  void* y = nullptr;
  EDGEGNN_TRY(context.output(0, logits.dims, static_cast<size_t>(logits.rank), &y));
  if (logits.count == 0) return nullptr;
  // Of a perm that names an entry twice, another one is never written.
  if (perm != nullptr) std::memset(y, 0, static_cast<size_t>(logits.count) * sizeof(float));
  const int64_t heads = logits.trailing(1);
  const SoftmaxArgs args = {logits.as<float>(), heads, csr.indptr, csr.entries, perm, static_cast<float*>(y)};
  int faults = FAULT_NONE;
  const int64_t bytes = heads * 32;  // the exponential makes an entry dearer than what is read for it
  EDGEGNN_TRY(over_rows(context, csr, bytes, EDGEGNN_PICK(softmax_rows), args, &faults));
  if ((faults & FAULT_PERM) != 0) return out_of_range("perm", perm, csr.entries, csr.entries);
  return faults == FAULT_NONE ? nullptr : out_of_memory(0);
}

struct AttentionState {
  float slope;
};

OrtStatus* create_attention(void* memory, const Info& info) {
  static_cast<AttentionState*>(memory)->slope = info.attribute("negative_slope", 0.2f);
  return nullptr;
}

OrtStatus* attention_spmm(void* memory, Context& context) {
  Tensor x;
  Tensor a_src;
  Tensor a_dst;
  Csr csr;
  EDGEGNN_TRY(context.input(0, "x", &x));
  EDGEGNN_TRY(context.input(1, "a_src", &a_src));
  EDGEGNN_TRY(context.input(2, "a_dst", &a_dst));
  EDGEGNN_TRY(read_csr(context, 3, 6, &csr));
  if (x.rank != 3) return invalid("x must have the shape [C, H, F]");
  const int64_t columns = x.dims[0];
  const int64_t heads = x.dims[1];
  if (a_src.rank != 2 || a_src.dims[0] != columns || a_src.dims[1] != heads) return invalid("a_src must have the shape [C, H] of x");
  if (a_dst.rank != 2 || a_dst.dims[0] != csr.rows || a_dst.dims[1] != heads) return invalid("a_dst must have the shape [num_rows, H]");
  void* y = nullptr;
  const int64_t dims[] = {csr.rows, heads, x.dims[2]};
  EDGEGNN_TRY(context.output(0, dims, 3, &y));
  if (csr.rows * heads * x.dims[2] == 0) return check_range("col", csr.col, csr.entries, columns);
  const AttentionArgs args = {x.as<float>(), a_src.as<float>(), a_dst.as<float>(), heads,
                              x.dims[2],     columns,           csr.indptr,        csr.col,
                              csr.entries,   static_cast<AttentionState*>(memory)->slope, static_cast<float*>(y)};
  int faults = FAULT_NONE;
  EDGEGNN_TRY(over_rows(context, csr, (x.dims[2] * 4 + 16) * heads, EDGEGNN_PICK(attention_rows), args, &faults));
  if ((faults & FAULT_COL) != 0) return out_of_range("col", csr.col, csr.entries, columns);
  return faults == FAULT_NONE ? nullptr : out_of_memory(0);
}

constexpr Op kOps[] = {
    {"SegmentSoftmax", "fiiil", "f", segment_softmax},
    {"AttentionSpMM", "fffiiil", "f", attention_spmm, sizeof(AttentionState), create_attention},
};

}  // namespace

OpTable attention_ops() { return table_of(kOps); }

}  // namespace edgegnn
