// The end of every integer kernel: clip, and store floats or quantized bytes; and how rows are split into vectors. See qsimd.h.
#pragma once

#include "qsimd.h"
#include "quantized.h"

namespace edgegnn::EDGEGNN_LEVEL {

// Calls function(V()) with the vector for rows of `width`.
template <class Function>
EDGEGNN_INLINE void with_vector([[maybe_unused]] int64_t width, Function&& function) {
#if defined(__AVX512BW__)
  if (width >= V64::W) return function(V64());
#endif
#if defined(__AVX2__)
  if (width >= V32::W) return function(V32());
#endif
  return function(V16());
}

// Rows are split into units of W columns.
template <class V>
EDGEGNN_INLINE int64_t unit_count(int64_t width) {
  return (width + V::W - 1) / V::W;
}

// First column of a unit: the last one of a row that it doesn't fill overlaps the one before.
template <class V>
EDGEGNN_INLINE int64_t unit_column(int64_t unit, int64_t width) {
  const int64_t at = unit * V::W;
  return at + V::W <= width || width < V::W ? at : width - V::W;
}

// An Epilogue in registers.
template <class V>
struct Constants {
  typename V::F scale, low, high, y_scale, y_inverse;
  typename V::I offset;

  explicit Constants(const Epilogue& epilogue)
      : scale(V::all_f(epilogue.scale)),
        low(V::all_f(epilogue.low)),
        high(V::all_f(epilogue.high)),
        y_scale(V::all_f(epilogue.y_scale)),
        y_inverse(V::all_f(epilogue.y_inverse)),
        offset(V::offset(epilogue.y_zero_point)) {}
};

// Clips v and writes its first `count` columns to element `at` of y.
template <class V, bool kFloat>
EDGEGNN_INLINE void finish(const Constants<V>& constants, typename V::F v[V::N], void* y, int64_t at, int count) {
  if constexpr (kFloat) {
    float* out = static_cast<float*>(y) + at;
#pragma GCC unroll 4
    for (int k = 0; k < V::N; ++k) v[k] = V::clip(v[k], constants.low, constants.high);
    if (count == V::W) {
      V::store_floats(out, v);
    } else {
      float whole[V::W];
      V::store_floats(whole, v);
      memcpy(out, whole, sizeof(float) * static_cast<size_t>(count));
    }
  } else {
    uint8_t* out = static_cast<uint8_t*>(y) + at;
    typename V::I code[V::N];
#pragma GCC unroll 4
    for (int k = 0; k < V::N; ++k) {
      v[k] = V::clip_number(v[k], constants.low, constants.high);
      code[k] = V::round(V::divide(v[k], constants.y_scale, constants.y_inverse));
    }
    const typename V::B bytes = V::fold(code, constants.offset);
    if (count == V::W) {
      V::store(out, bytes);
    } else {
      uint8_t whole[V::W];
      V::store(whole, bytes);
      memcpy(out, whole, static_cast<size_t>(count));
    }
  }
}

}  // namespace edgegnn::EDGEGNN_LEVEL
