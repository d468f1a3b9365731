// Softmax over the entries of each row. Compiled once a level, see isa.h.
//
// The logits of a row are laid out as [entries, heads] with heads padded to 1, 2, 4, 8 or 16, so that sixteen lanes hold a whole number
// of entries: lane l always belongs to head l % heads. Maximum and sum are kept in those sixteen lanes whatever the registers'
// width, then folded in one fixed order: every instruction set gives the same bits.

#include <string.h>

#include "buffer.h"
#include "csr.h"
#include "float_simd.h"
#include "spmm.h"

namespace edgegnn::EDGEGNN_LEVEL {
namespace {

constexpr int kLanes16 = 16;
constexpr int kParts = kLanes16 / kWide;

struct Lanes {
  FW part[kParts];
};

EDGEGNN_INLINE Lanes load_lanes(const float* p) {
  Lanes out;
#pragma GCC unroll 4
  for (int i = 0; i < kParts; ++i) load(p + i * kWide, &out.part[i]);
  return out;
}

EDGEGNN_INLINE void store_lanes(float* p, const Lanes& lanes) {
#pragma GCC unroll 4
  for (int i = 0; i < kParts; ++i) store(p + i * kWide, lanes.part[i]);
}

#if defined(__clang__)
EDGEGNN_INLINE F4 swap_pairs(F4 v) { return __builtin_shufflevector(v, v, 2, 3, 0, 1); }
EDGEGNN_INLINE F4 swap_lanes(F4 v) { return __builtin_shufflevector(v, v, 1, 0, 3, 2); }
#else
EDGEGNN_INLINE F4 swap_pairs(F4 v) { return __builtin_shuffle(v, (I4){2, 3, 0, 1}); }
EDGEGNN_INLINE F4 swap_lanes(F4 v) { return __builtin_shuffle(v, (I4){1, 0, 3, 2}); }
#endif

template <bool MAX>
EDGEGNN_INLINE F4 join(F4 a, F4 b) {
  return MAX ? larger(a, b) : a + b;
}

// Folds sixteen lanes to one value a head, repeated over the lanes.
template <bool MAX>
EDGEGNN_INLINE Lanes fold(const Lanes& lanes, int heads) {
  alignas(64) float at[kLanes16];
  store_lanes(at, lanes);
  F4 q[4];
  for (int i = 0; i < 4; ++i) load(at + 4 * i, &q[i]);
  if (heads <= 8) {
    q[0] = join<MAX>(q[0], q[2]);
    q[1] = join<MAX>(q[1], q[3]);
    if (heads <= 4) q[0] = q[1] = join<MAX>(q[0], q[1]);
    if (heads <= 2) q[0] = q[1] = join<MAX>(q[0], swap_pairs(q[0]));
    if (heads == 1) q[0] = q[1] = join<MAX>(q[0], swap_lanes(q[0]));
    q[2] = q[0];
    q[3] = q[1];
  }
  for (int i = 0; i < 4; ++i) store(at + 4 * i, q[i]);
  return load_lanes(at);
}

int padded(int64_t heads) { return heads <= 1 ? 1 : heads <= 2 ? 2 : heads <= 4 ? 4 : heads <= 8 ? 8 : 16; }

// Sixteen lanes that repeat `heads` numbers.
EDGEGNN_INLINE Lanes repeat(const float* values, int64_t given, int heads) {
  alignas(64) float at[kLanes16];
  for (int i = 0; i < kLanes16; ++i) at[i] = i % heads < given ? values[i % heads] : 0.0f;
  return load_lanes(at);
}

// logits[0, count), rounded up to sixteens (they are written), to exp(logit - max of the head); the sums by head.
Lanes exponentiate(float* logits, int64_t count, int heads) {
  const int64_t end = (count + kLanes16 - 1) / kLanes16 * kLanes16;
  for (int64_t i = count; i < end; ++i) logits[i] = -__builtin_inff();
  Lanes top = load_lanes(logits);
  for (int64_t i = kLanes16; i < end; i += kLanes16) {
#pragma GCC unroll 4
    for (int k = 0; k < kParts; ++k) {
      FW v;
      load(logits + i + k * kWide, &v);
      top.part[k] = larger(top.part[k], v);
    }
  }
  top = fold<true>(top, heads);
  Lanes sum = {};
  for (int64_t i = 0; i < end; i += kLanes16) {
#pragma GCC unroll 4
    for (int k = 0; k < kParts; ++k) {
      FW v;
      load(logits + i + k * kWide, &v);
      v = exponential(v - top.part[k]);
      store(logits + i + k * kWide, v);
      sum.part[k] = sum.part[k] + v;
    }
  }
  return fold<false>(sum, heads);
}

// Copies `heads` of the numbers at `from` to `to`, where `padded_heads` have room.
EDGEGNN_INLINE void copy_heads(float* to, const float* from, int64_t heads) {
  switch (heads) {
    case 1: *to = *from; break;
    case 2: memcpy(to, from, 8); break;
    case 4: memcpy(to, from, 16); break;
    case 8: memcpy(to, from, 32); break;
    default:
      for (int64_t h = 0; h < heads; ++h) to[h] = from[h];
  }
}

int64_t largest_row(const int32_t* indptr, int64_t begin, int64_t end) {
  int64_t most = 0;
  for (int64_t r = begin; r < end; ++r) {
    const int64_t entries = indptr[r + 1] - indptr[r];
    most = entries > most ? entries : most;
  }
  return most;
}

}  // namespace

int softmax_rows(const SoftmaxArgs& args, int64_t begin, int64_t end) {
  const int64_t heads = args.heads;
  const int64_t first = args.indptr[begin];
  const int32_t* const perm = args.perm;
  if (perm != nullptr && !all_below(perm + first, args.indptr[end] - first, args.entries)) return FAULT_PERM;
  const int64_t most = largest_row(args.indptr, begin, end);
  const int64_t room = most * padded(heads) + kSlack;
  FloatBuffer buffer(room);
  float* const logits = buffer.data();
  if (logits == nullptr) return FAULT_MEMORY;
  memset(logits, 0, static_cast<size_t>(room) * sizeof(float));
  for (int64_t h = 0; h < heads; h += kLanes16) {
    const int64_t here = heads - h < kLanes16 ? heads - h : kLanes16;
    const int wide = padded(here);
    for (int64_t r = begin; r < end; ++r) {
      const int64_t from = args.indptr[r];
      const int64_t entries = args.indptr[r + 1] - from;
      if (entries == 0) continue;
      for (int64_t i = 0; i < entries; ++i) {
        const int64_t at = perm == nullptr ? from + i : perm[from + i];
        copy_heads(logits + i * wide, args.logits + at * heads + h, here);
      }
      const Lanes sum = exponentiate(logits, entries * wide, wide);
      for (int64_t i = 0; i < entries * wide; i += kLanes16) {
#pragma GCC unroll 4
        for (int k = 0; k < kParts; ++k) {
          FW v;
          load(logits + i + k * kWide, &v);
          store(logits + i + k * kWide, v / (sum.part[k] + 1e-16f));
        }
      }
      for (int64_t i = 0; i < entries; ++i) {
        const int64_t at = perm == nullptr ? from + i : perm[from + i];
        copy_heads(args.y + at * heads + h, logits + i * wide, here);
      }
    }
  }
  return FAULT_NONE;
}

bool attention_weights(const AttentionArgs& args, int64_t begin, int64_t end, float* w, float* inverse) {
  const int64_t heads = args.heads;
  const int64_t first = args.indptr[begin];
  const int32_t* const col = args.col;
  const int64_t final_entry = args.entries - 1;
  const bool in_place = heads <= kLanes16 && padded(heads) == heads;
  const int64_t room = in_place ? 0 : largest_row(args.indptr, begin, end) * padded(heads) + kSlack;
  FloatBuffer buffer(room);
  float* const padded_logits = buffer.data();
  if (padded_logits == nullptr) return false;
  memset(padded_logits, 0, static_cast<size_t>(room) * sizeof(float));
  constexpr int64_t ahead = 24;
  for (int64_t h = 0; h < heads; h += kLanes16) {
    const int64_t here = heads - h < kLanes16 ? heads - h : kLanes16;
    const int wide = padded(here);
    for (int64_t r = begin; r < end; ++r) {
      const int64_t from = args.indptr[r];
      const int64_t entries = args.indptr[r + 1] - from;
      float* const logits = in_place ? w + (from - first) * heads : padded_logits;
      for (int64_t i = 0; i < entries; ++i) {
        const int64_t e = from + i;
        const int64_t next = col[e + ahead < final_entry ? e + ahead : final_entry];
        prefetch<4>(reinterpret_cast<uintptr_t>(args.a_src) + static_cast<uintptr_t>(next * heads + h) * sizeof(float));
        copy_heads(logits + i * wide, args.a_src + col[e] * heads + h, here);
      }
      float* const out = inverse + (r - begin) * heads + h;
      if (entries == 0) {
        for (int64_t k = 0; k < here; ++k) out[k] = 0.0f;
        continue;
      }
      const Lanes shift = repeat(args.a_dst + r * heads + h, here, wide);
      for (int64_t i = 0; i < entries * wide; i += kLanes16) {
#pragma GCC unroll 4
        for (int k = 0; k < kParts; ++k) {
          FW v;
          load(logits + i + k * kWide, &v);
          v = v + shift.part[k];
          store(logits + i + k * kWide, v > splat<FW>(0.0f) ? v : v * args.slope);
        }
      }
      Lanes sum = exponentiate(logits, entries * wide, wide);
#pragma GCC unroll 4
      for (int k = 0; k < kParts; ++k) sum.part[k] = splat<FW>(1.0f) / (sum.part[k] + 1e-16f);
      alignas(64) float at[kLanes16];
      store_lanes(at, sum);
      copy_heads(out, at, here);
      if (!in_place) {
        for (int64_t i = 0; i < entries; ++i) copy_heads(w + (from - first + i) * heads + h, logits + i * wide, here);
      }
    }
  }
  return true;
}

}  // namespace edgegnn::EDGEGNN_LEVEL
