#include "isa.h"

#include <stdlib.h>
#include <string.h>

#if defined(__aarch64__)
#include <sys/auxv.h>
#endif

namespace edgegnn {
namespace {

#if defined(EDGEGNN_X86)
const char* const kNames[] = {"base", "avx2", "avx512", "vnni"};

int widest() {
  __builtin_cpu_init();
  if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma")) return BASE;
  const bool avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
  if (!avx512) return AVX2;
  return __builtin_cpu_supports("avx512vnni") ? VNNI : AVX512;
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
