#include "csr.h"

namespace edgegnn {
namespace {

// 64 to 256 KiB of rows a work item measured the same; a graph of twice that stays on the calling thread (some 10 us of work).
constexpr int64_t kGrainBytes = 128 << 10;

// Whether indptr rises from 0 to `entries`. The sign bits of both an element and its difference to the one before are looked at: each
// alone would miss a wrap around 2^32.
bool rises(const int32_t* indptr, int64_t rows, int64_t entries) {
  uint32_t bad = 0;
  for (int64_t r = 0; r < rows; ++r) {
    const auto next = static_cast<uint32_t>(indptr[r + 1]);
    bad |= (next - static_cast<uint32_t>(indptr[r])) | next;
  }
  return indptr[0] == 0 && indptr[rows] == entries && (bad >> 31) == 0;
}

OrtStatus* check_indptr(const Context& context, size_t row_at, const Tensor& indptr, int64_t rows, int64_t entries) {
  if (indptr.rank == 1 && indptr.count == rows + 1 && rises(indptr.as<int32_t>(), rows, entries)) return nullptr;
  if (indptr.count == 0) {
    Tensor row;
    EDGEGNN_TRY(context.input(row_at, "row", &row));
    if (row.count > 0) return invalid("indptr is empty and row is not: the graph comes from a function body, not from CooToCsr");
  }
  return invalid("indptr must rise from 0 to the number of entries, %lld, and have num_rows + 1 = %lld elements",
                 static_cast<long long>(entries), static_cast<long long>(rows + 1));
}

}  // namespace

OrtStatus* read_csr(const Context& context, size_t indptr_at, size_t num_rows_at, Csr* out) {
  Tensor indptr;
  Tensor col;
  EDGEGNN_TRY(context.input(indptr_at, "indptr", &indptr));
  EDGEGNN_TRY(context.input(indptr_at + 1, "col", &col));
  EDGEGNN_TRY(context.size_input(num_rows_at, "num_rows", &out->rows));
  if (col.rank != 1 || col.count > INT32_MAX) return invalid("col must have the shape [E]");
  EDGEGNN_TRY(check_indptr(context, indptr_at + 2, indptr, out->rows, col.count));
  out->indptr = indptr.as<int32_t>();
  out->col = col.as<int32_t>();
  out->entries = col.count;
  return nullptr;
}

OrtStatus* read_rows(const Context& context, size_t indptr_at, size_t num_rows_at, Csr* out) {
  Tensor indptr;
  EDGEGNN_TRY(context.input(indptr_at, "indptr", &indptr));
  EDGEGNN_TRY(context.size_input(num_rows_at, "num_rows", &out->rows));
  const int64_t entries = indptr.count == 0 ? 0 : indptr.as<int32_t>()[indptr.count - 1];
  EDGEGNN_TRY(check_indptr(context, indptr_at + 1, indptr, out->rows, entries));
  out->indptr = indptr.as<int32_t>();
  out->col = nullptr;
  out->entries = entries;
  return nullptr;
}

OrtStatus* read_perm(const Context& context, size_t at, int64_t entries, const int32_t** out) {
  Tensor perm;
  EDGEGNN_TRY(context.input(at, "perm", &perm));
  if (perm.rank != 1 || (perm.count != 0 && perm.count != entries)) {
    return invalid("perm must be empty or have one element for each of the %lld entries", static_cast<long long>(entries));
  }
  *out = perm.count == 0 ? nullptr : perm.as<int32_t>();
  return nullptr;
}

OrtStatus* out_of_range(const char* name, const int32_t* values, int64_t count, int64_t bound) {
  for (int64_t i = 0; i < count; ++i) {
    if (values[i] < 0 || values[i] >= bound) {
      return invalid("%s[%lld] = %d is outside [0, %lld)", name, static_cast<long long>(i), values[i], static_cast<long long>(bound));
    }
  }
  return invalid("%s has an element outside [0, %lld)", name, static_cast<long long>(bound));
}

RowBlocks::RowBlocks(const Csr& csr, int64_t row_bytes) : indptr_(csr.indptr), rows_(csr.rows) {
  const int64_t work = csr.entries + csr.rows;
  grain_ = kGrainBytes / (row_bytes < 1 ? 1 : row_bytes);
  if (grain_ < 16) grain_ = 16;
  count_ = work <= 2 * grain_ ? 1 : (work + grain_ - 1) / grain_;
}

int64_t RowBlocks::begin(int64_t k) const {
  if (k <= 0) return 0;
  if (k >= count_) return rows_;
  const int64_t wanted = k * grain_;
  int64_t low = 0;
  int64_t high = rows_;
  while (low < high) {  // the first row with at least `wanted` work before it
    const int64_t middle = (low + high) >> 1;
    if (indptr_[middle] + middle < wanted) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return low;
}

}  // namespace edgegnn
