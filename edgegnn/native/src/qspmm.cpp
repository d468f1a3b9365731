// QSpMM, QSpMMWeighted, QAttentionSpMM, and the same with a float32 output: ...Float.

#include "csr.h"
#include "integer_op.h"
#include "ops.h"
#include "spmm.h"

namespace edgegnn {
namespace {

struct State {
  Constants constants;
  Quantizer quantizer;
  float self_weight;
  float slope;
  LayoutCache layouts;
  Scratch scratch;
};

template <bool SIGNED, bool FLOAT>
OrtStatus* create(void* memory, const Info& info) {
  auto* const state = static_cast<State*>(memory);
  state->self_weight = info.attribute("self_weight", 0.0f);
  state->slope = info.attribute("negative_slope", 0.2f);
  state->constants.find(info, 9);
  return read_quantizer(info, SIGNED, FLOAT, true, &state->quantizer);
}

void destroy(void* memory) {
  auto* const state = static_cast<State*>(memory);
  state->layouts.free_all();
  state->scratch.free_all();
}

// A bias in the order of the kernels' registers, for the time of one call.
class Arranged {
 public:
  explicit Arranged(State* state) : state_(state) {}
  ~Arranged() {
    if (layout_ != nullptr) state_->layouts.give_back(layout_);
    state_->scratch.give_back(bias_);
  }
  Arranged(const Arranged&) = delete;
  Arranged& operator=(const Arranged&) = delete;

  OrtStatus* make(int64_t width, int64_t head_width, const Vector& bias) {
    layout_ = state_->layouts.take(width, head_width);
    if (layout_ == nullptr) return out_of_memory(0);
    const size_t bytes = static_cast<size_t>(layout_->size) * sizeof(float);
    bias_ = static_cast<float*>(state_->scratch.take(bytes));
    if (bias_ == nullptr) return out_of_memory(bytes);
    arrange_values(*layout_, bias, bias_);
    return nullptr;
  }
  const float* bias() const { return bias_; }
  const int32_t* head_of() const { return layout_->head_of; }

 private:
  State* state_;
  const Layout* layout_ = nullptr;
  float* bias_ = nullptr;
};

constexpr int64_t kWidest = int64_t{1} << 24;  // columns of a row: far more than any model has, and no product of sizes overflows

OrtStatus* check_width(int64_t width) {
  return width <= kWidest ? nullptr : invalid("x has %lld columns; at most 2^24 are supported", static_cast<long long>(width));
}

// Runs kernel(args, begin, end) over blocks of rows; it returns a set of Fault.
template <class Kernel, class Args>
OrtStatus* over_rows(Context& context, const Csr& csr, const Args& args, int64_t row_bytes, int64_t width, const int32_t* perm,
                     Kernel kernel) {
  int faults = FAULT_NONE;
  if (csr.rows * width == 0) {  // nothing to write; a bad graph is refused all the same
    faults = all_below(csr.col, csr.entries, args.columns) ? FAULT_NONE : FAULT_COL;
  } else {
    const RowBlocks blocks(csr, row_bytes);
    EDGEGNN_TRY(parallel_for(context, blocks.count(), [&](int64_t k) {
      const int fault = kernel(args, blocks.begin(k), blocks.begin(k + 1));
      if (fault != FAULT_NONE) __atomic_fetch_or(&faults, fault, __ATOMIC_RELAXED);
    }));
  }
  if ((faults & FAULT_COL) != 0) return out_of_range("col", csr.col, csr.entries, args.columns);
  if ((faults & FAULT_PERM) != 0) return out_of_range("perm", perm, csr.entries, csr.entries);
  return faults == FAULT_NONE ? nullptr : out_of_memory(0);
}

OrtStatus* qspmm(void* memory, Context& context) {
  auto* const state = static_cast<State*>(memory);
  Tensor x;
  Csr csr;
  Vector row_scale;
  Vector bias;
  EDGEGNN_TRY(state->constants.input(context, 0, "x", &x));
  EDGEGNN_TRY(read_csr(context, 1, 4, &csr));
  if (x.rank != 2) return invalid("x must have the shape [C, F]");
  const int64_t width = x.dims[1];
  EDGEGNN_TRY(check_width(width));
  EDGEGNN_TRY(read_vector(context, state->constants, 5, "row_scale", csr.rows, &row_scale));
  EDGEGNN_TRY(read_vector(context, state->constants, 6, "bias", width, &bias));
  if (state->self_weight != 0.0f && csr.rows > x.dims[0]) {
    return invalid("self_weight needs num_rows = %lld to be at most the %lld rows of x", static_cast<long long>(csr.rows),
                   static_cast<long long>(x.dims[0]));
  }
  const int64_t dims[2] = {csr.rows, width};
  QspmmArgs args = {};
  EDGEGNN_TRY(context.output(0, dims, 2, &args.y));
  Arranged arranged(state);
  if (width > 0) EDGEGNN_TRY(arranged.make(width, width, bias));
  args.x = x.as<uint8_t>();
  args.width = width;
  args.columns = x.dims[0];
  args.zero_point = state->quantizer.x_zero_point;
  args.is_signed = state->quantizer.is_signed;
  args.indptr = csr.indptr;
  args.col = csr.col;
  args.entries = csr.entries;
  args.row_scale = row_scale.data;
  args.row_scale_step = row_scale.step;
  args.bias = arranged.bias();
  args.self_weight = state->self_weight;
  args.epilogue = state->quantizer.epilogue;
  const auto kernel = EDGEGNN_PICK(qspmm_rows);
  return over_rows(context, csr, args, width, width, nullptr, [&](const QspmmArgs& block, int64_t begin, int64_t end) -> int {
    return kernel(block, begin, end) ? FAULT_NONE : FAULT_COL;
  });
}

// What QSpMMWeighted and QAttentionSpMM share. `args` has the weights, heads and row_scale.
OrtStatus* weighted(State* state, Context& context, const Tensor& x, const Csr& csr, const Vector& bias, QweightedArgs* args) {
  int64_t dims[3] = {csr.rows, x.dims[1], x.rank == 3 ? x.dims[2] : 1};
  EDGEGNN_TRY(context.output(0, dims, static_cast<size_t>(x.rank), &args->y));
  const int64_t width = x.trailing(1);
  Arranged arranged(state);
  args->width = width;
  if (width > 0) {
    args->width = width / args->heads;
    EDGEGNN_TRY(arranged.make(width, args->width, bias));
    args->head_of = arranged.head_of();
  }
  args->x = x.as<uint8_t>();
  args->columns = x.dims[0];
  args->zero_point = state->quantizer.x_zero_point;
  args->is_signed = state->quantizer.is_signed;
  args->indptr = csr.indptr;
  args->col = csr.col;
  args->entries = csr.entries;
  args->bias = arranged.bias();
  args->epilogue = state->quantizer.epilogue;
  return over_rows(context, csr, *args, width + 4 * args->heads, width, args->perm, EDGEGNN_PICK(qweighted_rows));
}

OrtStatus* qspmm_weighted(void* memory, Context& context) {
  auto* const state = static_cast<State*>(memory);
  Tensor x;
  Tensor w;
  Csr csr;
  Vector row_scale;
  Vector bias;
  QweightedArgs args = {};
  EDGEGNN_TRY(state->constants.input(context, 0, "x", &x));
  EDGEGNN_TRY(state->constants.input(context, 1, "w", &w));
  EDGEGNN_TRY(read_csr(context, 2, 6, &csr));
  EDGEGNN_TRY(read_perm(context, 5, csr.entries, &args.perm));
  if (x.rank != 2 && x.rank != 3) return invalid("x must have the shape [C, F] or [C, H, F]");
  const int64_t width = x.trailing(1);
  EDGEGNN_TRY(check_width(width));
  EDGEGNN_TRY(read_vector(context, state->constants, 7, "row_scale", csr.rows, &row_scale));
  EDGEGNN_TRY(read_vector(context, state->constants, 8, "bias", width, &bias));
  const bool shaped = w.rank >= 1 && w.rank <= 3 && w.dims[0] == csr.entries && (w.rank < 3 || w.dims[2] == 1);
  args.heads = w.rank == 1 ? 1 : shaped ? w.dims[1] : 0;
  if (!shaped || (args.heads != 1 && (x.rank != 3 || args.heads != x.dims[1]))) {
    return invalid("w must have the shape [E], [E, 1], or [E, H] when x is [C, H, F], for E = %lld entries",
                   static_cast<long long>(csr.entries));
  }
  args.w = w.data == nullptr ? row_scale.data : w.as<float>();  // not null: that would mean attention
  args.row_scale = row_scale.data;
  args.row_scale_step = row_scale.step;
  return weighted(state, context, x, csr, bias, &args);
}

OrtStatus* qattention(void* memory, Context& context) {
  static const float kOne = 1.0f;
  auto* const state = static_cast<State*>(memory);
  Tensor x;
  Tensor a_src;
  Tensor a_dst;
  Csr csr;
  Vector bias;
  EDGEGNN_TRY(state->constants.input(context, 0, "x", &x));
  EDGEGNN_TRY(state->constants.input(context, 1, "a_src", &a_src));
  EDGEGNN_TRY(state->constants.input(context, 2, "a_dst", &a_dst));
  EDGEGNN_TRY(read_csr(context, 3, 6, &csr));
  if (x.rank != 3) return invalid("x must have the shape [C, H, F]");
  const int64_t heads = x.dims[1];
  EDGEGNN_TRY(check_width(x.trailing(1)));
  EDGEGNN_TRY(check_width(heads));
  EDGEGNN_TRY(read_vector(context, state->constants, 7, "bias", x.trailing(1), &bias));
  if (a_src.rank != 2 || a_src.dims[0] != x.dims[0] || a_src.dims[1] != heads) return invalid("a_src must have the shape [C, H] of x");
  if (a_dst.rank != 2 || a_dst.dims[0] != csr.rows || a_dst.dims[1] != heads) {
    return invalid("a_dst must have the shape [num_rows, H]");
  }
  QweightedArgs args = {};
  args.heads = heads;
  args.a_src = a_src.as<float>();
  args.a_dst = a_dst.as<float>();
  args.slope = state->slope;
  args.row_scale = &kOne;
  return weighted(state, context, x, csr, bias, &args);
}

#define EDGEGNN_INTEGER_OP(NAME, REST, COMPUTE)                                                              \
  {NAME, "u" REST, "u", COMPUTE, sizeof(State), create<false, false>, destroy},                              \
  {NAME, "s" REST, "u", COMPUTE, sizeof(State), create<true, false>, destroy},                               \
  {NAME "Float", "u" REST, "f", COMPUTE, sizeof(State), create<false, true>, destroy},                       \
  {NAME "Float", "s" REST, "f", COMPUTE, sizeof(State), create<true, true>, destroy}

constexpr Op kOps[] = {
    EDGEGNN_INTEGER_OP("QSpMM", "iiilff", qspmm),
    EDGEGNN_INTEGER_OP("QSpMMWeighted", "fiiiilff", qspmm_weighted),
    EDGEGNN_INTEGER_OP("QAttentionSpMM", "ffiiilf", qattention),
};

}  // namespace

OpTable qspmm_ops() { return table_of(kOps); }

}  // namespace edgegnn
