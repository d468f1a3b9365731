#include "glue.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

namespace edgegnn {

OrtStatus* invalid(const char* format, ...) {
  char text[400];
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(text, sizeof text, format, arguments);
  va_end(arguments);
  return ort::create_status(ORT_INVALID_ARGUMENT, text);
}

OrtStatus* out_of_memory(size_t bytes) {
  char text[80];
  snprintf(text, sizeof text, "out of memory: %zu bytes", bytes);
  return ort::create_status(ORT_FAIL, text);
}

namespace {

constexpr int64_t kMostElements = int64_t{1} << 46;

OrtStatus* read_tensor(const OrtValue* value, const char* name, Tensor* out) {
  OrtTensorTypeAndShapeInfo* info = nullptr;
  EDGEGNN_TRY(ort::type_and_shape(value, &info));
  size_t rank = 0;
  OrtStatus* status = ort::rank(info, &rank);
  const bool fits = rank <= static_cast<size_t>(kMaxRank);
  if (status == nullptr && fits && rank > 0) status = ort::dimensions(info, out->dims, rank);
  ort::release_info(info);
  if (status != nullptr) return status;
  if (!fits) return invalid("%s has %zu dimensions; at most %d are supported", name, rank, kMaxRank);
  out->rank = static_cast<int>(rank);
  // A tensor without elements may have other dimensions of any size: products of them have to stay harmless.
  int64_t extent = 1;
  for (size_t i = 0; i < rank; ++i) {
    const int64_t dim = out->dims[i] > 1 ? out->dims[i] : 1;
    if (out->dims[i] < 0 || dim > kMostElements / extent) return invalid("the dimensions of %s are too large", name);
    extent *= dim;
  }
  out->count = out->trailing(0);
  void* data = nullptr;
  EDGEGNN_TRY(ort::tensor_data(const_cast<OrtValue*>(value), &data));
  out->data = data;
  return nullptr;
}

}  // namespace

OrtStatus* Context::input(size_t i, const char* name, Tensor* out) const {
  const OrtValue* value = nullptr;
  EDGEGNN_TRY(ort::input(raw_, i, &value));
  if (value == nullptr) return invalid("input %s is missing", name);
  return read_tensor(value, name, out);
}

OrtStatus* Context::size_input(size_t i, const char* name, int64_t* out) const {
  Tensor tensor;
  EDGEGNN_TRY(input(i, name, &tensor));
  if (tensor.count != 1) return invalid("%s must be one number, and has %lld elements", name, static_cast<long long>(tensor.count));
  const int64_t size = *tensor.as<int64_t>();
  if (size < 0 || size > INT32_MAX) return invalid("%s = %lld is outside [0, 2^31)", name, static_cast<long long>(size));
  *out = size;
  return nullptr;
}

OrtStatus* Context::output(size_t i, const int64_t* dims, size_t rank, void** out) const {
  OrtValue* value = nullptr;
  *out = nullptr;
  EDGEGNN_TRY(ort::output(raw_, i, dims, rank, &value));
  if (value == nullptr) return nullptr;
  return ort::tensor_data(value, out);
}

bool Context::wants_output(size_t i) const {
  size_t count = 0;
  if (OrtStatus* status = ort::output_count(raw_, &count)) {
    ort::release_status(status);
    return true;
  }
  return i < count;
}

OrtStatus* Context::parallel_for(int64_t total, void (*work)(void*, size_t), void* argument) const {
  if (total <= 1) {
    if (total == 1) work(argument, 0);
    return nullptr;
  }
  return ort::parallel_for(raw_, work, static_cast<size_t>(total), 0, argument);
}

float Info::attribute(const char* name, float otherwise) const {
  float value = otherwise;
  if (OrtStatus* status = ort::attribute_float(raw_, name, &value)) {
    ort::release_status(status);
    return otherwise;
  }
  return value;
}

int64_t Info::attribute(const char* name, int64_t otherwise) const {
  int64_t value = otherwise;
  if (OrtStatus* status = ort::attribute_int(raw_, name, &value)) {
    ort::release_status(status);
    return otherwise;
  }
  return value;
}

bool Info::constant_input(size_t i, Tensor* out) const {
  int is_constant = 0;
  const OrtValue* value = nullptr;
  OrtStatus* status = ort::constant_input(raw_, i, &is_constant, &value);
  if (status == nullptr && is_constant != 0 && value != nullptr) {
    status = read_tensor(value, "constant", out);
    if (status == nullptr) return true;
  }
  if (status != nullptr) ort::release_status(status);
  return false;
}

void* Scratch::take(size_t bytes) {
  if (__atomic_test_and_set(&busy_, __ATOMIC_ACQUIRE)) return malloc(bytes);
  if (size_ < bytes) {
    free(memory_);
    memory_ = malloc(bytes);
    size_ = memory_ == nullptr ? 0 : bytes;
    if (memory_ == nullptr) __atomic_clear(&busy_, __ATOMIC_RELEASE);
  }
  return memory_;
}

void Scratch::give_back(void* memory) {
  if (memory == nullptr) return;
  if (memory == memory_) {
    __atomic_clear(&busy_, __ATOMIC_RELEASE);
  } else {
    free(memory);
  }
}

void Scratch::free_all() { free(memory_); }

}  // namespace edgegnn
