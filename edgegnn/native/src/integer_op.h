// What the integer ops have in common: attributes, per-column inputs, and the order in which the kernels want those.
#pragma once

#include "glue.h"
#include "quantized.h"

namespace edgegnn {

// The quantization attributes of an op, checked.
struct Quantizer {
  float x_scale;
  int32_t x_zero_point;  // of unsigned codes: signed codes had 128 added
  bool is_signed;
  float clip_low;   // the attributes: the epilogue has them, too, unless something stands between
  float clip_high;
  Epilogue epilogue;  // scale is x_scale
};

// `to_float`: the op has no y_scale and y_zero_point. `clips_last`: no norm stands between the clip and the output; the norm's
// result has limits of its own, normed_low and normed_high.
OrtStatus* read_quantizer(const Info& info, bool is_signed, bool to_float, bool clips_last, Quantizer* out);

// The inputs of a node that are initializers, looked up once: asking the runtime for one takes some 0.2 us, and on a small graph an
// op has little else to do. Part of an op's zeroed state.
class Constants {
 public:
  void find(const Info& info, size_t count);
  // Input `i`, from here or from the call.
  OrtStatus* input(const Context& context, size_t i, const char* name, Tensor* out) const;

 private:
  static constexpr size_t kMost = 10;
  bool known_[kMost];
  Tensor tensor_[kMost];
};

// A float32 input of 1 or `size` elements. step is 0 or 1.
struct Vector {
  const float* data;
  int64_t step;
};
OrtStatus* read_vector(const Context& context, const Constants& constants, size_t i, const char* name, int64_t size, Vector* out);

// Which column each lane of the kernels' registers holds, for rows of `width`.
struct Layout {
  int64_t width;
  int64_t head_width;
  int64_t size;            // floats of an arranged vector
  const int32_t* column;   // [size], 0 where there is none
  const int32_t* head_of;  // [size], column / head_width
};

// The layout of a kernel's first call is kept for later calls: their widths are nearly always the same. Part of an op's zeroed state.
class LayoutCache {
 public:
  // Null: out of memory. To be given back.
  const Layout* take(int64_t width, int64_t head_width);
  void give_back(const Layout* layout);
  void free_all();

 private:
  const Layout* kept_;
};

// Writes `values` in the order of the layout.
void arrange_values(const Layout& layout, const Vector& values, float* out);

}  // namespace edgegnn
