// SparseGemm: float32 products of rows that are mostly zeros. Compiled once for each instruction set, see isa.h.
//
// Products and sums are rounded one by one in the order of k, in sparse and dense rows alike.
#include "buffer.h"
#include "nonzeros.h"
#include "qgemm.h"

namespace edgegnn::EDGEGNN_LEVEL {
namespace {

using F = Lanes::F;
constexpr int Q = Lanes::Q;

EDGEGNN_INLINE void finish(const SparseGemmArgs& args, int64_t row, int64_t at, const F sum[Q]) {
  const int64_t left = args.width - at;
  float* const out = args.y + row * args.width + at;
  float part[kGroup];
  float* const to = left < kGroup ? part : out;
#pragma GCC unroll 4
  for (int q = 0; q < Q; ++q) Lanes::store_f(to + q * Lanes::L, Lanes::add_f(sum[q], Lanes::load_f(args.bias + at + q * Lanes::L)));
  if (left < kGroup) memcpy(out, part, static_cast<size_t>(left) * sizeof(float));
}

// G groups of columns of row x, which is not zero at at[0], ..., at[count - 1].
template <int G>
void sparse_tile(const SparseGemmArgs& args, const int32_t* at, int64_t count, int64_t row, int64_t group) {
  F sum[G * Q];
#pragma GCC unroll 16
  for (int q = 0; q < G * Q; ++q) sum[q] = Lanes::all_f(0.0f);
  const float* const x = args.x + row * args.depth;
  const float* const w = args.w + group * kGroup;
  for (int64_t j = 0; j < count; ++j) {
    const float* const from = w + at[j] * args.padded;
    const F factor = Lanes::all_f(x[at[j]]);
#pragma GCC unroll 16
    for (int q = 0; q < G * Q; ++q) sum[q] = Lanes::add_f(sum[q], Lanes::mul_f(factor, Lanes::load_f(from + q * Lanes::L)));
  }
#pragma GCC unroll 8
  for (int g = 0; g < G; ++g) finish(args, row, (group + g) * kGroup, sum + g * Q);
}

void sparse_row(const SparseGemmArgs& args, const int32_t* at, int64_t count, int64_t row) {
  constexpr int kMost = Q >= 4 ? 2 : 4;
  const int64_t groups = args.padded / kGroup;
  int64_t group = 0;
  for (; groups - group >= kMost; group += kMost) sparse_tile<kMost>(args, at, count, row, group);
  for (; group < groups; ++group) sparse_tile<1>(args, at, count, row, group);
}

// G groups of columns of the rows row[0], ..., row[count - 1], at most R.
template <int R, int G>
void dense_tile(const SparseGemmArgs& args, const int64_t* row, int count, int64_t group) {
  F sum[R][G * Q];
  const float* x[R];
#pragma GCC unroll 8
  for (int i = 0; i < R; ++i) {
    x[i] = args.x + row[i < count ? i : 0] * args.depth;
#pragma GCC unroll 8
    for (int q = 0; q < G * Q; ++q) sum[i][q] = Lanes::all_f(0.0f);
  }
  const float* w = args.w + group * kGroup;
  for (int64_t k = 0; k < args.depth; ++k, w += args.padded) {
    F weight[G * Q];
#pragma GCC unroll 8
    for (int q = 0; q < G * Q; ++q) weight[q] = Lanes::load_f(w + q * Lanes::L);
#pragma GCC unroll 8
    for (int i = 0; i < R; ++i) {
      const F factor = Lanes::all_f(x[i][k]);
#pragma GCC unroll 8
      for (int q = 0; q < G * Q; ++q) sum[i][q] = Lanes::add_f(sum[i][q], Lanes::mul_f(factor, weight[q]));
    }
  }
#pragma GCC unroll 8
  for (int i = 0; i < R; ++i) {
    if (i < count) {
#pragma GCC unroll 8
      for (int g = 0; g < G; ++g) finish(args, row[i], (group + g) * kGroup, sum[i] + g * Q);
    }
  }
}

#if defined(__AVX512F__)
constexpr int kRows = 6, kGroups = 4;
#elif defined(EDGEGNN_ARM64)
constexpr int kRows = 4, kGroups = 1;
#elif defined(__AVX2__)
constexpr int kRows = 5, kGroups = 1;
#else
constexpr int kRows = 2, kGroups = 1;
#endif

void dense(const SparseGemmArgs& args, const int64_t* row, int count) {
  const int64_t groups = args.padded / kGroup;
  int64_t group = 0;
  for (; groups - group >= kGroups; group += kGroups) dense_tile<kRows, kGroups>(args, row, count, group);
  for (; group < groups; ++group) dense_tile<kRows, 1>(args, row, count, group);
}

}  // namespace

bool sparse_gemm_rows(const SparseGemmArgs& args, int64_t begin, int64_t end) {
  const int64_t most = args.depth / 8;
  FloatBuffer buffer(most + kNonzeroSlack);
  if (buffer.data() == nullptr) return false;
  auto* const at = reinterpret_cast<int32_t*>(buffer.data());
  int64_t row[kRows];
  int count = 0;
  for (int64_t i = begin; i < end; ++i) {
    const int64_t found = find_nonzeros(args.x + i * args.depth, args.depth, most, at);
    if (found >= 0) {
      sparse_row(args, at, found, i);
      continue;
    }
    row[count++] = i;
    if (count == kRows) {
      dense(args, row, count);
      count = 0;
    }
  }
  if (count > 0) dense(args, row, count);
  return true;
}

}  // namespace edgegnn::EDGEGNN_LEVEL
