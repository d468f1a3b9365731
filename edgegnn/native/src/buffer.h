// Temporary memory of one work item: on the stack when it is small.
#pragma once

#include <stdint.h>
#include <stdlib.h>

namespace edgegnn::EDGEGNN_LEVEL {

class FloatBuffer {
 public:
  explicit FloatBuffer(int64_t count)
      : data_(count <= kOnStack ? stack_ : static_cast<float*>(malloc(static_cast<size_t>(count) * sizeof(float)))) {}
  ~FloatBuffer() {
    if (data_ != stack_) free(data_);
  }
  FloatBuffer(const FloatBuffer&) = delete;
  FloatBuffer& operator=(const FloatBuffer&) = delete;
  float* data() { return data_; }  // null: out of memory

 private:
  static constexpr int64_t kOnStack = 4096;
  float stack_[kOnStack];
  float* data_;
};

}  // namespace edgegnn::EDGEGNN_LEVEL
