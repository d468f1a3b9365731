#include "integer_op.h"

#include <stdlib.h>

namespace edgegnn {
namespace {

bool is_positive(float value) { return value > 0.0f && value <= 3.4028235e38f; }

}  // namespace

OrtStatus* read_quantizer(const Info& info, bool is_signed, bool to_float, bool clips_last, Quantizer* out) {
  constexpr float kMost = 3.4028235e38f;
  const float x_scale = info.attribute("x_scale", 0.0f);
  const int64_t x_zero_point = info.attribute("x_zero_point", int64_t{0});
  out->clip_low = info.attribute("clip_low", -kMost);
  out->clip_high = info.attribute("clip_high", kMost);
  if (!(out->clip_low == out->clip_low) || !(out->clip_high == out->clip_high)) return invalid("clip_low and clip_high must be numbers");
  const float low = clips_last ? out->clip_low : info.attribute("normed_low", -kMost);
  const float high = clips_last ? out->clip_high : info.attribute("normed_high", kMost);
  if (!(low == low) || !(high == high)) return invalid("normed_low and normed_high must be numbers");
  if (!is_positive(x_scale)) return invalid("x_scale = %g must be a finite number above 0", static_cast<double>(x_scale));
  const int64_t shift = is_signed ? 128 : 0;
  if (x_zero_point + shift < 0 || x_zero_point + shift > 255) {
    return invalid("x_zero_point = %lld is not a code of x", static_cast<long long>(x_zero_point));
  }
  out->x_scale = x_scale;
  out->x_zero_point = static_cast<int32_t>(x_zero_point + shift);
  out->is_signed = is_signed;
  out->epilogue = {x_scale, low, high, 1.0f, 1.0f, 0, to_float};
  if (to_float) return nullptr;

  const float y_scale = info.attribute("y_scale", 0.0f);
  const int64_t y_zero_point = info.attribute("y_zero_point", int64_t{0});
  // Within these bounds neither 1 / y_scale nor the error of a quotient leaves the range of normal numbers.
  if (!(y_scale >= 1e-30f && y_scale <= 1e30f)) {
    return invalid("y_scale = %g is outside [1e-30, 1e30]", static_cast<double>(y_scale));
  }
  if (y_zero_point < 0 || y_zero_point > 255) {
    return invalid("y_zero_point = %lld is outside [0, 255]", static_cast<long long>(y_zero_point));
  }
  Epilogue& epilogue = out->epilogue;
  epilogue.y_scale = y_scale;
  epilogue.y_inverse = 1.0f / y_scale;
  epilogue.y_zero_point = static_cast<int32_t>(y_zero_point);
  // What the codes 0 and 255 stand for: beyond, a byte has to saturate anyway.
  const float least = static_cast<float>(-y_zero_point) * y_scale;
  const float most = static_cast<float>(255 - y_zero_point) * y_scale;
  const auto saturated = [&](float v) { return v < least ? least : v > most ? most : v; };
  epilogue.low = saturated(low);
  epilogue.high = saturated(high);
  return nullptr;
}

void Constants::find(const Info& info, size_t count) {
  for (size_t i = 0; i < count && i < kMost; ++i) known_[i] = info.constant_input(i, &tensor_[i]);
}

OrtStatus* Constants::input(const Context& context, size_t i, const char* name, Tensor* out) const {
  if (i >= kMost || !known_[i]) return context.input(i, name, out);
  *out = tensor_[i];
  return nullptr;
}

OrtStatus* read_vector(const Context& context, const Constants& constants, size_t i, const char* name, int64_t size, Vector* out) {
  Tensor tensor;
  EDGEGNN_TRY(constants.input(context, i, name, &tensor));
  if (tensor.rank != 1 || (tensor.count != 1 && tensor.count != size)) {
    return invalid("%s must have 1 or %lld elements", name, static_cast<long long>(size));
  }
  *out = {tensor.as<float>(), tensor.count == 1 ? 0 : 1};
  return nullptr;
}

const Layout* LayoutCache::take(int64_t width, int64_t head_width) {
  const Layout* kept = __atomic_load_n(&kept_, __ATOMIC_ACQUIRE);
  if (kept != nullptr && kept->width == width && kept->head_width == head_width) return kept;
  const int64_t size = EDGEGNN_PICK(arranged_size)(width);
  auto* const layout = static_cast<Layout*>(malloc(sizeof(Layout) + static_cast<size_t>(size) * 2 * sizeof(int32_t)));
  if (layout == nullptr) return nullptr;
  auto* const column = reinterpret_cast<int32_t*>(layout + 1);
  int32_t* const head_of = column + size;
  *layout = {width, head_width, size, column, head_of};
  EDGEGNN_PICK(arrange)(width, column);
  for (int64_t i = 0; i < size; ++i) {
    if (column[i] < 0) column[i] = 0;
    head_of[i] = static_cast<int32_t>(column[i] / head_width);
  }
  const Layout* expected = nullptr;
  __atomic_compare_exchange_n(&kept_, &expected, layout, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE);
  return layout;
}

void LayoutCache::give_back(const Layout* layout) {
  if (layout != __atomic_load_n(&kept_, __ATOMIC_ACQUIRE)) free(const_cast<Layout*>(layout));
}

void LayoutCache::free_all() { free(const_cast<Layout*>(kept_)); }

void arrange_values(const Layout& layout, const Vector& values, float* out) {
  for (int64_t i = 0; i < layout.size; ++i) out[i] = values.data[layout.column[i] * values.step];
}

}  // namespace edgegnn
