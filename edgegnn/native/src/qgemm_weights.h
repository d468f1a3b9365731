// int8 weights as the ops of matrix products hand them to the kernels, and memory for one call.
#pragma once

#include <stdlib.h>
#include <string.h>

#include "glue.h"
#include "qgemm.h"

namespace edgegnn {

constexpr int64_t kWidest = int64_t{1} << 24;     // columns: more than any model has, and no product of sizes overflows

static inline int64_t padded_width(int64_t width) { return (width + kGroup - 1) / kGroup * kGroup; }

static inline OrtStatus* check_weights(const Tensor& w) {
  if (w.rank != 2) return invalid("w must have the shape [K, N]");
  if (w.dims[1] > kWidest) return invalid("w has %lld columns; at most 2^24 are supported", static_cast<long long>(w.dims[1]));
  return nullptr;
}

// int8 weights in the forms that the kernels want, in one piece of memory.
struct Weights {
  int64_t depth;
  int64_t width;
  bool in_pairs;
  const void* packed;
  const int8_t* plain;    // [depth, padded], or null
  const int32_t* totals;  // [padded], of each column

  static size_t plain_at(int64_t depth, int64_t width) {
    const int64_t bytes = EDGEGNN_PICK_DOT(qgemm_packed_size)(depth, width) + padded_width(width) * 4;
    return (static_cast<size_t>(bytes) + 63) / 64 * 64;
  }
  static size_t size(int64_t depth, int64_t width, bool with_plain) {
    return plain_at(depth, width) + (with_plain ? static_cast<size_t>(depth * padded_width(width)) : 0);
  }

  // `memory` has room for size().
  void make(const Tensor& w, bool with_plain, void* memory) {
    depth = w.dims[0];
    width = w.dims[1];
    const int64_t padded = padded_width(width);
    auto* const total = static_cast<int32_t*>(memory);
    auto* const rows = static_cast<int8_t*>(memory) + plain_at(depth, width);
    memset(total, 0, static_cast<size_t>(padded) * sizeof(int32_t));
    in_pairs = true;
    const int8_t* from = w.as<int8_t>();
    for (int64_t k = 0; k < depth; ++k, from += width) {
      for (int64_t n = 0; n < width; ++n) {
        total[n] += from[n];
        in_pairs = in_pairs && from[n] != -128;
      }
      if (!with_plain) continue;
      memcpy(rows + k * padded, from, static_cast<size_t>(width));
      memset(rows + k * padded + width, 0, static_cast<size_t>(padded - width));
    }
    EDGEGNN_PICK_DOT(qgemm_pack)(depth, width, w.as<int8_t>(), total + padded);
    packed = total + padded;
    plain = with_plain ? rows : nullptr;
    totals = total;
  }
};

// Memory for one call.
class Taken {
 public:
  explicit Taken(Scratch* scratch) : scratch_(scratch) {}
  ~Taken() { scratch_->give_back(memory_); }
  Taken(const Taken&) = delete;
  Taken& operator=(const Taken&) = delete;
  OrtStatus* take(size_t bytes) {
    memory_ = scratch_->take(bytes);
    return memory_ == nullptr ? out_of_memory(bytes) : nullptr;
  }
  void* memory() const { return memory_; }

 private:
  Scratch* scratch_;
  void* memory_ = nullptr;
};

}  // namespace edgegnn
