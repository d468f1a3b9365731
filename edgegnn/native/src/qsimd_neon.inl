// qsimd.h for AArch64. Included by it only.

namespace edgegnn::EDGEGNN_LEVEL {

// 4 lanes of int32 or float. See qsimd_avx512.inl for what the less plain functions promise.
struct Lanes {
  static constexpr int L = 4;
  using I = int32x4_t;
  using F = float32x4_t;

  EDGEGNN_INLINE I zero() { return vdupq_n_s32(0); }
  EDGEGNN_INLINE I all(int32_t value) { return vdupq_n_s32(value); }
  EDGEGNN_INLINE F all_f(float value) { return vdupq_n_f32(value); }
  EDGEGNN_INLINE I load_i(const int32_t* p) { return vld1q_s32(p); }
  EDGEGNN_INLINE F load_f(const float* p) { return vld1q_f32(p); }
  EDGEGNN_INLINE void store_i(int32_t* p, I x) { vst1q_s32(p, x); }
  EDGEGNN_INLINE void store_f(float* p, F x) { vst1q_f32(p, x); }
  EDGEGNN_INLINE I add_i(I a, I b) { return vaddq_s32(a, b); }
  EDGEGNN_INLINE I sub_i(I a, I b) { return vsubq_s32(a, b); }
  EDGEGNN_INLINE F to_f(I a) { return vcvtq_f32_s32(a); }
  EDGEGNN_INLINE I round(F a) { return vcvtnq_s32_f32(a); }
  EDGEGNN_INLINE F add_f(F a, F b) { return vaddq_f32(a, b); }
  EDGEGNN_INLINE F sub_f(F a, F b) { return vsubq_f32(a, b); }
  EDGEGNN_INLINE F mul_f(F a, F b) { return vmulq_f32(a, b); }
  EDGEGNN_INLINE F add_exact_product(F a, F b, F c) { return vfmaq_f32(a, b, c); }
  EDGEGNN_INLINE F clip(F v, F low, F high) { return vminq_f32(high, vmaxq_f32(low, v)); }
  EDGEGNN_INLINE F clip_number(F v, F low, F high) { return vminq_f32(vmaxnmq_f32(v, low), high); }
  EDGEGNN_INLINE F divide(F v, F by, F inverse) {
    const F q = vmulq_f32(v, inverse);
    return vfmaq_f32(q, vfmsq_f32(v, q, by), inverse);
  }
  EDGEGNN_INLINE F quotient(F a, F b) { return vdivq_f32(a, b); }
  EDGEGNN_INLINE F pick(const float* w, const int32_t* index) {
    const F low = vld1q_lane_f32(w + index[1], vdupq_n_f32(w[index[0]]), 1);
    return vld1q_lane_f32(w + index[3], vld1q_lane_f32(w + index[2], low, 2), 3);
  }
  EDGEGNN_INLINE F pick_near(const float* w, const int32_t* index) { return pick(w, index); }

  static constexpr int Q = 4;
  EDGEGNN_INLINE F add_product(F a, F b, F c) { return vfmaq_f32(a, b, c); }
  EDGEGNN_INLINE I add_short_product(I a, I b, int32_t c) { return vmlaq_n_s32(a, b, c); }
  EDGEGNN_INLINE void widen16(const int8_t* p, I out[Q]) {
    const int8x16_t x = vld1q_s8(p);
    const int16x8_t low = vmovl_s8(vget_low_s8(x)), high = vmovl_high_s8(x);
    out[0] = vmovl_s16(vget_low_s16(low));
    out[1] = vmovl_high_s16(low);
    out[2] = vmovl_s16(vget_low_s16(high));
    out[3] = vmovl_high_s16(high);
  }
  EDGEGNN_INLINE void store16(uint8_t* p, const I code[Q], I offset) {
    const int16x8_t low = vmovn_high_s32(vmovn_s32(vaddq_s32(code[0], offset)), vaddq_s32(code[1], offset));
    const int16x8_t high = vmovn_high_s32(vmovn_s32(vaddq_s32(code[2], offset)), vaddq_s32(code[3], offset));
    vst1q_u8(p, vreinterpretq_u8_s8(vmovn_high_s16(vmovn_s16(low), high)));
  }
  EDGEGNN_INLINE uint32_t nonzero16(const float* p) {
    const uint32x4_t a = vceqzq_f32(vld1q_f32(p)), b = vceqzq_f32(vld1q_f32(p + 4));
    const uint32x4_t c = vceqzq_f32(vld1q_f32(p + 8)), d = vceqzq_f32(vld1q_f32(p + 12));
    const uint8x16_t zeros = vuzp1q_u8(vreinterpretq_u8_u16(vuzp1q_u16(vreinterpretq_u16_u32(a), vreinterpretq_u16_u32(b))),
                                       vreinterpretq_u8_u16(vuzp1q_u16(vreinterpretq_u16_u32(c), vreinterpretq_u16_u32(d))));
    if (vminvq_u8(zeros) == 0xff) return 0;
    static const uint8_t kBits[16] = {1, 2, 4, 8, 16, 32, 64, 128, 1, 2, 4, 8, 16, 32, 64, 128};
    const uint8x16_t bits = vbicq_u8(vld1q_u8(kBits), zeros);
    return vaddv_u8(vget_low_u8(bits)) | static_cast<uint32_t>(vaddv_u8(vget_high_u8(bits))) << 8;
  }
  EDGEGNN_INLINE uint64_t others64(const uint8_t* p, uint8_t value) {
    const uint8x16_t same = vdupq_n_u8(value);
    const uint8x16_t bit = vreinterpretq_u8_u64(vdupq_n_u64(0x8040201008040201u));
    uint8x16_t other[4];
    for (int i = 0; i < 4; ++i) other[i] = vbicq_u8(bit, vceqq_u8(vld1q_u8(p + 16 * i), same));
    const uint8x16_t bits = vpaddq_u8(vpaddq_u8(other[0], other[1]), vpaddq_u8(other[2], other[3]));
    return vgetq_lane_u64(vreinterpretq_u64_u8(vpaddq_u8(bits, bits)), 0);
  }
};

struct V16 : Lanes {
  static constexpr int W = 16;
  static constexpr int N = 4;
  using B = uint8x16_t;
  struct Sum {
    uint16x8_t low;
    uint16x8_t high;
  };

  static constexpr bool kWidest = true;

  static constexpr int column(int k, int l) { return 4 * k + l; }
  static constexpr bool kInterleaved = false;

  EDGEGNN_INLINE B load(const uint8_t* p) { return vld1q_u8(p); }
  // Bytes [0, n), 1 <= n < W, with zeros above them; reads nothing outside.
  EDGEGNN_INLINE B load_part(const uint8_t* p, int n) {
    const uint64_t low = load_few_bytes(p, n < 8 ? n : 8);
    return vreinterpretq_u8_u64(vcombine_u64(vcreate_u64(low), vcreate_u64(n > 8 ? load_few_bytes(p + 8, n - 8) : 0)));
  }
  EDGEGNN_INLINE void store(uint8_t* p, B x) { vst1q_u8(p, x); }
  EDGEGNN_INLINE B flip(B x) { return veorq_u8(x, vdupq_n_u8(0x80)); }
  EDGEGNN_INLINE void clear(Sum& sum) { sum.low = sum.high = vdupq_n_u16(0); }
  EDGEGNN_INLINE void add(Sum& sum, B x) {
    sum.low = vaddw_u8(sum.low, vget_low_u8(x));
    sum.high = vaddw_high_u8(sum.high, x);
  }
  EDGEGNN_INLINE void unfold(const Sum& sum, I out[N]) {
    out[0] = vreinterpretq_s32_u32(vmovl_u16(vget_low_u16(sum.low)));
    out[1] = vreinterpretq_s32_u32(vmovl_high_u16(sum.low));
    out[2] = vreinterpretq_s32_u32(vmovl_u16(vget_low_u16(sum.high)));
    out[3] = vreinterpretq_s32_u32(vmovl_high_u16(sum.high));
  }
  EDGEGNN_INLINE void unfold_bytes(B x, I out[N]) {
    const Sum sum = {vmovl_u8(vget_low_u8(x)), vmovl_high_u8(x)};
    unfold(sum, out);
  }
  // Narrowing keeps the low bits: the sum is right modulo 2^8.
  EDGEGNN_INLINE B fold(const I code[N], I offset) {
    const int16x8_t low = vmovn_high_s32(vmovn_s32(code[0]), code[1]);
    const int16x8_t high = vmovn_high_s32(vmovn_s32(code[2]), code[3]);
    const int8x16_t bytes = vmovn_high_s16(vmovn_s16(low), high);
    return vaddq_u8(vreinterpretq_u8_s8(bytes), vreinterpretq_u8_s32(offset));
  }
  EDGEGNN_INLINE I offset(int32_t value) { return all(static_cast<int32_t>(static_cast<uint32_t>(value) * 0x01010101u)); }
  EDGEGNN_INLINE void store_floats(float* p, const F v[N]) {
    for (int k = 0; k < N; ++k) store_f(p + 4 * k, v[k]);
  }
};

}  // namespace edgegnn::EDGEGNN_LEVEL
