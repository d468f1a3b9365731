// The inner loop of the integer matrix product, one for each kind of multiplier. All are exact: no product or sum saturates.
//
// A Tile takes codes of a few rows (prepare() brings them into its form), kDepth at a time, and weights packed as
// [group of 16 columns][step][16 kDepth codes]; run() writes their products' sums, Q vectors a group; `in_pairs` says that no weight is -128.
#pragma once

#include "qgemm.h"
#include "qsimd.h"

namespace edgegnn::EDGEGNN_LEVEL {

#if defined(__AVX512VNNI__) || defined(__ARM_FEATURE_DOTPROD)

// Four products at once: vpdpbusd takes unsigned codes, sdot signed ones.
struct Multiplier {
  using Code = uint8_t;
  using Weight = int8_t;
  static constexpr int kDepth = 4;
#if defined(EDGEGNN_ARM64)
  static constexpr int kCentre = 128;
  static constexpr int kMostGroups = 1;
  static constexpr int rows(int) { return 6; }
  static constexpr int kPad = 16;
#else
  static constexpr int kCentre = 0;
  static constexpr int kMostGroups = 4;
  static constexpr int rows(int groups) { return groups == 1 ? 12 : groups == 2 ? 12 : groups == 3 ? 8 : 6; }
  static constexpr int kPad = 4;
#endif

  // Position of weight (k, n) of a step and group.
  static constexpr int at(int k, int n) { return 4 * n + k; }

  template <int R, int G>
  EDGEGNN_INLINE void run(const Code* x, int64_t stride, int64_t steps, const Weight* w, int64_t group_size, bool,
                          const int32_t* start, Lanes::I out[R][G * Lanes::Q]) {
    Lanes::I sum[R][G * Lanes::Q];  // in registers, as `out` would not be
    each<R>([&](auto i) EDGEGNN_LAMBDA {
      each<G * Lanes::Q>([&](auto q) EDGEGNN_LAMBDA { sum[i][q] = Lanes::load_i(start + q * Lanes::L); });
    });
#if defined(EDGEGNN_ARM64)
    for (int64_t step = 0; step < steps; step += 4) {
      int8x16_t code[R];
      each<R>([&](auto i) EDGEGNN_LAMBDA { code[i] = vreinterpretq_s8_u8(vld1q_u8(x + i * stride + 4 * step)); });
      each<4>([&](auto lane) EDGEGNN_LAMBDA {
        if (step + lane >= steps) return;
        each<Lanes::Q>([&](auto q) EDGEGNN_LAMBDA {
          const int8x16_t weight = vld1q_s8(w + (step + lane) * 64 + q * 16);
          each<R>([&](auto i) EDGEGNN_LAMBDA { sum[i][q] = vdotq_laneq_s32(sum[i][q], weight, code[i], lane.value); });
        });
      });
    }
    (void)group_size;
#else
    for (int64_t step = 0; step < steps; ++step) {
      Lanes::I weight[G];
      each<G>([&](auto g) EDGEGNN_LAMBDA { weight[g] = _mm512_loadu_si512(w + g * group_size + step * 64); });
      each<R>([&](auto i) EDGEGNN_LAMBDA {
        int32_t four;
        memcpy(&four, x + i * stride + 4 * step, 4);
        const Lanes::I code = _mm512_set1_epi32(four);
        each<G>([&](auto g) EDGEGNN_LAMBDA { sum[i][g] = _mm512_dpbusd_epi32(sum[i][g], code, weight[g]); });
      });
    }
#endif
    each<R>([&](auto i) EDGEGNN_LAMBDA { each<G * Lanes::Q>([&](auto q) EDGEGNN_LAMBDA { out[i][q] = sum[i][q]; }); });
  }
};

#elif defined(EDGEGNN_X86)

// Two products at once, of 16-bit codes and weights. vpmaddubsw would take bytes, but saturates.
struct Multiplier {
  using Code = uint16_t;
  using Weight = int16_t;
  static constexpr int kDepth = 2;
  static constexpr int kCentre = 0;
  static constexpr int kPad = 2;
#if defined(__AVX512BW__)
  static constexpr int kMostGroups = 4;
  static constexpr int rows(int groups) { return groups == 1 ? 8 : groups == 2 ? 8 : groups == 3 ? 6 : 4; }
#elif defined(__AVX2__)
  static constexpr int kMostGroups = 1;
  static constexpr int rows(int) { return 4; }
#else
  static constexpr int kMostGroups = 1;
  static constexpr int rows(int) { return 2; }
#endif

  static constexpr int at(int k, int n) { return 2 * n + k; }

  template <int R, int G>
  EDGEGNN_INLINE void run(const Code* x, int64_t stride, int64_t steps, const Weight* w, int64_t group_size, bool,
                          const int32_t* start, Lanes::I out[R][G * Lanes::Q]) {
    Lanes::I sum[R][G * Lanes::Q];  // in registers, as `out` would not be
    each<R>([&](auto i) EDGEGNN_LAMBDA {
      each<G * Lanes::Q>([&](auto q) EDGEGNN_LAMBDA { sum[i][q] = Lanes::load_i(start + q * Lanes::L); });
    });
    for (int64_t step = 0; step < steps; ++step) {
      Lanes::I weight[G * Lanes::Q];
      each<G * Lanes::Q>([&](auto q) EDGEGNN_LAMBDA {
        const Weight* const from = w + (q / Lanes::Q) * group_size + step * 32 + (q % Lanes::Q) * 2 * Lanes::L;
        weight[q] = Lanes::load_i(reinterpret_cast<const int32_t*>(from));
      });
      each<R>([&](auto i) EDGEGNN_LAMBDA {
        int32_t two;
        memcpy(&two, x + i * stride + 2 * step, 4);
        const Lanes::I code = Lanes::all(two);
        each<G * Lanes::Q>([&](auto q) EDGEGNN_LAMBDA { sum[i][q] = add_pairs(sum[i][q], code, weight[q]); });
      });
    }
    each<R>([&](auto i) EDGEGNN_LAMBDA { each<G * Lanes::Q>([&](auto q) EDGEGNN_LAMBDA { out[i][q] = sum[i][q]; }); });
  }

 private:
  EDGEGNN_INLINE Lanes::I add_pairs(Lanes::I sum, Lanes::I code, Lanes::I weight) {
#if defined(__AVX512BW__)
    return _mm512_add_epi32(sum, _mm512_madd_epi16(code, weight));
#elif defined(__AVX2__)
    return _mm256_add_epi32(sum, _mm256_madd_epi16(code, weight));
#else
    return _mm_add_epi32(sum, _mm_madd_epi16(code, weight));
#endif
  }
};

#else

// Signed byte products in 16-bit lanes, added in pairs to 32 bits. A 16-bit lane holds one product, or two when no weight is -128.
struct Multiplier {
  using Code = uint8_t;
  using Weight = int8_t;
  static constexpr int kDepth = 4;
  static constexpr int kCentre = 128;
  static constexpr int kMostGroups = 1;
  static constexpr int rows(int) { return 4; }
  static constexpr int kPad = 16;

  // Vectors of four columns: their codes 0 and 1 in the low half, 2 and 3 in the high one.
  static constexpr int at(int k, int n) { return n / 4 * 16 + k / 2 * 8 + n % 4 * 2 + k % 2; }

  template <int R, int G>
  EDGEGNN_INLINE void run(const Code* x, int64_t stride, int64_t steps, const Weight* w, int64_t, bool in_pairs, const int32_t* start,
                          Lanes::I out[R][Lanes::Q]) {
    in_pairs ? steps_of<R, true>(x, stride, steps, w, start, out) : steps_of<R, false>(x, stride, steps, w, start, out);
  }

 private:
  template <int R, bool kInPairs>
  EDGEGNN_INLINE void steps_of(const Code* x, int64_t stride, int64_t steps, const Weight* w, const int32_t* start,
                               Lanes::I out[R][Lanes::Q]) {
    Lanes::I sum[R][Lanes::Q];
    each<R>([&](auto i) EDGEGNN_LAMBDA {
      each<4>([&](auto q) EDGEGNN_LAMBDA { sum[i][q] = vld1q_s32(start + 4 * q); });
    });
    for (int64_t step = 0; step < steps; step += 4) {
      uint16x8_t code[R];
      each<R>([&](auto i) EDGEGNN_LAMBDA { code[i] = vreinterpretq_u16_u8(vld1q_u8(x + i * stride + 4 * step)); });
      each<4>([&](auto lane) EDGEGNN_LAMBDA {
        if (step + lane >= steps) return;
        int8x16_t weight[4];
        each<4>([&](auto q) EDGEGNN_LAMBDA { weight[q] = vld1q_s8(w + (step + lane) * 64 + q * 16); });
        each<R>([&](auto i) EDGEGNN_LAMBDA {
          const int8x16_t low = vreinterpretq_s8_u16(vdupq_laneq_u16(code[i], 2 * lane.value));
          const int8x16_t high = vreinterpretq_s8_u16(vdupq_laneq_u16(code[i], 2 * lane.value + 1));
          each<4>([&](auto q) EDGEGNN_LAMBDA {
            const int16x8_t product = vmull_s8(vget_low_s8(weight[q]), vget_low_s8(low));
            if (kInPairs) {
              sum[i][q] = vpadalq_s16(sum[i][q], vmlal_high_s8(product, weight[q], high));
            } else {
              sum[i][q] = vpadalq_s16(vpadalq_s16(sum[i][q], product), vmull_high_s8(weight[q], high));
            }
          });
        });
      });
    }
    each<R>([&](auto i) EDGEGNN_LAMBDA { each<4>([&](auto q) EDGEGNN_LAMBDA { out[i][q] = sum[i][q]; }); });
  }
};

#endif

}  // namespace edgegnn::EDGEGNN_LEVEL
