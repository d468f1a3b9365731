// qsimd.h for SSE2, which every x86-64 processor has. Included by it only.

namespace edgegnn::EDGEGNN_LEVEL {

// 4 lanes of int32 or float. See qsimd_avx512.inl for what the less plain functions promise.
struct Lanes {
  static constexpr int L = 4;
  using I = __m128i;
  using F = __m128;

  EDGEGNN_INLINE I zero() { return _mm_setzero_si128(); }
  EDGEGNN_INLINE I all(int32_t value) { return _mm_set1_epi32(value); }
  EDGEGNN_INLINE F all_f(float value) { return _mm_set1_ps(value); }
  EDGEGNN_INLINE I load_i(const int32_t* p) { return _mm_loadu_si128(reinterpret_cast<const I*>(p)); }
  EDGEGNN_INLINE F load_f(const float* p) { return _mm_loadu_ps(p); }
  EDGEGNN_INLINE void store_i(int32_t* p, I x) { _mm_storeu_si128(reinterpret_cast<I*>(p), x); }
  EDGEGNN_INLINE void store_f(float* p, F x) { _mm_storeu_ps(p, x); }
  EDGEGNN_INLINE I add_i(I a, I b) { return _mm_add_epi32(a, b); }
  EDGEGNN_INLINE I sub_i(I a, I b) { return _mm_sub_epi32(a, b); }
  EDGEGNN_INLINE F to_f(I a) { return _mm_cvtepi32_ps(a); }
  EDGEGNN_INLINE I round(F a) { return _mm_cvtps_epi32(a); }
  EDGEGNN_INLINE F add_f(F a, F b) { return _mm_add_ps(a, b); }
  EDGEGNN_INLINE F sub_f(F a, F b) { return _mm_sub_ps(a, b); }
  EDGEGNN_INLINE F mul_f(F a, F b) { return _mm_mul_ps(a, b); }
  EDGEGNN_INLINE F add_exact_product(F a, F b, F c) { return _mm_add_ps(a, _mm_mul_ps(b, c)); }
  EDGEGNN_INLINE F clip(F v, F low, F high) { return _mm_min_ps(high, _mm_max_ps(low, v)); }
  EDGEGNN_INLINE F clip_number(F v, F low, F high) { return _mm_min_ps(_mm_max_ps(v, low), high); }
  EDGEGNN_INLINE F divide(F v, F by, F) { return _mm_div_ps(v, by); }
  EDGEGNN_INLINE F quotient(F a, F b) { return _mm_div_ps(a, b); }
  EDGEGNN_INLINE F pick(const float* w, const int32_t* index) {
    return _mm_setr_ps(w[index[0]], w[index[1]], w[index[2]], w[index[3]]);
  }
  EDGEGNN_INLINE F pick_near(const float* w, const int32_t* index) { return pick(w, index); }

  static constexpr int Q = 4;
  EDGEGNN_INLINE F add_product(F a, F b, F c) { return _mm_add_ps(a, _mm_mul_ps(b, c)); }
  EDGEGNN_INLINE I add_short_product(I a, I b, int32_t c) { return _mm_add_epi32(a, _mm_madd_epi16(b, all(c & 0xffff))); }
  EDGEGNN_INLINE void widen16(const int8_t* p, I out[Q]) {
    const I x = _mm_loadu_si128(reinterpret_cast<const I*>(p));
    const I low = _mm_unpacklo_epi8(x, x), high = _mm_unpackhi_epi8(x, x);
    out[0] = _mm_srai_epi32(_mm_unpacklo_epi16(low, low), 24);
    out[1] = _mm_srai_epi32(_mm_unpackhi_epi16(low, low), 24);
    out[2] = _mm_srai_epi32(_mm_unpacklo_epi16(high, high), 24);
    out[3] = _mm_srai_epi32(_mm_unpackhi_epi16(high, high), 24);
  }
  EDGEGNN_INLINE void store16(uint8_t* p, const I code[Q], I offset) {
    const I low = _mm_packs_epi32(_mm_add_epi32(code[0], offset), _mm_add_epi32(code[1], offset));
    const I high = _mm_packs_epi32(_mm_add_epi32(code[2], offset), _mm_add_epi32(code[3], offset));
    _mm_storeu_si128(reinterpret_cast<I*>(p), _mm_packus_epi16(low, high));
  }
  EDGEGNN_INLINE uint32_t nonzero16(const float* p) {
    int mask = 0;
    for (int i = 0; i < 4; ++i) mask |= _mm_movemask_ps(_mm_cmpneq_ps(load_f(p + 4 * i), _mm_setzero_ps())) << (4 * i);
    return static_cast<uint32_t>(mask);
  }
  EDGEGNN_INLINE uint64_t others64(const uint8_t* p, uint8_t value) {
    const I same = _mm_set1_epi8(static_cast<char>(value));
    uint64_t mask = 0;
    for (int i = 0; i < 4; ++i) {
      const I x = _mm_loadu_si128(reinterpret_cast<const I*>(p + 16 * i));
      mask |= static_cast<uint64_t>(static_cast<uint32_t>(_mm_movemask_epi8(_mm_cmpeq_epi8(x, same)))) << (16 * i);
    }
    return ~mask;
  }
};

struct V16 : Lanes {
  static constexpr int W = 16;
  static constexpr int N = 4;
  using B = __m128i;
  struct Sum {
    B both;  // 16-bit lanes: even byte + 256 * odd byte, summed modulo 2^16
    B odd;
  };

  static constexpr bool kWidest = true;

  static constexpr int column(int k, int l) { return 4 * l + k; }
  static constexpr bool kInterleaved = true;

  EDGEGNN_INLINE B load(const uint8_t* p) { return _mm_loadu_si128(reinterpret_cast<const B*>(p)); }
  // Bytes [0, n), 1 <= n < W, with zeros above them; reads nothing outside.
  EDGEGNN_INLINE B load_part(const uint8_t* p, int n) {
    if (n <= 8) return _mm_cvtsi64_si128(static_cast<long long>(load_few_bytes(p, n)));
    return _mm_set_epi64x(static_cast<long long>(load_few_bytes(p + 8, n - 8)), static_cast<long long>(load_few_bytes(p, 8)));
  }
  EDGEGNN_INLINE void store(uint8_t* p, B x) { _mm_storeu_si128(reinterpret_cast<B*>(p), x); }
  EDGEGNN_INLINE B flip(B x) { return _mm_xor_si128(x, _mm_set1_epi8(-128)); }
  EDGEGNN_INLINE void clear(Sum& sum) { sum.both = sum.odd = zero(); }
  EDGEGNN_INLINE void add(Sum& sum, B x) {
    sum.both = _mm_add_epi16(sum.both, x);
    sum.odd = _mm_add_epi16(sum.odd, _mm_srli_epi16(x, 8));
  }
  EDGEGNN_INLINE void unfold(const Sum& sum, I out[N]) {
    const I even = _mm_sub_epi16(sum.both, _mm_slli_epi16(sum.odd, 8));
    const I low = _mm_set1_epi32(0xffff);
    out[0] = _mm_and_si128(even, low);
    out[1] = _mm_and_si128(sum.odd, low);
    out[2] = _mm_srli_epi32(even, 16);
    out[3] = _mm_srli_epi32(sum.odd, 16);
  }
  EDGEGNN_INLINE void unfold_bytes(B x, I out[N]) {
    const I low = _mm_set1_epi32(0xff);
    out[0] = _mm_and_si128(x, low);
    out[1] = _mm_and_si128(_mm_srli_epi32(x, 8), low);
    out[2] = _mm_and_si128(_mm_srli_epi32(x, 16), low);
    out[3] = _mm_srli_epi32(x, 24);
  }
  EDGEGNN_INLINE B fold(const I code[N], I offset) {
    const I low = _mm_add_epi32(code[0], _mm_slli_epi32(code[1], 8));
    const I high = _mm_add_epi32(_mm_slli_epi32(code[2], 16), _mm_slli_epi32(code[3], 24));
    return _mm_add_epi32(_mm_add_epi32(low, high), offset);
  }
  EDGEGNN_INLINE I offset(int32_t value) { return all(static_cast<int32_t>(static_cast<uint32_t>(value) * 0x01010101u)); }
  EDGEGNN_INLINE void store_floats(float* p, const F v[N]) {
    const F a = _mm_unpacklo_ps(v[0], v[1]), b = _mm_unpacklo_ps(v[2], v[3]);
    const F c = _mm_unpackhi_ps(v[0], v[1]), d = _mm_unpackhi_ps(v[2], v[3]);
    store_f(p, _mm_movelh_ps(a, b));
    store_f(p + 4, _mm_movehl_ps(b, a));
    store_f(p + 8, _mm_movelh_ps(c, d));
    store_f(p + 12, _mm_movehl_ps(d, c));
  }
};

}  // namespace edgegnn::EDGEGNN_LEVEL
