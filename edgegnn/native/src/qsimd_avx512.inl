// qsimd.h for AVX-512 F, BW, DQ, VL. Included by it only.

// gcc 12 takes the undefined vectors inside its own intrinsics for mistakes.
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"

namespace edgegnn::EDGEGNN_LEVEL {

// 16 lanes of int32 or float.
struct Lanes {
  static constexpr int L = 16;
  using I = __m512i;
  using F = __m512;

  EDGEGNN_INLINE I zero() { return _mm512_setzero_si512(); }
  EDGEGNN_INLINE I all(int32_t value) { return _mm512_set1_epi32(value); }
  EDGEGNN_INLINE F all_f(float value) { return _mm512_set1_ps(value); }
  EDGEGNN_INLINE I load_i(const int32_t* p) { return _mm512_loadu_si512(p); }
  EDGEGNN_INLINE F load_f(const float* p) { return _mm512_loadu_ps(p); }
  EDGEGNN_INLINE void store_i(int32_t* p, I x) { _mm512_storeu_si512(p, x); }
  EDGEGNN_INLINE void store_f(float* p, F x) { _mm512_storeu_ps(p, x); }
  EDGEGNN_INLINE I add_i(I a, I b) { return _mm512_add_epi32(a, b); }
  EDGEGNN_INLINE I sub_i(I a, I b) { return _mm512_sub_epi32(a, b); }
  EDGEGNN_INLINE F to_f(I a) { return _mm512_cvtepi32_ps(a); }
  EDGEGNN_INLINE I round(F a) { return _mm512_cvtps_epi32(a); }
  EDGEGNN_INLINE F add_f(F a, F b) { return _mm512_add_ps(a, b); }
  EDGEGNN_INLINE F sub_f(F a, F b) { return _mm512_sub_ps(a, b); }
  EDGEGNN_INLINE F mul_f(F a, F b) { return _mm512_mul_ps(a, b); }
  // a + b * c, fused where the processor can: for products that are exact, so that both ways are equal.
  EDGEGNN_INLINE F add_exact_product(F a, F b, F c) { return _mm512_fmadd_ps(b, c, a); }
  // A NaN in v passes through clip and becomes low in clip_number.
  EDGEGNN_INLINE F clip(F v, F low, F high) { return _mm512_min_ps(high, _mm512_max_ps(low, v)); }
  EDGEGNN_INLINE F clip_number(F v, F low, F high) { return _mm512_min_ps(_mm512_max_ps(v, low), high); }
  EDGEGNN_INLINE F divide(F v, F by, F inverse) {
    const F q = _mm512_mul_ps(v, inverse);
    return _mm512_fmadd_ps(_mm512_fnmadd_ps(q, by, v), inverse, q);
  }
  // Rounded as IEEE 754 says, for all numbers.
  EDGEGNN_INLINE F quotient(F a, F b) { return _mm512_div_ps(a, b); }
  // w[index[0]], w[index[1]], ...: any index, or all of them below L.
  EDGEGNN_INLINE F pick(const float* w, const int32_t* index) { return _mm512_i32gather_ps(load_i(index), w, 4); }
  EDGEGNN_INLINE F pick_near(const float* w, const int32_t* index) { return _mm512_permutexvar_ps(load_i(index), load_f(w)); }

  // Sixteen columns in natural order: Q vectors.
  static constexpr int Q = 1;
  // a + b * c, rounded once or twice.
  EDGEGNN_INLINE F add_product(F a, F b, F c) { return _mm512_fmadd_ps(b, c, a); }
  // a + b * c for 16-bit b and c.
  EDGEGNN_INLINE I add_short_product(I a, I b, int32_t c) {
    return _mm512_add_epi32(a, _mm512_madd_epi16(b, all(c & 0xffff)));
  }
  EDGEGNN_INLINE void widen16(const int8_t* p, I out[Q]) {
    out[0] = _mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  }
  // The bytes code + offset, where that lies in [0, 255].
  EDGEGNN_INLINE void store16(uint8_t* p, const I code[Q], I offset) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm512_cvtepi32_epi8(_mm512_add_epi32(code[0], offset)));
  }
  // One bit a number that is not 0.
  EDGEGNN_INLINE uint32_t nonzero16(const float* p) { return _mm512_cmp_ps_mask(load_f(p), _mm512_setzero_ps(), _CMP_NEQ_UQ); }
  // One bit for each of 64 bytes that is not `value`.
  EDGEGNN_INLINE uint64_t others64(const uint8_t* p, uint8_t value) {
    return _mm512_cmpneq_epi8_mask(_mm512_loadu_si512(p), _mm512_set1_epi8(static_cast<char>(value)));
  }
};

struct V16 : Lanes {
  static constexpr int W = 16;
  static constexpr int N = 1;
  using B = __m128i;
  using Sum = __m256i;

  static constexpr bool kWidest = false;

  static constexpr int column(int, int l) { return l; }
  static constexpr bool kInterleaved = false;

  EDGEGNN_INLINE B load(const uint8_t* p) { return _mm_loadu_si128(reinterpret_cast<const B*>(p)); }
  // Bytes [0, n), 1 <= n < W, with zeros above them; reads nothing outside.
  EDGEGNN_INLINE B load_part(const uint8_t* p, int n) {
    return _mm_maskz_loadu_epi8(static_cast<__mmask16>((1u << n) - 1), p);
  }
  EDGEGNN_INLINE void store(uint8_t* p, B x) { _mm_storeu_si128(reinterpret_cast<B*>(p), x); }
  EDGEGNN_INLINE B flip(B x) { return _mm_xor_si128(x, _mm_set1_epi8(-128)); }
  EDGEGNN_INLINE void clear(Sum& sum) { sum = _mm256_setzero_si256(); }
  EDGEGNN_INLINE void add(Sum& sum, B x) { sum = _mm256_add_epi16(sum, _mm256_cvtepu8_epi16(x)); }
  EDGEGNN_INLINE void unfold(const Sum& sum, I out[N]) { out[0] = _mm512_cvtepu16_epi32(sum); }
  EDGEGNN_INLINE void unfold_bytes(B x, I out[N]) { out[0] = _mm512_cvtepu8_epi32(x); }
  // The bytes code + offset, where that lies in [0, 255].
  EDGEGNN_INLINE B fold(const I code[N], I offset) { return _mm512_cvtepi32_epi8(_mm512_add_epi32(code[0], offset)); }
  EDGEGNN_INLINE I offset(int32_t value) { return all(value); }
  EDGEGNN_INLINE void store_floats(float* p, const F v[N]) { store_f(p, v[0]); }
};

struct V32 : Lanes {
  static constexpr int W = 32;
  static constexpr int N = 2;
  using B = __m256i;
  using Sum = __m512i;

  static constexpr bool kWidest = false;

  static constexpr int column(int k, int l) { return 16 * k + l; }
  static constexpr bool kInterleaved = false;

  EDGEGNN_INLINE B load(const uint8_t* p) { return _mm256_loadu_si256(reinterpret_cast<const B*>(p)); }
  EDGEGNN_INLINE B load_part(const uint8_t* p, int) { return load(p); }  // rows narrower than W are V16's
  EDGEGNN_INLINE void store(uint8_t* p, B x) { _mm256_storeu_si256(reinterpret_cast<B*>(p), x); }
  EDGEGNN_INLINE B flip(B x) { return _mm256_xor_si256(x, _mm256_set1_epi8(-128)); }
  EDGEGNN_INLINE void clear(Sum& sum) { sum = zero(); }
  EDGEGNN_INLINE void add(Sum& sum, B x) { sum = _mm512_add_epi16(sum, _mm512_cvtepu8_epi16(x)); }
  EDGEGNN_INLINE void unfold(const Sum& sum, I out[N]) {
    out[0] = _mm512_cvtepu16_epi32(_mm512_castsi512_si256(sum));
    out[1] = _mm512_cvtepu16_epi32(_mm512_extracti64x4_epi64(sum, 1));
  }
  EDGEGNN_INLINE void unfold_bytes(B x, I out[N]) {
    out[0] = _mm512_cvtepu8_epi32(_mm256_castsi256_si128(x));
    out[1] = _mm512_cvtepu8_epi32(_mm256_extracti128_si256(x, 1));
  }
  EDGEGNN_INLINE B fold(const I code[N], I offset) {
    return _mm256_inserti128_si256(_mm256_castsi128_si256(_mm512_cvtepi32_epi8(_mm512_add_epi32(code[0], offset))),
                                   _mm512_cvtepi32_epi8(_mm512_add_epi32(code[1], offset)), 1);
  }
  EDGEGNN_INLINE I offset(int32_t value) { return all(value); }
  EDGEGNN_INLINE void store_floats(float* p, const F v[N]) {
    store_f(p, v[0]);
    store_f(p + 16, v[1]);
  }
};

struct V64 : Lanes {
  static constexpr int W = 64;
  static constexpr int N = 4;
  using B = __m512i;
  struct Sum {
    B both;  // 16-bit lanes: even byte + 256 * odd byte, summed modulo 2^16
    B odd;
  };

  static constexpr bool kWidest = true;

  static constexpr int column(int k, int l) { return 4 * l + k; }
  static constexpr bool kInterleaved = true;

  EDGEGNN_INLINE B load(const uint8_t* p) { return _mm512_loadu_si512(p); }
  EDGEGNN_INLINE B load_part(const uint8_t* p, int) { return load(p); }  // rows narrower than W are V32's
  EDGEGNN_INLINE void store(uint8_t* p, B x) { _mm512_storeu_si512(p, x); }
  EDGEGNN_INLINE B flip(B x) { return _mm512_xor_si512(x, _mm512_set1_epi8(-128)); }
  EDGEGNN_INLINE void clear(Sum& sum) { sum.both = sum.odd = zero(); }
  EDGEGNN_INLINE void add(Sum& sum, B x) {
    sum.both = _mm512_add_epi16(sum.both, x);
    sum.odd = _mm512_add_epi16(sum.odd, _mm512_srli_epi16(x, 8));
  }
  EDGEGNN_INLINE void unfold(const Sum& sum, I out[N]) {
    const I even = _mm512_sub_epi16(sum.both, _mm512_slli_epi16(sum.odd, 8));
    const I low = _mm512_set1_epi32(0xffff);
    out[0] = _mm512_and_si512(even, low);
    out[1] = _mm512_and_si512(sum.odd, low);
    out[2] = _mm512_srli_epi32(even, 16);
    out[3] = _mm512_srli_epi32(sum.odd, 16);
  }
  EDGEGNN_INLINE void unfold_bytes(B x, I out[N]) {
    // Byte k of each word, zeros above it: 0x80 picks nothing.
#pragma GCC unroll 4
    for (int k = 0; k < N; ++k) {
      const __m128i from = _mm_add_epi32(_mm_setr_epi32(0, 4, 8, 12), _mm_set1_epi32(k - 0x7f7f8000));
      out[k] = _mm512_shuffle_epi8(x, _mm512_broadcast_i32x4(from));
    }
  }
  // Carries of negative codes cancel: the sum is that of code + offset, four bytes a word.
  EDGEGNN_INLINE B fold(const I code[N], I offset) {
    const I low = _mm512_add_epi32(code[0], _mm512_slli_epi32(code[1], 8));
    const I high = _mm512_add_epi32(_mm512_slli_epi32(code[2], 16), _mm512_slli_epi32(code[3], 24));
    return _mm512_add_epi32(_mm512_add_epi32(low, high), offset);
  }
  EDGEGNN_INLINE I offset(int32_t value) { return all(static_cast<int32_t>(static_cast<uint32_t>(value) * 0x01010101u)); }
  EDGEGNN_INLINE void store_floats(float* p, const F v[N]) {
    const F a = _mm512_unpacklo_ps(v[0], v[1]), b = _mm512_unpacklo_ps(v[2], v[3]);
    const F c = _mm512_unpackhi_ps(v[0], v[1]), d = _mm512_unpackhi_ps(v[2], v[3]);
    const F r0 = _mm512_shuffle_ps(a, b, 0x44), r1 = _mm512_shuffle_ps(a, b, 0xee);
    const F r2 = _mm512_shuffle_ps(c, d, 0x44), r3 = _mm512_shuffle_ps(c, d, 0xee);
    const F low01 = _mm512_shuffle_f32x4(r0, r1, 0x44), high01 = _mm512_shuffle_f32x4(r0, r1, 0xee);
    const F low23 = _mm512_shuffle_f32x4(r2, r3, 0x44), high23 = _mm512_shuffle_f32x4(r2, r3, 0xee);
    store_f(p, _mm512_shuffle_f32x4(low01, low23, 0x88));
    store_f(p + 16, _mm512_shuffle_f32x4(low01, low23, 0xdd));
    store_f(p + 32, _mm512_shuffle_f32x4(high01, high23, 0x88));
    store_f(p + 48, _mm512_shuffle_f32x4(high01, high23, 0xdd));
  }
};

}  // namespace edgegnn::EDGEGNN_LEVEL
