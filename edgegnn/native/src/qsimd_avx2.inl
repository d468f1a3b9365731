// qsimd.h for AVX2 and FMA. Included by it only.

namespace edgegnn::EDGEGNN_LEVEL {

// 8 lanes of int32 or float. See qsimd_avx512.inl for what the less plain functions promise.
struct Lanes {
  static constexpr int L = 8;
  using I = __m256i;
  using F = __m256;

  EDGEGNN_INLINE I zero() { return _mm256_setzero_si256(); }
  EDGEGNN_INLINE I all(int32_t value) { return _mm256_set1_epi32(value); }
  EDGEGNN_INLINE F all_f(float value) { return _mm256_set1_ps(value); }
  EDGEGNN_INLINE I load_i(const int32_t* p) { return _mm256_loadu_si256(reinterpret_cast<const I*>(p)); }
  EDGEGNN_INLINE F load_f(const float* p) { return _mm256_loadu_ps(p); }
  EDGEGNN_INLINE void store_i(int32_t* p, I x) { _mm256_storeu_si256(reinterpret_cast<I*>(p), x); }
  EDGEGNN_INLINE void store_f(float* p, F x) { _mm256_storeu_ps(p, x); }
  EDGEGNN_INLINE I add_i(I a, I b) { return _mm256_add_epi32(a, b); }
  EDGEGNN_INLINE I sub_i(I a, I b) { return _mm256_sub_epi32(a, b); }
  EDGEGNN_INLINE F to_f(I a) { return _mm256_cvtepi32_ps(a); }
  EDGEGNN_INLINE I round(F a) { return _mm256_cvtps_epi32(a); }
  EDGEGNN_INLINE F add_f(F a, F b) { return _mm256_add_ps(a, b); }
  EDGEGNN_INLINE F sub_f(F a, F b) { return _mm256_sub_ps(a, b); }
  EDGEGNN_INLINE F mul_f(F a, F b) { return _mm256_mul_ps(a, b); }
  EDGEGNN_INLINE F add_exact_product(F a, F b, F c) { return _mm256_fmadd_ps(b, c, a); }
  EDGEGNN_INLINE F clip(F v, F low, F high) { return _mm256_min_ps(high, _mm256_max_ps(low, v)); }
  EDGEGNN_INLINE F clip_number(F v, F low, F high) { return _mm256_min_ps(_mm256_max_ps(v, low), high); }
  EDGEGNN_INLINE F divide(F v, F by, F inverse) {
    const F q = _mm256_mul_ps(v, inverse);
    return _mm256_fmadd_ps(_mm256_fnmadd_ps(q, by, v), inverse, q);
  }
  EDGEGNN_INLINE F quotient(F a, F b) { return _mm256_div_ps(a, b); }
  EDGEGNN_INLINE F pick(const float* w, const int32_t* index) { return _mm256_i32gather_ps(w, load_i(index), 4); }
  EDGEGNN_INLINE F pick_near(const float* w, const int32_t* index) { return _mm256_permutevar8x32_ps(load_f(w), load_i(index)); }

  static constexpr int Q = 2;
  EDGEGNN_INLINE F add_product(F a, F b, F c) { return _mm256_fmadd_ps(b, c, a); }
  EDGEGNN_INLINE I add_short_product(I a, I b, int32_t c) {
    return _mm256_add_epi32(a, _mm256_madd_epi16(b, all(c & 0xffff)));
  }
  EDGEGNN_INLINE void widen16(const int8_t* p, I out[Q]) {
    const __m128i x = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
    out[0] = _mm256_cvtepi8_epi32(x);
    out[1] = _mm256_cvtepi8_epi32(_mm_srli_si128(x, 8));
  }
  EDGEGNN_INLINE void store16(uint8_t* p, const I code[Q], I offset) {
    const I words = _mm256_packs_epi32(_mm256_add_epi32(code[0], offset), _mm256_add_epi32(code[1], offset));
    const I bytes = _mm256_packus_epi16(words, words);  // 0-3 8-11 (twice), 4-7 12-15 (twice)
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p),
                     _mm_unpacklo_epi32(_mm256_castsi256_si128(bytes), _mm256_extracti128_si256(bytes, 1)));
  }
  EDGEGNN_INLINE uint32_t nonzero16(const float* p) {
    const int low = _mm256_movemask_ps(_mm256_cmp_ps(load_f(p), _mm256_setzero_ps(), _CMP_NEQ_UQ));
    const int high = _mm256_movemask_ps(_mm256_cmp_ps(load_f(p + 8), _mm256_setzero_ps(), _CMP_NEQ_UQ));
    return static_cast<uint32_t>(low | high << 8);
  }
  EDGEGNN_INLINE uint64_t others64(const uint8_t* p, uint8_t value) {
    const I same = _mm256_set1_epi8(static_cast<char>(value));
    uint64_t mask = 0;
    for (int i = 0; i < 2; ++i) {
      const I x = _mm256_loadu_si256(reinterpret_cast<const I*>(p + 32 * i));
      mask |= static_cast<uint64_t>(static_cast<uint32_t>(_mm256_movemask_epi8(_mm256_cmpeq_epi8(x, same)))) << (32 * i);
    }
    return ~mask;
  }
};

struct V16 : Lanes {
  static constexpr int W = 16;
  static constexpr int N = 2;
  using B = __m128i;
  using Sum = __m256i;

  static constexpr bool kWidest = false;

  static constexpr int column(int k, int l) { return 8 * k + l; }
  static constexpr bool kInterleaved = false;

  EDGEGNN_INLINE B load(const uint8_t* p) { return _mm_loadu_si128(reinterpret_cast<const B*>(p)); }
  // Bytes [0, n), 1 <= n < W, with zeros above them; reads nothing outside.
  EDGEGNN_INLINE B load_part(const uint8_t* p, int n) {
    if (n <= 8) return _mm_cvtsi64_si128(static_cast<long long>(load_few_bytes(p, n)));
    return _mm_set_epi64x(static_cast<long long>(load_few_bytes(p + 8, n - 8)), static_cast<long long>(load_few_bytes(p, 8)));
  }
  EDGEGNN_INLINE void store(uint8_t* p, B x) { _mm_storeu_si128(reinterpret_cast<B*>(p), x); }
  EDGEGNN_INLINE B flip(B x) { return _mm_xor_si128(x, _mm_set1_epi8(-128)); }
  EDGEGNN_INLINE void clear(Sum& sum) { sum = zero(); }
  EDGEGNN_INLINE void add(Sum& sum, B x) { sum = _mm256_add_epi16(sum, _mm256_cvtepu8_epi16(x)); }
  EDGEGNN_INLINE void unfold(const Sum& sum, I out[N]) {
    out[0] = _mm256_cvtepu16_epi32(_mm256_castsi256_si128(sum));
    out[1] = _mm256_cvtepu16_epi32(_mm256_extracti128_si256(sum, 1));
  }
  EDGEGNN_INLINE void unfold_bytes(B x, I out[N]) {
    out[0] = _mm256_cvtepu8_epi32(x);
    out[1] = _mm256_cvtepu8_epi32(_mm_srli_si128(x, 8));
  }
  EDGEGNN_INLINE B fold(const I code[N], I offset) {
    const I words = _mm256_packs_epi32(_mm256_add_epi32(code[0], offset), _mm256_add_epi32(code[1], offset));
    const I bytes = _mm256_packus_epi16(words, words);  // 0-3 8-11 (twice), 4-7 12-15 (twice)
    return _mm_unpacklo_epi32(_mm256_castsi256_si128(bytes), _mm256_extracti128_si256(bytes, 1));
  }
  EDGEGNN_INLINE I offset(int32_t value) { return all(value); }
  EDGEGNN_INLINE void store_floats(float* p, const F v[N]) {
    store_f(p, v[0]);
    store_f(p + 8, v[1]);
  }
};

struct V32 : Lanes {
  static constexpr int W = 32;
  static constexpr int N = 4;
  using B = __m256i;
  struct Sum {
    B both;  // 16-bit lanes: even byte + 256 * odd byte, summed modulo 2^16
    B odd;
  };

  static constexpr bool kWidest = true;

  static constexpr int column(int k, int l) { return 4 * l + k; }
  static constexpr bool kInterleaved = true;

  EDGEGNN_INLINE B load(const uint8_t* p) { return _mm256_loadu_si256(reinterpret_cast<const B*>(p)); }
  EDGEGNN_INLINE B load_part(const uint8_t* p, int) { return load(p); }  // rows narrower than W are V16's
  EDGEGNN_INLINE void store(uint8_t* p, B x) { _mm256_storeu_si256(reinterpret_cast<B*>(p), x); }
  EDGEGNN_INLINE B flip(B x) { return _mm256_xor_si256(x, _mm256_set1_epi8(-128)); }
  EDGEGNN_INLINE void clear(Sum& sum) { sum.both = sum.odd = zero(); }
  EDGEGNN_INLINE void add(Sum& sum, B x) {
    sum.both = _mm256_add_epi16(sum.both, x);
    sum.odd = _mm256_add_epi16(sum.odd, _mm256_srli_epi16(x, 8));
  }
  EDGEGNN_INLINE void unfold(const Sum& sum, I out[N]) {
    const I even = _mm256_sub_epi16(sum.both, _mm256_slli_epi16(sum.odd, 8));
    const I low = _mm256_set1_epi32(0xffff);
    out[0] = _mm256_and_si256(even, low);
    out[1] = _mm256_and_si256(sum.odd, low);
    out[2] = _mm256_srli_epi32(even, 16);
    out[3] = _mm256_srli_epi32(sum.odd, 16);
  }
  EDGEGNN_INLINE void unfold_bytes(B x, I out[N]) {
    // Byte k of each word, zeros above it: 0x80 picks nothing.
#pragma GCC unroll 4
    for (int k = 0; k < N; ++k) {
      const __m128i from = _mm_add_epi32(_mm_setr_epi32(0, 4, 8, 12), _mm_set1_epi32(k - 0x7f7f8000));
      out[k] = _mm256_shuffle_epi8(x, _mm256_broadcastsi128_si256(from));
    }
  }
  EDGEGNN_INLINE B fold(const I code[N], I offset) {
    const I low = _mm256_add_epi32(code[0], _mm256_slli_epi32(code[1], 8));
    const I high = _mm256_add_epi32(_mm256_slli_epi32(code[2], 16), _mm256_slli_epi32(code[3], 24));
    return _mm256_add_epi32(_mm256_add_epi32(low, high), offset);
  }
  EDGEGNN_INLINE I offset(int32_t value) { return all(static_cast<int32_t>(static_cast<uint32_t>(value) * 0x01010101u)); }
  EDGEGNN_INLINE void store_floats(float* p, const F v[N]) {
    const F a = _mm256_unpacklo_ps(v[0], v[1]), b = _mm256_unpacklo_ps(v[2], v[3]);
    const F c = _mm256_unpackhi_ps(v[0], v[1]), d = _mm256_unpackhi_ps(v[2], v[3]);
    const F r0 = _mm256_shuffle_ps(a, b, 0x44), r1 = _mm256_shuffle_ps(a, b, 0xee);
    const F r2 = _mm256_shuffle_ps(c, d, 0x44), r3 = _mm256_shuffle_ps(c, d, 0xee);
    store_f(p, _mm256_permute2f128_ps(r0, r1, 0x20));
    store_f(p + 8, _mm256_permute2f128_ps(r2, r3, 0x20));
    store_f(p + 16, _mm256_permute2f128_ps(r0, r1, 0x31));
    store_f(p + 24, _mm256_permute2f128_ps(r2, r3, 0x31));
  }
};

}  // namespace edgegnn::EDGEGNN_LEVEL
