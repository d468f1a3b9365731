// QSpMMWeighted and QAttentionSpMM: weighted float sums of gathered byte rows. Compiled once for each instruction set, see isa.h.
//
// The weights of a block of rows are first brought into row order, one row of `heads` floats an entry; then units and tiles go as in
// qspmm_kernels.cpp.
#include "buffer.h"
#include "csr.h"
#include "qepilogue.h"
#include "quantized.h"
#include "spmm.h"

namespace edgegnn::EDGEGNN_LEVEL {
namespace {

#if defined(__AVX512BW__) || defined(EDGEGNN_ARM64)
constexpr int kUnits = 4;  // of a tile: 4 accumulators each, 32 registers
#else
constexpr int kUnits = 2;
#endif
constexpr int kAhead = 24;  // entries between the prefetch of a row and its use

// How the columns of a unit get their weights.
enum class Heads {
  kOne,    // one weight an entry
  kFours,  // the columns 4 i to 4 i + 3 have one head
  kAny,
};

// How bytes become numbers.
enum class Codes {
  kPlain,    // unsigned, zero point 0
  kCentred,  // unsigned, less the zero point
  kSigned,
};

template <auto kValue>
struct Tag {
  static constexpr auto value = kValue;
};

// w rounded to 16 significant bits, to even. A NaN stays one.
EDGEGNN_INLINE float rounded(float w) {
  uint32_t bits;
  memcpy(&bits, &w, 4);
  const uint32_t even = (bits + 0x7f + ((bits >> 8) & 1)) & ~uint32_t{0xff};
  bits = (bits & 0x7fffffff) > 0x7f800000 ? 0x7fc00000 : even;
  memcpy(&w, &bits, 4);
  return w;
}

// Weights of one unit for one entry, by vector; `head_of` is the unit's. With kFours an interleaved unit needs one vector for all.
template <class V, Heads kHeads>
EDGEGNN_INLINE void unit_weights(const float* w, const int32_t* head_of, typename V::F out[V::N]) {
  if constexpr (kHeads == Heads::kOne) {
    out[0] = V::all_f(*w);
  } else if constexpr (kHeads == Heads::kFours && V::kInterleaved) {
    out[0] = V::pick_near(w, head_of);
  } else {
#pragma GCC unroll 4
    for (int k = 0; k < V::N; ++k) {
      out[k] = kHeads == Heads::kFours && V::L == 4 ? V::all_f(w[head_of[k * V::L]]) : V::pick(w, head_of + k * V::L);
    }
  }
}

template <class V, int U, bool kPart, Codes kCodes, Heads kHeads>
struct Tile {
  static constexpr int kWeights = kHeads == Heads::kOne || (kHeads == Heads::kFours && V::kInterleaved) ? 1 : V::N;

  // One tile of the rows [begin, end): units [first, first + U). w is of the first entry of row `begin`.
  static void run(const QweightedArgs& shared, int64_t begin, int64_t end, int64_t first, const float* w, const float* inverse) {
    using I = typename V::I;
    using F = typename V::F;
    const QweightedArgs args = shared;
    const Constants<V> constants(args.epilogue);
    const int64_t heads = args.heads;
    const int64_t width = heads * args.width;
    const int part = kPart ? static_cast<int>(width) : V::W;
    int64_t offset[U];
    int64_t base[U];  // where pick_near starts
    int32_t near[U * V::W];
    for (int u = 0; u < U; ++u) {
      offset[u] = unit_column<V>(first + u, width);
      base[u] = 0;
      if (kHeads == Heads::kOne) continue;
      const int32_t* const head_of = args.head_of + (first + u) * V::W;
      if (kWeights == 1) base[u] = head_of[0];
      for (int i = 0; i < V::W; ++i) near[u * V::W + i] = head_of[i] - static_cast<int32_t>(base[u]);
    }
    const int64_t last = offset[U - 1] - offset[0];
    const uint8_t* const x = args.x + offset[0];
    const float* const bias = args.bias + first * V::W;
    const I zero_point = V::all(args.zero_point);
    const bool is_scaled = args.row_scale_step != 0 || args.row_scale[0] != 1.0f;
    bool is_biased = false;
    for (int i = 0; i < U * V::W; ++i) is_biased = is_biased || !(bias[i] == 0.0f);

    for (int64_t row = begin; row < end; ++row) {
      const int64_t from = args.indptr[row];
      const int64_t to = args.indptr[row + 1];
      const int64_t ahead = to + kAhead <= args.entries ? kAhead : 0;
      F sum[U][V::N];
#pragma GCC unroll 4
      for (int u = 0; u < U; ++u) {
#pragma GCC unroll 4
        for (int k = 0; k < V::N; ++k) sum[u][k] = V::all_f(0.0f);
      }
      for (int64_t j = from; j < to; ++j) {
        const uint8_t* const next = x + args.col[j + ahead] * width;
        const uint8_t* const p = x + args.col[j] * width;
#pragma GCC unroll 4
        for (int at = 0; at < U * V::W; at += 64) __builtin_prefetch(next + at);
#pragma GCC unroll 4
        for (int u = 0; u < U; ++u) {
          F weight[V::N];
          unit_weights<V, kHeads>(w + base[u], near + u * V::W, weight);
          I code[V::N];
          typename V::B bytes = kPart ? V::load_part(p, part) : V::load(p + (u == U - 1 ? last : u * V::W));
          if (kCodes == Codes::kSigned) bytes = V::flip(bytes);
          V::unfold_bytes(bytes, code);
#pragma GCC unroll 4
          for (int k = 0; k < V::N; ++k) {
            if (kCodes != Codes::kPlain) code[k] = V::sub_i(code[k], zero_point);
            sum[u][k] = V::add_exact_product(sum[u][k], weight[kWeights == 1 ? 0 : k], V::to_f(code[k]));
          }
        }
        w += heads;
      }
      const F row_scale = V::all_f(args.row_scale[row * args.row_scale_step]);
#pragma GCC unroll 4
      for (int u = 0; u < U; ++u) {
        F v[V::N];
#pragma GCC unroll 4
        for (int k = 0; k < V::N; ++k) v[k] = sum[u][k];
        if (inverse != nullptr) {
          F factor[V::N];
          unit_weights<V, kHeads>(inverse + base[u], near + u * V::W, factor);
#pragma GCC unroll 4
          for (int k = 0; k < V::N; ++k) v[k] = V::mul_f(v[k], factor[kWeights == 1 ? 0 : k]);
        }
#pragma GCC unroll 4
        for (int k = 0; k < V::N; ++k) v[k] = V::mul_f(v[k], constants.scale);
        if (is_scaled) {
#pragma GCC unroll 4
          for (int k = 0; k < V::N; ++k) v[k] = V::mul_f(v[k], row_scale);
        }
        if (is_biased) {
#pragma GCC unroll 4
          for (int k = 0; k < V::N; ++k) v[k] = V::add_f(v[k], V::load_f(bias + (u * V::N + k) * V::L));
        }
        if (args.epilogue.to_float) {
          finish<V, true>(constants, v, args.y, row * width + offset[u], kPart ? part : V::W);
        } else {
          finish<V, false>(constants, v, args.y, row * width + offset[u], kPart ? part : V::W);
        }
      }
      if (inverse != nullptr) inverse += heads;
    }
  }
};

struct Block {
  const QweightedArgs& args;
  int64_t begin;
  int64_t end;
  const float* w;
  const float* inverse;
};

template <class V, int U, bool kPart>
void any_tile(const Block& block, int64_t first) {
  const QweightedArgs& args = block.args;
  const auto run = [&](auto codes, auto heads) {
    using Kernel = Tile<V, U, kPart, decltype(codes)::value, decltype(heads)::value>;
    Kernel::run(args, block.begin, block.end, first, block.w, block.inverse);
  };
  const auto with_codes = [&](auto heads) {
    if (args.is_signed) {
      run(Tag<Codes::kSigned>(), heads);
    } else if (args.zero_point != 0) {
      run(Tag<Codes::kCentred>(), heads);
    } else {
      run(Tag<Codes::kPlain>(), heads);
    }
  };
  if (args.heads == 1) {
    with_codes(Tag<Heads::kOne>());
  } else if (args.width % 4 == 0 && !kPart) {
    with_codes(Tag<Heads::kFours>());
  } else {
    with_codes(Tag<Heads::kAny>());
  }
}

template <class V>
void any_width(const Block& block) {
  const int64_t units = unit_count<V>(block.args.heads * block.args.width);
  int64_t first = 0;
  if constexpr (V::kWidest) {
    for (; units - first >= kUnits; first += kUnits) any_tile<V, kUnits, false>(block, first);
    if constexpr (kUnits > 3) {
      if (units - first == 3) return any_tile<V, 3, false>(block, first);
    }
  }
  if (units - first == 2) return any_tile<V, 2, false>(block, first);
  if (units - first == 1) any_tile<V, 1, false>(block, first);
}

// Brings the weights of the entries [from, from + count) into row order, rounded.
int gather_weights(const QweightedArgs& args, int64_t from, int64_t count, float* out) {
  const int64_t heads = args.heads;
  if (args.perm == nullptr) {
    const float* const w = args.w + from * heads;
    for (int64_t i = 0; i < count * heads; ++i) out[i] = rounded(w[i]);
    return FAULT_NONE;
  }
  const int32_t* const perm = args.perm + from;
  if (!all_below(perm, count, args.entries)) return FAULT_PERM;
  if (heads == 1) {
    for (int64_t i = 0; i < count; ++i) out[i] = rounded(args.w[perm[i]]);
    return FAULT_NONE;
  }
  for (int64_t i = 0; i < count; ++i) {
    const float* const w = args.w + perm[i] * heads;
    for (int64_t h = 0; h < heads; ++h) out[i * heads + h] = rounded(w[h]);
  }
  return FAULT_NONE;
}

}  // namespace

int qweighted_rows(const QweightedArgs& args, int64_t begin, int64_t end) {
  if (begin >= end) return FAULT_NONE;
  const int64_t from = args.indptr[begin];
  const int64_t count = args.indptr[end] - from;
  if (!all_below(args.col + from, count, args.columns)) return FAULT_COL;
  const bool attention = args.w == nullptr;
  const int64_t inverses = attention ? (end - begin) * args.heads : 0;
  FloatBuffer buffer(count * args.heads + inverses + 2 * kSlack);
  float* const w = buffer.data();
  if (w == nullptr) return FAULT_MEMORY;
  Block block = {args, begin, end, w, nullptr};
  if (attention) {
    float* const inverse = w + count * args.heads + kSlack;
    AttentionArgs scores = {};
    scores.a_src = args.a_src;
    scores.a_dst = args.a_dst;
    scores.heads = args.heads;
    scores.columns = args.columns;
    scores.indptr = args.indptr;
    scores.col = args.col;
    scores.entries = args.entries;
    scores.slope = args.slope;
    if (!attention_weights(scores, begin, end, w, inverse)) return FAULT_MEMORY;
    for (int64_t i = 0; i < count * args.heads; ++i) w[i] = rounded(w[i]);
    block.inverse = inverse;
  } else if (const int fault = gather_weights(args, from, count, w); fault != FAULT_NONE) {
    return fault;
  }
  const int64_t width = args.heads * args.width;
  if (width < V16::W) {
    any_tile<V16, 1, true>(block, 0);
  } else {
    with_vector(width, [&](auto v) { any_width<decltype(v)>(block); });
  }
  return FAULT_NONE;
}

}  // namespace edgegnn::EDGEGNN_LEVEL
