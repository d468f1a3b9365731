// EdgeProductMax: the last product of an EdgeConv layer and its maximum, a few entries at a time. Compiled once a level, see isa.h.
#include "edge_product.h"

#include "buffer.h"
#include "csr.h"
#include "float_simd.h"
#include "spmm.h"

namespace edgegnn::EDGEGNN_LEVEL {
namespace {

constexpr int64_t kTile = 60;  // entries: a multiple of the rows of SparseGemm's tiles
constexpr int64_t kAhead = 8;  // entries

// Calls function(vector type, column) for the columns [0, width), in vectors and then one by one.
template <typename Function>
EDGEGNN_INLINE void for_columns(int64_t width, Function function) {
  int64_t k = 0;
  for (; k + kWide <= width; k += kWide) function(FW{}, k);
  for (; k + 4 <= width; k += 4) function(F4{}, k);
  for (; k < width; ++k) function(0.0f, k);
}

// out = source + target, clipped; a NaN stays one.
EDGEGNN_INLINE void add_ends(const EdgeProductArgs& args, const float* source, const float* target, float* out) {
  for_columns(args.width, [&](auto kind, int64_t k) __attribute__((always_inline)) {
    using V = decltype(kind);
    V a;
    V b;
    load(source + k, &a);
    load(target + k, &b);
    store(out + k, smaller(larger(a + b, splat<V>(args.low)), splat<V>(args.high)));
  });
}

struct Tile {
  const EdgeProductArgs& args;
  float* ends;  // [kTile, width]
  float* out;   // [kTile, product.width]
  int64_t count = 0;
  int64_t row[kTile];

  // Multiplies what is in it and takes it into the rows' maxima. False: out of memory.
  bool empty() {
    if (count == 0) return true;
    SparseGemmArgs product = args.product;
    product.x = ends;
    product.y = out;
    if (!sparse_gemm_rows(product, 0, count)) return false;
    for (int64_t i = 0; i < count; ++i) {
      float* const y = args.y + row[i] * product.width;
      const float* const v = out + i * product.width;
      for_columns(product.width, [&](auto kind, int64_t n) __attribute__((always_inline)) {
        using V = decltype(kind);
        V a;
        V b;
        load(y + n, &a);
        load(v + n, &b);
        store(y + n, larger(a, b));
      });
    }
    count = 0;
    return true;
  }
};

}  // namespace

int edge_product_rows(const EdgeProductArgs& shared, int64_t begin, int64_t end) {
  const EdgeProductArgs args = shared;
  const int32_t* const indptr = args.indptr;
  const int32_t* const col = args.col;
  const int64_t width = args.width;
  const int64_t out_width = args.product.width;
  const int64_t first_entry = indptr[begin];
  const int64_t final_entry = indptr[end] - 1;
  if (!all_below(col + first_entry, indptr[end] - first_entry, args.columns)) return FAULT_COL;
  FloatBuffer buffer(kTile * (width + out_width));
  if (buffer.data() == nullptr) return FAULT_MEMORY;
  Tile tile = {args, buffer.data(), buffer.data() + kTile * width, 0, {}};
  for (int64_t r = begin; r < end; ++r) {
    const int64_t stop = indptr[r + 1];
    const float start = indptr[r] == stop ? 0.0f : -__builtin_inff();
    float* const y = args.y + r * out_width;
    for (int64_t n = 0; n < out_width; ++n) y[n] = start;
    for (int64_t e = indptr[r]; e < stop; ++e) {
      const float* const next = args.source + col[e + kAhead < final_entry ? e + kAhead : final_entry] * width;
      for (int64_t k = 0; k < width; k += 16) __builtin_prefetch(next + k);
      add_ends(args, args.source + col[e] * width, args.target + r * width, tile.ends + tile.count * width);
      tile.row[tile.count++] = r;
      if (tile.count == kTile && !tile.empty()) return FAULT_MEMORY;
    }
  }
  return tile.empty() ? FAULT_NONE : FAULT_MEMORY;
}

}  // namespace edgegnn::EDGEGNN_LEVEL
