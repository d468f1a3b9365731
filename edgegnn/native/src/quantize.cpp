// QuantizeRows: codes of floats whose steps and widths were learnt, for each row or for each column.

#include "integer_op.h"
#include "ops.h"

namespace edgegnn {
namespace {

constexpr int64_t kItem = 32768;  // elements of one work item: some 10 us
constexpr int64_t kGroup = 16;    // columns that the kernel takes at once

struct State {
  Constants constants;
  int32_t zero_point;
  Scratch scratch;
};

OrtStatus* create(void* memory, const Info& info) {
  auto* const state = static_cast<State*>(memory);
  const int64_t is_signed = info.attribute("signed", int64_t{0});
  if (is_signed != 0 && is_signed != 1) return invalid("signed = %lld must be 0 or 1", static_cast<long long>(is_signed));
  state->zero_point = is_signed == 1 ? 128 : 0;
  state->constants.find(info, 4);
  return nullptr;
}

void destroy(void* memory) { static_cast<State*>(memory)->scratch.free_all(); }

// How a tensor is spread over x [R, K].
enum Spread { ONE, BY_ROW, BY_COLUMN, NOT_AT_ALL };

Spread spread_of(const Tensor& tensor, const Tensor& x) {
  if (tensor.count == 1) return ONE;
  if (tensor.rank != 2) return NOT_AT_ALL;
  if (tensor.dims[0] == x.dims[0] && tensor.dims[1] == 1) return BY_ROW;
  return tensor.dims[0] == 1 && tensor.dims[1] == x.dims[1] ? BY_COLUMN : NOT_AT_ALL;
}

bool is_finite(float value) { return value - value == 0.0f; }

OrtStatus* compute(void* memory, Context& context) {
  auto* const state = static_cast<State*>(memory);
  Tensor x;
  Tensor step;
  Tensor top;
  Tensor factor;
  EDGEGNN_TRY(state->constants.input(context, 0, "x", &x));
  EDGEGNN_TRY(state->constants.input(context, 1, "step", &step));
  EDGEGNN_TRY(state->constants.input(context, 2, "top", &top));
  EDGEGNN_TRY(state->constants.input(context, 3, "factor", &factor));
  if (x.rank != 2) return invalid("x must have the shape [R, K]");
  const int64_t rows = x.dims[0];
  const int64_t width = x.dims[1];
  const Spread steps = spread_of(step, x);
  const Spread tops = spread_of(top, x);
  const Spread factors = spread_of(factor, x);
  if (steps == NOT_AT_ALL || tops == NOT_AT_ALL || (steps == BY_ROW && tops == BY_COLUMN) || (steps == BY_COLUMN && tops == BY_ROW)) {
    return invalid("step and top must have the shape [R, 1] or [1, K], both the same, or one element");
  }
  if (factors != ONE && factors != BY_COLUMN) return invalid("factor must have the shape [1, K] or one element");

  QuantizeArgs args = {};
  void* y = nullptr;
  EDGEGNN_TRY(context.output(0, x.dims, 2, &y));
  if (rows * width == 0) return nullptr;
  args.x = x.as<float>();
  args.y = static_cast<uint8_t*>(y);
  args.width = width;
  args.zero_point = state->zero_point;
  args.step = step.as<float>();
  args.top = top.as<float>();
  args.step_step = steps == BY_ROW ? 1 : 0;
  args.top_step = tops == BY_ROW ? 1 : 0;
  args.skip_zeros = true;

  const bool by_column = steps == BY_COLUMN || tops == BY_COLUMN;
  const bool multiplies = factors == BY_COLUMN || *factor.as<float>() != 1.0f;
  const int64_t padded = (width + kGroup - 1) / kGroup * kGroup;
  const size_t bytes = static_cast<size_t>(padded * ((by_column ? 3 : 0) + (multiplies ? 1 : 0))) * sizeof(float);
  float* at = nullptr;
  if (bytes != 0) {
    at = static_cast<float*>(state->scratch.take(bytes));
    if (at == nullptr) return out_of_memory(bytes);
  }
  float* const taken = at;
  if (multiplies) {
    for (int64_t k = 0; k < padded; ++k) {
      at[k] = k < width ? factor.as<float>()[factors == BY_COLUMN ? k : 0] : 1.0f;
      args.skip_zeros = args.skip_zeros && is_finite(at[k]);
    }
    args.factor = at;
    at += padded;
  }
  if (by_column) {
    float* const low = at + padded;
    float* const high = low + padded;
    for (int64_t k = 0; k < padded; ++k) {
      const float own = k < width ? args.step[steps == BY_COLUMN ? k : 0] : 1.0f;
      const float end = k < width ? args.top[tops == BY_COLUMN ? k : 0] : 0.0f;
      const Limits limits = limits_of(end, args.zero_point);
      at[k] = own;
      low[k] = limits.low;
      high[k] = limits.high;
      args.skip_zeros = args.skip_zeros && (own < 0.0f || own > 0.0f) && end >= 0.0f;
    }
    args.step = at;
    args.low = low;
    args.high = high;
  }
  const auto kernel = EDGEGNN_PICK(quantize_rows);
  const int64_t item = width < kItem ? kItem / width : 1;
  OrtStatus* const status = parallel_for(context, (rows + item - 1) / item, [&](int64_t i) {
    const int64_t end = (i + 1) * item;
    kernel(args, i * item, end < rows ? end : rows);
  });
  if (taken != nullptr) state->scratch.give_back(taken);
  return status;
}

constexpr Op kOps[] = {{"QuantizeRows", "ffff", "u", compute, sizeof(State), create, destroy}};

}  // namespace

OpTable quantize_ops() { return table_of(kOps); }

}  // namespace edgegnn
