// What an op needs to talk to ONNX Runtime: tensors, attributes, error statuses, the thread pool, and its row in the op table.
//
// No C++ exception and no C++ runtime library is used anywhere in this library: functions report with OrtStatus* (null is success)
// and EDGEGNN_TRY passes a failure on.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "ort_abi.h"

namespace edgegnn {

#define EDGEGNN_TRY(EXPRESSION)                            \
  do {                                                     \
    if (OrtStatus* edgegnn_status = (EXPRESSION)) return edgegnn_status; \
  } while (0)

// An INVALID_ARGUMENT status with a printf-like text. The library puts the op's name before it.
OrtStatus* invalid(const char* format, ...) __attribute__((format(printf, 1, 2)));

// A FAIL status for memory that could not be had.
OrtStatus* out_of_memory(size_t bytes);

constexpr int kMaxRank = 8;

// A tensor given to an op. `data` may be null when it has no elements.
struct Tensor {
  const void* data;
  int64_t dims[kMaxRank];
  int64_t count;  // product of dims
  int rank;

  template <typename T>
  const T* as() const {
    return static_cast<const T*>(data);
  }
  // Product of the dimensions from `axis` on: 1 when there are none.
  int64_t trailing(int axis) const {
    int64_t product = 1;
    for (int i = axis; i < rank; ++i) product *= dims[i];
    return product;
  }
};

// One call of an op.
class Context {
 public:
  explicit Context(OrtKernelContext* raw) : raw_(raw) {}

  // Input `i` with its shape. `name` is for the message when it is missing or has more than kMaxRank dimensions.
  OrtStatus* input(size_t i, const char* name, Tensor* out) const;

  // A number given as an int64 tensor of one element (any rank), which has to lie in [0, 2^31).
  OrtStatus* size_input(size_t i, const char* name, int64_t* out) const;

  // Allocates output `i`. `*out` is null when the output has no elements, or when an optional output is not wanted.
  OrtStatus* output(size_t i, const int64_t* dims, size_t rank, void** out) const;

  // Whether the node names output `i` at all (only optional outputs can be left out, and only from the end of the list).
  bool wants_output(size_t i) const;

  // Runs work(argument, i) for i in [0, total), on the session's own threads, in any order; inline when total is 1.
  OrtStatus* parallel_for(int64_t total, void (*work)(void* argument, size_t i), void* argument) const;

 private:
  OrtKernelContext* raw_;
};

// Runs function(i) for i in [0, total) on the session's threads: function is a lambda that captures by reference.
template <typename Function>
OrtStatus* parallel_for(const Context& context, int64_t total, Function&& function) {
  return context.parallel_for(
      total, [](void* argument, size_t i) { (*static_cast<Function*>(argument))(static_cast<int64_t>(i)); }, &function);
}

// What an op can ask when its kernel is made.
class Info {
 public:
  explicit Info(const OrtKernelInfo* raw) : raw_(raw) {}
  float attribute(const char* name, float otherwise) const;
  int64_t attribute(const char* name, int64_t otherwise) const;
  // Input `i` when it is an initializer; its memory lives as long as the kernel. False when it is not, or too odd to be used.
  bool constant_input(size_t i, Tensor* out) const;

 private:
  const OrtKernelInfo* raw_;
};

// One op, or one overload of it: several rows may have one name, the same number of inputs and outputs, and other types.
//
// Types are one letter each: f float32, u uint8, s int8, i int32, l int64. A '?' after the letter makes it optional.
struct Op {
  const char* name;
  const char* inputs;
  const char* outputs;
  OrtStatus* (*compute)(void* state, Context& context);
  // State of a kernel, made once a node: `state_size` zeroed bytes (aligned as malloc does). May all be left out.
  // destroy is called whenever create was, whatever create returned. Several threads may be in compute at once.
  size_t state_size = 0;
  OrtStatus* (*create)(void* state, const Info& info) = nullptr;
  void (*destroy)(void* state) = nullptr;
};

struct OpTable {
  const Op* ops;
  size_t count;
};

template <size_t N>
constexpr OpTable table_of(const Op (&ops)[N]) {
  return {ops, N};
}

// Memory that a kernel keeps between calls, so that large temporaries don't cost a page fault every 4 KiB each time. Lives in the
// state of a kernel, zero-initialised. When two calls run at once, the second one gets memory of its own.
class Scratch {
 public:
  void* take(size_t bytes);  // null when there is no memory
  void give_back(void* memory);
  void free_all();

 private:
  void* memory_;
  size_t size_;
  bool busy_;
};

}  // namespace edgegnn
