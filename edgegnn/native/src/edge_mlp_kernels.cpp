// QEdgeMlpMax, QEdgeProductMax: the MLP of an EdgeConv layer in integers, or its last product, a few entries at a time. Compiled once for each instruction set, see isa.h.
//
// The codes of a row's own half are made once and copied. Products are those of QGemm, on entries in row order.
#include "edge_mlp.h"

#include "buffer.h"
#include "csr.h"
#include "qsimd.h"
#include "spmm.h"

namespace edgegnn::EDGEGNN_LEVEL {
namespace {

constexpr int64_t kTile = 96;  // entries: a multiple of the rows of QGemm's panel
constexpr int64_t kAhead = 8;  // entries
constexpr int Q = Lanes::Q;

enum What { ALONE, DIFFERENCE, SUM };

// Codes of floats, as QuantizeGemm makes them.
struct Quantize {
  Lanes::F low, high, scale, inverse;
  Lanes::I offset;

  explicit Quantize(const QgemmArgs& args)
      : low(Lanes::all_f(args.low)),
        high(Lanes::all_f(args.high)),
        scale(Lanes::all_f(args.scale)),
        inverse(Lanes::all_f(args.inverse)),
        offset(Lanes::all(args.zero_point)) {}

  // Sixteen codes of x, of x - other or of x + other.
  template <What WHAT>
  __attribute__((always_inline)) void sixteen(const float* x, const float* other, uint8_t* out) const {
    Lanes::I code[Q];
#pragma GCC unroll 4
    for (int q = 0; q < Q; ++q) {
      Lanes::F v = Lanes::load_f(x + q * Lanes::L);
      if constexpr (WHAT == DIFFERENCE) v = Lanes::sub_f(v, Lanes::load_f(other + q * Lanes::L));
      if constexpr (WHAT == SUM) v = Lanes::add_f(v, Lanes::load_f(other + q * Lanes::L));
      code[q] = Lanes::round(Lanes::divide(Lanes::clip_number(v, low, high), scale, inverse));
    }
    Lanes::store16(out, code, offset);
  }

  template <What WHAT>
  void row(const float* x, const float* other, int64_t width, uint8_t* out) const {
    int64_t k = 0;
    for (; k + kGroup <= width; k += kGroup) sixteen<WHAT>(x + k, other + k, out + k);
    if (k == width) return;
    const auto left = static_cast<size_t>(width - k);
    float part[kGroup] = {};
    float taken[kGroup] = {};
    uint8_t codes[kGroup];
    memcpy(part, x + k, left * sizeof(float));
    if constexpr (WHAT != ALONE) memcpy(taken, other + k, left * sizeof(float));
    sixteen<WHAT>(part, taken, codes);
    memcpy(out + k, codes, left);
  }
};

// The larger of two numbers, NaN when one of them is.
EDGEGNN_INLINE float larger_of(float a, float b) { return a > b || a != a ? a : b; }

// Entries of some rows on their way through the products: two, or the first one alone where SINGLE.
template <bool SINGLE>
struct Tile {
  const EdgeMlpArgs& args;
  uint8_t* codes;   // [kTile, 2 * width]
  uint8_t* hidden;  // [kTile, first.width]
  float* out;       // [kTile, columns of the last product]
  int64_t count = 0;
  int64_t row[kTile];

  // Multiplies what is in it and takes it into the rows' maxima. False: out of memory.
  bool empty() {
    if (count == 0) return true;
    QgemmArgs first = args.first;
    first.codes = codes;
    first.y = SINGLE ? static_cast<void*>(out) : hidden;
    if (!qgemm_rows(first, 0, count)) return false;
    if constexpr (!SINGLE) {
      QgemmArgs second = args.second;
      second.codes = hidden;
      second.y = out;
      if (!qgemm_rows(second, 0, count)) return false;
    }
    const int64_t width = SINGLE ? first.width : args.second.width;
    for (int64_t i = 0; i < count; ++i) {
      float* const y = args.y + row[i] * width;
      const float* const v = out + i * width;
      for (int64_t n = 0; n < width; ++n) y[n] = larger_of(y[n], v[n]);
    }
    count = 0;
    return true;
  }
};

template <bool SINGLE>
int edge_rows(const EdgeMlpArgs& shared, int64_t begin, int64_t end) {
  const EdgeMlpArgs args = shared;
  const int32_t* const indptr = args.indptr;
  const int32_t* const col = args.col;
  const int64_t width = args.width;
  const int64_t deep = SINGLE ? width : 2 * width;
  const int64_t out_width = SINGLE ? args.first.width : args.second.width;
  const int64_t first_entry = indptr[begin];
  const int64_t final_entry = indptr[end] - 1;
  if (!all_below(col + first_entry, indptr[end] - first_entry, args.columns)) return FAULT_COL;
  const int64_t out_floats = kTile * out_width;
  const int64_t code_floats = (kTile * deep + 3) / 4;
  const int64_t hidden_floats = SINGLE ? 0 : (kTile * args.first.width + 3) / 4;
  FloatBuffer buffer(out_floats + code_floats + hidden_floats);
  if (buffer.data() == nullptr) return FAULT_MEMORY;
  float* const out = buffer.data();
  auto* const codes = reinterpret_cast<uint8_t*>(out + out_floats);
  auto* const hidden = reinterpret_cast<uint8_t*>(out + out_floats + code_floats);
  const Quantize quantize(args.first);
  Tile<SINGLE> tile = {args, codes, hidden, out, 0, {}};
  for (int64_t r = begin; r < end; ++r) {
    const int64_t stop = indptr[r + 1];
    const float start = indptr[r] == stop ? 0.0f : -__builtin_inff();
    float* const y = args.y + r * out_width;
    for (int64_t n = 0; n < out_width; ++n) y[n] = start;
    const float* const own = args.target + r * width;
    [[maybe_unused]] const uint8_t* made = nullptr;  // the row's own codes, where they are in the tile
    for (int64_t e = indptr[r]; e < stop; ++e) {
      const int64_t later = e + kAhead < final_entry ? e + kAhead : final_entry;
      const float* const next = args.source + col[later] * width;
      for (int64_t k = 0; k < width; k += 16) __builtin_prefetch(next + k);
      uint8_t* const to = codes + tile.count * deep;
      const float* const other = args.source + col[e] * width;
      if constexpr (SINGLE) {
        quantize.row<SUM>(other, own, width, to);
      } else {
        if (made == nullptr) {
          quantize.row<ALONE>(own, own, width, to);
        } else {
          memcpy(to, made, static_cast<size_t>(width));
        }
        made = to;
        quantize.row<DIFFERENCE>(other, own, width, to + width);
      }
      tile.row[tile.count++] = r;
      if (tile.count == kTile) {
        if (!tile.empty()) return FAULT_MEMORY;
        made = nullptr;
      }
    }
  }
  return tile.empty() ? FAULT_NONE : FAULT_MEMORY;
}

}  // namespace

int edge_mlp_rows(const EdgeMlpArgs& args, int64_t begin, int64_t end) { return edge_rows<false>(args, begin, end); }

int edge_qproduct_rows(const EdgeMlpArgs& args, int64_t begin, int64_t end) { return edge_rows<true>(args, begin, end); }

}  // namespace edgegnn::EDGEGNN_LEVEL
