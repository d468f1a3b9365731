// SparseGemm: float32 products of rows that are mostly zeros. Compiled once for each instruction set, see isa.h.
//
// Products are added in the order of k, in sparse and dense rows alike; with a fused multiply-add where the processor has one.
#include "buffer.h"
#include "nonzeros.h"
#include "qgemm.h"
#include "row_sum.h"

namespace edgegnn::EDGEGNN_LEVEL {
namespace {

using F = Lanes::F;
constexpr int Q = Lanes::Q;
constexpr int64_t kSparseShare = 8;  // a row is sparse when fewer than one in so many is not zero

// Rows and groups of sixteen columns that a dense tile has in registers, and groups that a sparse row has.
#if defined(__AVX512F__)
constexpr int kRows = 6, kGroups = 4, kSparseGroups = 8;
#elif defined(EDGEGNN_ARM64)
constexpr int kRows = 5, kGroups = 1, kSparseGroups = 4;
#elif defined(__AVX2__)
constexpr int kRows = 5, kGroups = 1, kSparseGroups = 4;
#else
constexpr int kRows = 2, kGroups = 1, kSparseGroups = 2;
#endif

// Sixteen columns of a row, as many of them as there are, divided by `divisor` where rows are normalised, plus the bias.
EDGEGNN_INLINE void finish(const SparseGemmArgs& args, int64_t row, int64_t at, float divisor, const F sum[Q]) {
  const int64_t left = args.width - at;
  float* const out = args.y + row * args.width + at;
  float part[kGroup];
  float* const to = left < kGroup ? part : out;
  const bool divides = args.least_sum > 0.0f;
  const F by = Lanes::all_f(divisor);
  each<Q>([&](auto q) EDGEGNN_LAMBDA {
    const F total = divides ? Lanes::quotient(sum[q], by) : sum[q];
    Lanes::store_f(to + q * Lanes::L, Lanes::add_f(total, Lanes::load_f(args.bias + at + q * Lanes::L)));
  });
  if (left < kGroup) memcpy(out, part, static_cast<size_t>(left) * sizeof(float));
}

// G groups of columns of row x, which is not zero at at[0], ..., at[count - 1].
template <int G>
void sparse_tile(const SparseGemmArgs& args, const int32_t* at, int64_t count, int64_t row, float divisor, int64_t group) {
  F sum[G * Q];
  each<G * Q>([&](auto q) EDGEGNN_LAMBDA { sum[q] = Lanes::all_f(0.0f); });
  const float* const x = args.x + row * args.depth;
  const float* const w = args.w + group * kGroup;
  const int64_t padded = args.padded;
  for (int64_t j = 0; j < count; ++j) {
    const float* const from = w + at[j] * padded;
    const F factor = Lanes::all_f(x[at[j]]);
    each<G * Q>([&](auto q) EDGEGNN_LAMBDA {
      sum[q] = Lanes::add_product(sum[q], factor, Lanes::load_f(from + q * Lanes::L));
    });
  }
  F out[G * Q];  // in memory, as `sum` must not be
  each<G * Q>([&](auto q) EDGEGNN_LAMBDA { out[q] = sum[q]; });
  for (int g = 0; g < G; ++g) finish(args, row, (group + g) * kGroup, divisor, out + g * Q);
}

void sparse_row(const SparseGemmArgs& args, const int32_t* at, int64_t count, int64_t row) {
  const int64_t groups = args.padded / kGroup;
  const float* const x = args.x + row * args.depth;
  const float divisor = args.least_sum > 0.0f ? sparse_divisor(x, at, count, args.least_sum) : 1.0f;
  int64_t group = 0;
  for (; groups - group >= kSparseGroups; group += kSparseGroups) sparse_tile<kSparseGroups>(args, at, count, row, divisor, group);
  for (; groups - group >= 2; group += 2) sparse_tile<2>(args, at, count, row, divisor, group);
  for (; group < groups; ++group) sparse_tile<1>(args, at, count, row, divisor, group);
}

// G groups of columns of R rows.
template <int R, int G>
void dense_tile(const SparseGemmArgs& args, const int64_t* row, const float* divisor, int64_t group) {
  F sum[R][G * Q];
  const float* x[R];
  each<R>([&](auto i) EDGEGNN_LAMBDA {
    x[i] = args.x + row[i] * args.depth;
    each<G * Q>([&](auto q) EDGEGNN_LAMBDA { sum[i][q] = Lanes::all_f(0.0f); });
  });
  const float* w = args.w + group * kGroup;
  const int64_t depth = args.depth;
  const int64_t padded = args.padded;
  for (int64_t k = 0; k < depth; ++k, w += padded) {
    F weight[G * Q];
    each<G * Q>([&](auto q) EDGEGNN_LAMBDA { weight[q] = Lanes::load_f(w + q * Lanes::L); });
    each<R>([&](auto i) EDGEGNN_LAMBDA {
      const F factor = Lanes::all_f(x[i][k]);
      each<G * Q>([&](auto q) EDGEGNN_LAMBDA { sum[i][q] = Lanes::add_product(sum[i][q], factor, weight[q]); });
    });
  }
  F out[R][G * Q];
  each<R>([&](auto i) EDGEGNN_LAMBDA { each<G * Q>([&](auto q) EDGEGNN_LAMBDA { out[i][q] = sum[i][q]; }); });
  for (int i = 0; i < R; ++i) {
    for (int g = 0; g < G; ++g) finish(args, row[i], (group + g) * kGroup, divisor[i], out[i] + g * Q);
  }
}

template <int R>
void dense_rows(const SparseGemmArgs& args, const int64_t* row) {
  const int64_t groups = args.padded / kGroup;
  float divisor[R];
  for (int i = 0; i < R; ++i) {
    divisor[i] = args.least_sum > 0.0f ? dense_divisor(args.x + row[i] * args.depth, args.depth, args.least_sum) : 1.0f;
  }
  int64_t group = 0;
  if constexpr (kGroups > 1) {
    for (; groups - group >= kGroups; group += kGroups) dense_tile<R, kGroups>(args, row, divisor, group);
  }
  for (; group < groups; ++group) dense_tile<R, 1>(args, row, divisor, group);
}

}  // namespace

bool sparse_gemm_rows(const SparseGemmArgs& shared, int64_t begin, int64_t end) {
  const SparseGemmArgs args = shared;
  const int64_t most = args.depth / kSparseShare;
  FloatBuffer buffer(most + kNonzeroSlack);
  if (buffer.data() == nullptr) return false;
  auto* const at = reinterpret_cast<int32_t*>(buffer.data());
  int64_t row[kRows];
  int dense = 0;
  for (int64_t i = begin; i < end; ++i) {
    const int64_t found = find_nonzeros(args.x + i * args.depth, args.depth, most, at);
    if (found >= 0) {
      sparse_row(args, at, found, i);
      continue;
    }
    row[dense++] = i;
    if (dense == kRows) {
      dense_rows<kRows>(args, row);
      dense = 0;
    }
  }
  for (int i = 0; i < dense; ++i) dense_rows<1>(args, row + i);
  return true;
}

}  // namespace edgegnn::EDGEGNN_LEVEL
