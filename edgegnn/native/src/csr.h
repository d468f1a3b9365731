// Compressed rows as the ops hand them to each other, and how the work on them is split.
#pragma once

#include "glue.h"

namespace edgegnn {

// Row r has the entries [indptr[r], indptr[r + 1]). indptr has been checked: it rises from 0 to `entries`. `col` has not been: whoever
// reads through it checks that block of it first (all_below), so that it comes out of the cache.
struct Csr {
  const int32_t* indptr;  // [rows + 1]
  const int32_t* col;     // [entries]
  int64_t rows;
  int64_t entries;
};

// Reads the inputs `indptr`, `col` and, further on, num_rows (input `num_rows_at`) of an op that has `row` right behind `col`.
// `row` is for the function bodies; here it is only looked at to say what is wrong when indptr is empty.
OrtStatus* read_csr(const Context& context, size_t indptr_at, size_t num_rows_at, Csr* out);

// The same for ops that have `indptr`, `row`, but no `col`: the number of entries comes from indptr, col is null.
OrtStatus* read_rows(const Context& context, size_t indptr_at, size_t num_rows_at, Csr* out);

// Reads `perm` (a position in the edge list for each entry, or empty for the identity: null then). Checked for its size only.
OrtStatus* read_perm(const Context& context, size_t at, int64_t entries, const int32_t** out);

// Whether all of values[0, count) are in [0, bound).
static inline bool all_below(const int32_t* values, int64_t count, int64_t bound) {
  if (bound <= 0) return count == 0;
  const auto limit = static_cast<uint32_t>(bound);
  uint32_t bad = 0;
  for (int64_t i = 0; i < count; ++i) bad |= static_cast<uint32_t>(static_cast<uint32_t>(values[i]) >= limit);
  return bad == 0;
}

// Says which index is wrong. Called after a kernel found one.
OrtStatus* out_of_range(const char* name, const int32_t* values, int64_t count, int64_t bound);

// Null when all of values[0, count) are in [0, bound); `values` may be null when there are none to check.
static inline OrtStatus* check_range(const char* name, const int32_t* values, int64_t count, int64_t bound) {
  if (values == nullptr || all_below(values, count, bound)) return nullptr;
  return out_of_range(name, values, count, bound);
}

// Rows cut into blocks of about equal work, where the work of a row is its entries plus one. The cut depends on the graph and on
// `row_bytes` (bytes read for one entry) alone, never on the number of threads; a small graph is one block.
class RowBlocks {
 public:
  RowBlocks(const Csr& csr, int64_t row_bytes);
  int64_t count() const { return count_; }
  // First row of block k; begin(count()) is the number of rows.
  int64_t begin(int64_t k) const;

 private:
  const int32_t* indptr_;
  int64_t rows_;
  int64_t grain_;
  int64_t count_;
};

// Runs kernel(args, begin, end) over blocks of rows on the session's threads. It returns a set of Fault (spmm.h), joined in `*faults`.
template <typename Kernel, typename Args>
OrtStatus* over_rows(const Context& context, const Csr& csr, int64_t row_bytes, Kernel kernel, const Args& args, int* faults) {
  const RowBlocks blocks(csr, row_bytes);
  return parallel_for(context, blocks.count(), [&](int64_t k) {
    const int fault = kernel(args, blocks.begin(k), blocks.begin(k + 1));
    if (fault != 0) __atomic_fetch_or(faults, fault, __ATOMIC_RELAXED);
  });
}

}  // namespace edgegnn
