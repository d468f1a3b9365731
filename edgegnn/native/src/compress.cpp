// A stable counting sort by destination, in two levels so that it runs in parallel and in cache.
//
//     1  in chunks of the list:   count the edges of each bucket of rows
//     2  in the same chunk:       write its edges bucket by bucket, as one small record each, in order
//     3  in buckets:              count the edges of each row, then move them to their row, chunk after chunk
//
// So the list comes from memory once and the records go there once. A list that is in order already is only checked and narrowed; a short
// one is sorted in one go by the calling thread.

#include "compress.h"

#include <string.h>

namespace edgegnn {
namespace {

constexpr int64_t kChunk = 32768;         // edges of a work item
constexpr int64_t kSerial = 2 * kChunk;   // lists up to here are sorted by the calling thread
constexpr int64_t kBlock = 2048;          // edges that are checked, then read again from the first-level cache
constexpr int64_t kBucketEdges = 4096;  // wanted in a bucket: its columns and positions fit the first-level cache
constexpr int kMostBucketBits = 10;
constexpr int64_t kMostRows = 1 << 24;  // without an edge; 64 MB of row pointers
constexpr int64_t kRowsPerEdge = 64;

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

// An edge on its way to its row, in one number, since moving it is what the sort costs: from the low bits on the row's number within
// its bucket, the source, and the position within the chunk. Four bytes when the position is not wanted and the rest fits.
struct Layout {
  int shift;  // log2 of the rows of a bucket
  int source_bits;
};

constexpr int kPositionBits = 15;
static_assert(kChunk <= int64_t{1} << kPositionBits, "a position within a chunk has to fit");

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
  const int row_bits = bits_for(edges.rows);
  int bucket_bits = bits_for(edges.count / kBucketEdges);
  if (bucket_bits > kMostBucketBits) bucket_bits = kMostBucketBits;
  plan.layout.source_bits = edges.source == nullptr ? 0 : bits_for(edges.columns);
  plan.layout.shift = row_bits > bucket_bits ? row_bits - bucket_bits : 0;
  const int room = 64 - kPositionBits - plan.layout.source_bits;  // at least 18
  if (plan.layout.shift > room) plan.layout.shift = room;
  plan.chunks = (edges.count + kChunk - 1) / kChunk;
  plan.buckets = ((edges.rows - 1) >> plan.layout.shift) + 1;
  return plan;
}

int64_t chunk_end(const EdgeList& edges, int64_t chunk) {
  const int64_t end = (chunk + 1) * kChunk;
  return end < edges.count ? end : edges.count;
}

// Brings memory that is about to be written all over the place into the cache, which is much faster in order.
template <typename T>
inline void fetch_to_write(T* begin, int64_t count) {
  for (int64_t i = 0; i < count; i += static_cast<int64_t>(64 / sizeof(T))) __builtin_prefetch(begin + i, 1);
}

// Steps 1 and 2: a chunk's edges as records ordered by bucket. `ends` becomes where each bucket ends. Returns the number of edges kept;
// -1: an index is out of range.
template <typename Record>
int32_t sort_chunk(const EdgeList& edges, const Layout layout, int64_t buckets, int64_t chunk, int32_t* ends, Record* records) {
  const int64_t first = chunk * kChunk;
  const int64_t count = chunk_end(edges, chunk) - first;
  const int64_t* const source = edges.source == nullptr ? nullptr : edges.source + first;
  const int64_t* const target = edges.target + first;
  const int shift = layout.shift;
  const bool loops = edges.self_loops;
  memset(ends, 0, static_cast<size_t>(buckets) * sizeof(int32_t));
  for (int64_t begin = 0; begin < count; begin += kBlock) {
    const int64_t stop = begin + kBlock < count ? begin + kBlock : count;
    if (!block_in_range(edges, first + begin, first + stop)) return -1;
    fetch_to_write(records + begin, stop - begin);
    if (loops) {
      for (int64_t e = begin; e < stop; ++e) ends[target[e] >> shift] += source[e] != target[e];
    } else {
      for (int64_t e = begin; e < stop; ++e) ++ends[target[e] >> shift];
    }
  }
  int32_t kept = 0;
  for (int64_t bucket = 0; bucket < buckets; ++bucket) {
    const int32_t here = ends[bucket];
    ends[bucket] = kept;
    kept += here;
  }
  const uint64_t mask = (uint64_t{1} << shift) - 1;
  const int source_shift = shift;
  const int position_shift = shift + layout.source_bits;
  uint64_t position = 0;
  for (int64_t e = 0; e < count; ++e) {
    const auto row = static_cast<uint64_t>(target[e]);
    const uint64_t from = source == nullptr ? 0 : static_cast<uint64_t>(source[e]);
    if (loops && row == from) continue;
    const uint64_t record = (row & mask) | from << source_shift | (sizeof(Record) == 8 ? position << position_shift : 0);
    records[ends[row >> shift]++] = static_cast<Record>(record);
    ++position;
  }
  return kept;
}

struct Sorted {
  Plan plan;
  const int32_t* ends;           // [chunks, buckets]: where each bucket ends in its chunk's records
  const int32_t* positions;      // [chunks]: kept edges before the chunk
  const int64_t* bucket_begin;   // [buckets]: kept edges in the buckets before
  int64_t kept;
};

// Step 3: the records of a bucket, from all chunks in order, to their rows.
template <typename Record>
void move_to_rows(const EdgeList& edges, const Sorted& sorted, int64_t bucket, const Record* all_records, const Result& result) {
  const Layout layout = sorted.plan.layout;
  const int64_t first = bucket << layout.shift;
  const int64_t next = (bucket + 1) << layout.shift;
  const int64_t last = next < edges.rows ? next : edges.rows;
  int32_t* const counts = result.indptr + first + 1;
  int32_t* const col = result.col;
  int32_t* const perm = result.perm;
  const uint64_t row_mask = (uint64_t{1} << layout.shift) - 1;
  const uint64_t source_mask = (uint64_t{1} << layout.source_bits) - 1;
  const int position_shift = layout.shift + layout.source_bits;
  const auto piece = [&](int64_t chunk, int32_t* begin, int32_t* end) {
    const int32_t* const ends = sorted.ends + chunk * sorted.plan.buckets + bucket;
    *begin = bucket == 0 ? 0 : ends[-1];
    *end = ends[0];
    return all_records + chunk * kChunk;
  };
  for (int64_t r = 0; r < last - first; ++r) counts[r] = edges.self_loops ? 1 : 0;
  int32_t begin = 0;
  int32_t end = 0;
  int64_t place = sorted.bucket_begin[bucket] + (edges.self_loops ? first : 0);
  for (int64_t chunk = 0; chunk < sorted.plan.chunks; ++chunk) {
    const Record* const records = piece(chunk, &begin, &end);
    for (int32_t i = begin; i < end; ++i) ++counts[records[i] & row_mask];
    if (col != nullptr) fetch_to_write(col + place, end - begin);
    if (perm != nullptr) fetch_to_write(perm + place, end - begin);
    place += end - begin;
  }
  accumulate(result.indptr, first, last, sorted.bucket_begin[bucket] + (edges.self_loops ? first : 0));
  for (int64_t chunk = 0; chunk < sorted.plan.chunks; ++chunk) {
    const Record* const records = piece(chunk, &begin, &end);
    const int32_t before = sorted.positions[chunk];
    for (int32_t i = begin; i < end; ++i) {
      const uint64_t record = records[i];
      const int32_t at = counts[record & row_mask]++;
      if (col != nullptr) col[at] = static_cast<int32_t>(record >> layout.shift & source_mask);
      if (perm != nullptr) perm[at] = before + static_cast<int32_t>(record >> position_shift);
    }
  }
  if (edges.self_loops) append_loops(result, first, last, sorted.kept);
}

template <typename Record>
OrtStatus* sort_in_buckets(Context& context, const EdgeList& edges, const Outputs& outputs, const Plan& plan, Scratch* scratch) {
  const auto cells = static_cast<size_t>(plan.chunks * plan.buckets);
  const size_t begin_bytes = static_cast<size_t>(plan.buckets) * sizeof(int64_t);
  const size_t records_bytes = static_cast<size_t>(edges.count) * sizeof(Record);
  const size_t bytes = begin_bytes + records_bytes + (cells + static_cast<size_t>(plan.chunks)) * sizeof(int32_t);
  auto* const memory = static_cast<char*>(scratch->take(bytes));
  if (memory == nullptr) return out_of_memory(bytes);
  auto* const bucket_begin = reinterpret_cast<int64_t*>(memory);
  auto* const records = reinterpret_cast<Record*>(memory + begin_bytes);
  auto* const ends = reinterpret_cast<int32_t*>(memory + begin_bytes + records_bytes);
  auto* const positions = ends + cells;
  OrtStatus* status = parallel_for(context, plan.chunks, [&](int64_t chunk) {
    positions[chunk] = sort_chunk(edges, plan.layout, plan.buckets, chunk, ends + chunk * plan.buckets, records + chunk * kChunk);
  });
  int64_t kept = 0;
  for (int64_t chunk = 0; chunk < plan.chunks && status == nullptr; ++chunk) {
    const int32_t here = positions[chunk];
    if (here < 0) status = bad_index(edges);
    positions[chunk] = static_cast<int32_t>(kept);
    kept += here;
  }
  Result result = {};
  if (status == nullptr) {
    memset(bucket_begin, 0, begin_bytes);
    for (int64_t chunk = 0; chunk < plan.chunks; ++chunk) {  // ends of a chunk, summed over chunks: edges up to and with a bucket
      const int32_t* const of_chunk = ends + chunk * plan.buckets;
      for (int64_t bucket = 0; bucket + 1 < plan.buckets; ++bucket) bucket_begin[bucket + 1] += of_chunk[bucket];
    }
    status = allocate(context, outputs, edges.rows, kept + (edges.self_loops ? edges.rows : 0), false, &result);
  }
  if (status == nullptr) {
    result.indptr[0] = 0;
    const Sorted sorted = {plan, ends, positions, bucket_begin, kept};
    status = parallel_for(context, plan.buckets, [&](int64_t bucket) { move_to_rows(edges, sorted, bucket, records, result); });
  }
  scratch->give_back(memory);
  return status;
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
  if (outputs.perm < 0 && plan.layout.shift + plan.layout.source_bits <= 32) {
    return sort_in_buckets<uint32_t>(context, edges, outputs, plan, scratch);
  }
  return sort_in_buckets<uint64_t>(context, edges, outputs, plan, scratch);
}

}  // namespace

OrtStatus* compress(Context& context, const EdgeList& edges, const Outputs& outputs, Scratch* scratch) {
  if (edges.count + (edges.self_loops ? edges.rows : 0) > INT32_MAX) return invalid("more than 2^31 - 1 edges");
  // The number of rows is an input like any other: one number must not ask for all memory.
  if (edges.rows > kMostRows + kRowsPerEdge * edges.count) {
    return invalid("num_rows = %lld is too much for %lld edges", static_cast<long long>(edges.rows), static_cast<long long>(edges.count));
  }
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
