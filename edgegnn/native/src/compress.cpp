// A stable counting sort by destination, in two levels so that it runs in parallel and in cache.
//
//     1  in chunks of the list:   count the edges of each bucket of rows
//     2  in chunks of the list:   move edges to their bucket, as one small record each, in order
//     3  in buckets:              count the edges of each row, then move them to their row, in order
//
// A list that is in order already is only checked and narrowed; a short one is sorted in one go by the calling thread.

#include "compress.h"

#include <string.h>

namespace edgegnn {
namespace {

constexpr int64_t kChunk = 32768;         // edges of a work item
constexpr int64_t kSerial = 2 * kChunk;   // lists up to here are sorted by the calling thread
constexpr int64_t kBlock = 2048;          // edges that are checked, then read again from the first-level cache
constexpr int64_t kBucketEdges = 16384;   // wanted in a bucket: their records fit the second-level cache of any processor
constexpr int kMostBuckets = 1024;

// Whether all values are in [0, bound). The sign of value | (bound - 1 - value) says so, which SSE2 can do for 64-bit numbers.
bool in_range(const int64_t* values, int64_t count, int64_t bound) {
  uint64_t bad = 0;
  for (int64_t i = 0; i < count; ++i) {
    const auto value = static_cast<uint64_t>(values[i]);
    bad |= value | (static_cast<uint64_t>(bound - 1) - value);
  }
  return (bad >> 63) == 0;
}

bool in_order(const int64_t* values, int64_t count) {  // values that are in range
  uint64_t bad = 0;
  for (int64_t i = 1; i < count; ++i) bad |= static_cast<uint64_t>(values[i]) - static_cast<uint64_t>(values[i - 1]);
  return (bad >> 63) == 0;
}

OrtStatus* bad_index(const EdgeList& edges) {
  for (int64_t e = 0; e < edges.count; ++e) {
    const int64_t target = edges.target[e];
    if (target < 0 || target >= edges.rows) {
      return invalid("%s%lld] = %lld is outside [0, num_rows = %lld)", edges.source != nullptr ? "edge_index[1, " : "index[",
                     static_cast<long long>(e), static_cast<long long>(target), static_cast<long long>(edges.rows));
    }
    if (edges.source == nullptr) continue;
    const int64_t source = edges.source[e];
    if (source < 0 || source >= edges.columns) {
      return invalid("edge_index[0, %lld] = %lld is outside [0, num_cols = %lld)", static_cast<long long>(e),
                     static_cast<long long>(source), static_cast<long long>(edges.columns));
    }
  }
  return invalid("edge_index has an element out of range");
}

bool block_in_range(const EdgeList& edges, int64_t begin, int64_t end) {
  return in_range(edges.target + begin, end - begin, edges.rows) &&
         (edges.source == nullptr || in_range(edges.source + begin, end - begin, edges.columns));
}

struct Result {
  int32_t* indptr;
  int32_t* col;   // null: not wanted
  int32_t* perm;  // null: not wanted
};

OrtStatus* allocate(Context& context, const Outputs& outputs, int64_t rows, int64_t entries, bool identity, Result* out) {
  const int64_t pointers = rows + 1;
  const int64_t perm_entries = identity ? 0 : entries;
  void* data = nullptr;
  EDGEGNN_TRY(context.output(static_cast<size_t>(outputs.indptr), &pointers, 1, &data));
  out->indptr = static_cast<int32_t*>(data);
  out->col = nullptr;
  out->perm = nullptr;
  if (outputs.col >= 0) {
    EDGEGNN_TRY(context.output(static_cast<size_t>(outputs.col), &entries, 1, &data));
    out->col = static_cast<int32_t*>(data);
  }
  if (outputs.perm >= 0) {
    EDGEGNN_TRY(context.output(static_cast<size_t>(outputs.perm), &perm_entries, 1, &data));
    out->perm = identity ? nullptr : static_cast<int32_t*>(data);
  }
  return nullptr;
}

// Edges [begin, end) of a list that is in order: their columns, and the pointers of the rows that begin among them.
void narrow(const EdgeList& edges, const Result& result, int64_t begin, int64_t end) {
  if (result.col != nullptr) {
    for (int64_t e = begin; e < end; ++e) result.col[e] = static_cast<int32_t>(edges.source[e]);
  }
  int64_t row = begin == 0 ? -1 : edges.target[begin - 1];
  for (int64_t e = begin; e < end; ++e) {
    const int64_t target = edges.target[e];
    while (row < target) result.indptr[++row] = static_cast<int32_t>(e);
  }
  if (end == edges.count) {
    while (row < edges.rows) result.indptr[++row] = static_cast<int32_t>(end);
  }
}

// Turns the counts of rows [first, last), each in indptr[row + 1], into the positions where the rows begin.
void accumulate(int32_t* indptr, int64_t first, int64_t last, int64_t at) {
  for (int64_t r = first; r < last; ++r) {
    const int32_t entries = indptr[r + 1];
    indptr[r + 1] = static_cast<int32_t>(at);
    at += entries;
  }
}

// The loops of rows [first, last): the last entry of each, since they are the last ones of the list.
void append_loops(const Result& result, int64_t first, int64_t last, int64_t kept) {
  for (int64_t r = first; r < last; ++r) {
    const int32_t at = result.indptr[r + 1]++;
    if (result.col != nullptr) result.col[at] = static_cast<int32_t>(r);
    if (result.perm != nullptr) result.perm[at] = static_cast<int32_t>(kept + r);
  }
}

OrtStatus* compress_serial(Context& context, const EdgeList& edges, const Outputs& outputs) {
  int64_t kept = edges.count;
  if (edges.self_loops) {
    for (int64_t e = 0; e < edges.count; ++e) kept -= edges.source[e] == edges.target[e];
  }
  const bool loops = edges.self_loops;
  const bool identity = !loops && in_order(edges.target, edges.count);
  Result result;
  EDGEGNN_TRY(allocate(context, outputs, edges.rows, kept + (loops ? edges.rows : 0), identity, &result));
  if (identity) {
    narrow(edges, result, 0, edges.count);
    return nullptr;
  }
  int32_t* const indptr = result.indptr;
  indptr[0] = 0;
  for (int64_t r = 0; r < edges.rows; ++r) indptr[r + 1] = loops ? 1 : 0;
  for (int64_t e = 0; e < edges.count; ++e) {
    indptr[edges.target[e] + 1] += !loops || edges.source[e] != edges.target[e];
  }
  accumulate(indptr, 0, edges.rows, 0);
  int32_t position = 0;
  for (int64_t e = 0; e < edges.count; ++e) {
    const int64_t target = edges.target[e];
    if (loops && edges.source[e] == target) continue;
    const int32_t at = indptr[target + 1]++;  // from where the row begins to where it ends: what indptr has to be
    if (result.col != nullptr) result.col[at] = static_cast<int32_t>(edges.source[e]);
    if (result.perm != nullptr) result.perm[at] = position;
    ++position;
  }
  if (loops) append_loops(result, 0, edges.rows, kept);
  return nullptr;
}

// An edge on its way to its row: the row's number within the bucket, the source, the position in the list. In four or eight bytes
// when they fit, since moving them is what the sort costs.
struct Layout {
  int shift;  // log2 of the rows of a bucket
  int source_bits;
};

struct Wide {
  uint32_t row, source, position;
};

inline void pack(uint32_t* out, const Layout& layout, uint32_t row, uint32_t source, uint32_t) {
  *out = row | static_cast<uint32_t>(static_cast<uint64_t>(source) << layout.shift);
}
inline void pack(uint64_t* out, const Layout& layout, uint32_t row, uint32_t source, uint32_t position) {
  *out = row | (source | static_cast<uint64_t>(position) << layout.source_bits) << layout.shift;
}
inline void pack(Wide* out, const Layout&, uint32_t row, uint32_t source, uint32_t position) {
  *out = {row, source, position};
}
inline uint32_t low_bits(uint64_t value, int bits) { return static_cast<uint32_t>(value & ((uint64_t{1} << bits) - 1)); }
inline uint32_t row_of(uint64_t record, const Layout& layout) { return low_bits(record, layout.shift); }
inline uint32_t row_of(const Wide& record, const Layout&) { return record.row; }
inline uint32_t source_of(uint64_t record, const Layout& layout) { return low_bits(record >> layout.shift, layout.source_bits); }
inline uint32_t source_of(const Wide& record, const Layout&) { return record.source; }
inline uint32_t position_of(uint64_t record, const Layout& layout) { return static_cast<uint32_t>(record >> layout.shift >> layout.source_bits); }
inline uint32_t position_of(const Wide& record, const Layout&) { return record.position; }

int bits_for(int64_t values) {  // to tell so many values apart
  int bits = 0;
  while ((int64_t{1} << bits) < values) ++bits;
  return bits;
}

struct Plan {
  Layout layout;
  int64_t chunks;
  int64_t buckets;
};

Plan plan_for(const EdgeList& edges) {
  Plan plan;
  const int wanted_bits = bits_for(edges.count / kBucketEdges);
  const int row_bits = bits_for(edges.rows);
  plan.layout.shift = row_bits > wanted_bits ? row_bits - wanted_bits : 0;
  while ((edges.rows - 1) >> plan.layout.shift >= kMostBuckets) ++plan.layout.shift;
  plan.layout.source_bits = edges.source == nullptr ? 0 : bits_for(edges.columns);
  plan.chunks = (edges.count + kChunk - 1) / kChunk;
  plan.buckets = ((edges.rows - 1) >> plan.layout.shift) + 1;
  return plan;
}

int64_t chunk_end(const EdgeList& edges, int64_t chunk) {
  const int64_t end = (chunk + 1) * kChunk;
  return end < edges.count ? end : edges.count;
}

// Step 1: the edges of each bucket in a chunk, those that are kept. False: an index is out of range.
bool count_buckets(const EdgeList& edges, const Layout& layout, int64_t chunk, int32_t* counts) {
  const int64_t end = chunk_end(edges, chunk);
  for (int64_t begin = chunk * kChunk; begin < end; begin += kBlock) {
    const int64_t stop = begin + kBlock < end ? begin + kBlock : end;
    if (!block_in_range(edges, begin, stop)) return false;
    if (edges.self_loops) {
      for (int64_t e = begin; e < stop; ++e) counts[edges.target[e] >> layout.shift] += edges.source[e] != edges.target[e];
    } else {
      for (int64_t e = begin; e < stop; ++e) ++counts[edges.target[e] >> layout.shift];
    }
  }
  return true;
}

// Step 2: `at` has the place of the chunk's first record in each bucket; `position` is that of the chunk's first kept edge.
template <typename Record>
void move_to_buckets(const EdgeList& edges, const Layout layout, int64_t chunk, int32_t* at, uint32_t position, Record* records) {
  const int64_t* const source = edges.source;
  const int64_t* const target = edges.target;
  const uint32_t mask = (uint32_t{1} << layout.shift) - 1;
  const int64_t end = chunk_end(edges, chunk);
  if (edges.self_loops) {
    for (int64_t e = chunk * kChunk; e < end; ++e) {
      if (source[e] == target[e]) continue;
      const auto row = static_cast<uint32_t>(target[e]);
      pack(&records[at[row >> layout.shift]++], layout, row & mask, static_cast<uint32_t>(source[e]), position++);
    }
  } else {
    for (int64_t e = chunk * kChunk; e < end; ++e) {
      const auto row = static_cast<uint32_t>(target[e]);
      pack(&records[at[row >> layout.shift]++], layout, row & mask, source == nullptr ? 0 : static_cast<uint32_t>(source[e]), position++);
    }
  }
}

// Step 3: the records [begin, end) of a bucket to their rows.
template <typename Record>
void move_to_rows(const EdgeList& edges, const Layout layout, int64_t bucket, const Record* records, int64_t begin, int64_t end, int64_t kept, const Result& result) {
  const int64_t first = bucket << layout.shift;
  const int64_t next = (bucket + 1) << layout.shift;
  const int64_t last = next < edges.rows ? next : edges.rows;
  int32_t* const indptr = result.indptr;
  int32_t* const counts = indptr + first + 1;
  int32_t* const col = result.col;
  int32_t* const perm = result.perm;
  for (int64_t r = 0; r < last - first; ++r) counts[r] = edges.self_loops ? 1 : 0;
  for (int64_t i = begin; i < end; ++i) ++counts[row_of(records[i], layout)];
  accumulate(indptr, first, last, begin + (edges.self_loops ? first : 0));
  for (int64_t i = begin; i < end; ++i) {
    const Record record = records[i];
    const int32_t at = counts[row_of(record, layout)]++;
    if (col != nullptr) col[at] = static_cast<int32_t>(source_of(record, layout));
    if (perm != nullptr) perm[at] = static_cast<int32_t>(position_of(record, layout));
  }
  if (edges.self_loops) append_loops(result, first, last, kept);
}

template <typename Record>
OrtStatus* move(Context& context, const EdgeList& edges, const Plan& plan, int32_t* places, const int32_t* positions, const int64_t* bucket_begin, int64_t kept, Record* records, const Result& result) {
  EDGEGNN_TRY(parallel_for(context, plan.chunks, [&](int64_t chunk) {
    move_to_buckets(edges, plan.layout, chunk, places + chunk * plan.buckets, static_cast<uint32_t>(positions[chunk]), records);
  }));
  return parallel_for(context, plan.buckets, [&](int64_t bucket) {
    move_to_rows(edges, plan.layout, bucket, records, bucket_begin[bucket], bucket_begin[bucket + 1], kept, result);
  });
}

OrtStatus* compress_in_order(Context& context, const EdgeList& edges, const Outputs& outputs, bool* done) {
  const int64_t chunks = (edges.count + kChunk - 1) / kChunk;
  int wrong = 0;  // 1: out of order, 2: out of range
  EDGEGNN_TRY(parallel_for(context, chunks, [&](int64_t chunk) {
    const int64_t begin = chunk * kChunk;
    const int64_t end = chunk_end(edges, chunk);
    for (int64_t at = begin; at < end; at += kBlock) {
      const int64_t stop = at + kBlock < end ? at + kBlock : end;
      const int64_t from = at == 0 ? 0 : at - 1;
      const int bits = (block_in_range(edges, at, stop) ? 0 : 2) | (in_order(edges.target + from, stop - from) ? 0 : 1);
      if (bits != 0) __atomic_fetch_or(&wrong, bits, __ATOMIC_RELAXED);
      if ((__atomic_load_n(&wrong, __ATOMIC_RELAXED)) != 0) return;
    }
  }));
  *done = wrong != 1;
  if (wrong == 1) return nullptr;
  if (wrong != 0) return bad_index(edges);
  Result result;
  EDGEGNN_TRY(allocate(context, outputs, edges.rows, edges.count, true, &result));
  return parallel_for(context, chunks, [&](int64_t chunk) { narrow(edges, result, chunk * kChunk, chunk_end(edges, chunk)); });
}

OrtStatus* compress_parallel(Context& context, const EdgeList& edges, const Outputs& outputs, Scratch* scratch) {
  const Plan plan = plan_for(edges);
  const Layout& layout = plan.layout;
  const bool perm = outputs.perm >= 0;
  const int bits = layout.shift + layout.source_bits;
  const bool narrow_records = !perm && bits <= 32;
  const bool packed_records = bits + bits_for(edges.count) <= 64;
  const size_t record_bytes = narrow_records ? sizeof(uint32_t) : packed_records ? sizeof(uint64_t) : sizeof(Wide);
  const auto counts_count = static_cast<size_t>(plan.chunks * plan.buckets);
  const size_t begin_bytes = static_cast<size_t>(plan.buckets + 1) * sizeof(int64_t);
  const size_t counts_bytes = counts_count * sizeof(int32_t);
  const size_t positions_bytes = static_cast<size_t>(plan.chunks) * sizeof(int32_t);
  const size_t head_bytes = (begin_bytes + counts_bytes + positions_bytes + 63) / 64 * 64;
  const size_t bytes = head_bytes + record_bytes * static_cast<size_t>(edges.count);
  auto* memory = static_cast<char*>(scratch->take(bytes));
  if (memory == nullptr) return out_of_memory(bytes);
  auto* bucket_begin = reinterpret_cast<int64_t*>(memory);
  auto* counts = reinterpret_cast<int32_t*>(memory + begin_bytes);
  auto* positions = counts + counts_count;
  void* records = memory + head_bytes;
  memset(counts, 0, counts_bytes);

  bool bad = false;
  OrtStatus* status = parallel_for(context, plan.chunks, [&](int64_t chunk) {
    if (!count_buckets(edges, layout, chunk, counts + chunk * plan.buckets)) __atomic_store_n(&bad, true, __ATOMIC_RELAXED);
  });
  if (status == nullptr && bad) status = bad_index(edges);
  Result result;
  int64_t kept = 0;
  if (status == nullptr) {
    // Counts to places: buckets one after the other, the chunks of a bucket in order.
    memset(positions, 0, positions_bytes);
    for (int64_t bucket = 0; bucket < plan.buckets; ++bucket) {
      bucket_begin[bucket] = kept;
      for (int64_t chunk = 0; chunk < plan.chunks; ++chunk) {
        int32_t& place = counts[chunk * plan.buckets + bucket];
        const int32_t here = place;
        positions[chunk] += here;
        place = static_cast<int32_t>(kept);
        kept += here;
      }
    }
    bucket_begin[plan.buckets] = kept;
    int32_t before = 0;
    for (int64_t chunk = 0; chunk < plan.chunks; ++chunk) {
      const int32_t here = positions[chunk];
      positions[chunk] = before;
      before += here;
    }
    status = allocate(context, outputs, edges.rows, kept + (edges.self_loops ? edges.rows : 0), false, &result);
  }
  if (status == nullptr) {
    result.indptr[0] = 0;
    if (narrow_records) {
      status = move(context, edges, plan, counts, positions, bucket_begin, kept, static_cast<uint32_t*>(records), result);
    } else if (packed_records) {
      status = move(context, edges, plan, counts, positions, bucket_begin, kept, static_cast<uint64_t*>(records), result);
    } else {
      status = move(context, edges, plan, counts, positions, bucket_begin, kept, static_cast<Wide*>(records), result);
    }
  }
  scratch->give_back(memory);
  return status;
}

}  // namespace

OrtStatus* compress(Context& context, const EdgeList& edges, const Outputs& outputs, Scratch* scratch) {
  if (edges.count + (edges.self_loops ? edges.rows : 0) > INT32_MAX) return invalid("more than 2^31 - 1 edges");
  if (edges.count <= kSerial) {
    for (int64_t begin = 0; begin < edges.count; begin += kBlock) {
      const int64_t end = begin + kBlock < edges.count ? begin + kBlock : edges.count;
      if (!block_in_range(edges, begin, end)) return bad_index(edges);
    }
    return compress_serial(context, edges, outputs);
  }
  if (edges.rows == 0) return bad_index(edges);
  if (!edges.self_loops && in_order(edges.target, kBlock)) {
    bool done = false;
    EDGEGNN_TRY(compress_in_order(context, edges, outputs, &done));
    if (done) return nullptr;
  }
  return compress_parallel(context, edges, outputs, scratch);
}

}  // namespace edgegnn
