#include "isa.h"

#include <stdlib.h>
#include <string.h>

#if defined(__aarch64__)
#include <sys/auxv.h>
#else
#include <cpuid.h>
#endif

namespace edgegnn {
namespace {

#if defined(EDGEGNN_X86)
const char* const kNames[] = {"base", "avx2", "avx512", "vnni"};

// Asked of the processor itself: zig's library lacks what __builtin_cpu_supports calls.
int widest() {
  unsigned a, b, c, d, saved = 0;
  if (__get_cpuid(1, &a, &b, &c, &d) == 0) return BASE;
  const bool fma = (c >> 12 & 1) != 0, asks = (c >> 27 & 1) != 0;  // OSXSAVE: the system says which registers it saves
  if (!fma || !asks) return BASE;
  __asm__("xgetbv" : "=a"(saved), "=d"(d) : "c"(0));
  if (__get_cpuid_count(7, 0, &a, &b, &c, &d) == 0 || (saved & 0x06) != 0x06 || (b >> 5 & 1) == 0) return BASE;
  constexpr unsigned kAvx512 = 1u << 16 | 1u << 17 | 1u << 30 | 1u << 31;  // F, DQ, BW, VL
  if ((saved & 0xe6) != 0xe6 || (b & kAvx512) != kAvx512) return AVX2;
  return (c >> 11 & 1) != 0 ? VNNI : AVX512;
}
#else
const char* const kNames[] = {"neon", "dotprod"};

int widest() {
  constexpr unsigned long kDotProduct = 1ul << 20;  // HWCAP_ASIMDDP
  return (getauxval(AT_HWCAP) & kDotProduct) != 0 ? DOTPROD : NEON;
}
#endif

int chosen() {
  const int most = widest();
  const char* wanted = getenv("EDGEGNN_ISA");
  if (wanted == nullptr) return most;
  for (int level = 0; level < most; ++level) {
    if (strcmp(wanted, kNames[level]) == 0) return level;
  }
  return most;
}

int g_isa = -1;  // every thread finds the same value: a race writes it twice

}  // namespace

Isa isa() {
  int level = __atomic_load_n(&g_isa, __ATOMIC_RELAXED);
  if (level < 0) {
    level = chosen();
    __atomic_store_n(&g_isa, level, __ATOMIC_RELAXED);
  }
  return static_cast<Isa>(level);
}

const char* isa_name() { return kNames[isa()]; }

const char* isa_names() {
#if defined(EDGEGNN_X86)
  return "base, avx2, avx512 or vnni";
#else
  return "neon or dotprod";
#endif
}

bool isa_known() {
  const char* wanted = getenv("EDGEGNN_ISA");
  if (wanted == nullptr || *wanted == '\0') return true;
  for (const char* name : kNames) {
    if (strcmp(wanted, name) == 0) return true;
  }
  return false;
}

}  // namespace edgegnn
