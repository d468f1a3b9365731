// Which instruction set the kernels use.
//
// Every source in KERNELS of CMakeLists.txt is compiled once for each level of the architecture, with EDGEGNN_LEVEL naming the level, and
// puts its functions into namespace edgegnn::EDGEGNN_LEVEL. Its header declares them once with EDGEGNN_DECLARE_KERNEL; the op calls
// EDGEGNN_PICK(name), which takes the widest version this processor can run.
//
//     // rows.h
//     EDGEGNN_DECLARE_KERNEL(void, sum_rows, (const RowsArgs& args, int64_t begin, int64_t end))
//     // rows_kernels.cpp, in KERNELS
//     namespace edgegnn::EDGEGNN_LEVEL { void sum_rows(const RowsArgs& args, int64_t begin, int64_t end) { ... } }
//     // rows.cpp
//     const auto sum_rows = EDGEGNN_PICK(sum_rows);
//
// A kernel source may include <stdint.h>-like headers and ours, never a C++ library header: the linker keeps one copy of an inline
// function, and a copy compiled for AVX-512 would then run on every processor. For the same reason functions in headers that a
// kernel source includes are `static inline` or live in the level's namespace.
//
// Levels, narrowest first. x86-64: base (SSE2), avx2, avx512 (F, BW, DQ, VL), vnni (avx512 and VNNI). aarch64: neon, dotprod. Sources in
// KERNELS_DOT are compiled for vnni and dotprod, too (EDGEGNN_DECLARE_KERNEL_DOT, EDGEGNN_PICK_DOT).
#pragma once

namespace edgegnn {

#if defined(__x86_64__)
#define EDGEGNN_X86 1
enum Isa { BASE = 0, AVX2 = 1, AVX512 = 2, VNNI = 3 };

#define EDGEGNN_DECLARE_KERNEL(RESULT, NAME, PARAMETERS) \
  namespace base {                                       \
  RESULT NAME PARAMETERS;                                \
  }                                                      \
  namespace avx2 {                                       \
  RESULT NAME PARAMETERS;                                \
  }                                                      \
  namespace avx512 {                                     \
  RESULT NAME PARAMETERS;                                \
  }
#define EDGEGNN_DECLARE_KERNEL_DOT(RESULT, NAME, PARAMETERS) \
  EDGEGNN_DECLARE_KERNEL(RESULT, NAME, PARAMETERS)           \
  namespace vnni {                                           \
  RESULT NAME PARAMETERS;                                    \
  }
// A build for tests may leave out the levels that are not run on its processor.
#if defined(EDGEGNN_WITHOUT_avx2)
#define EDGEGNN_PICK(NAME) (::edgegnn::isa() >= ::edgegnn::AVX512 ? ::edgegnn::avx512::NAME : ::edgegnn::base::NAME)
#elif defined(EDGEGNN_WITHOUT_avx512)
#define EDGEGNN_PICK(NAME) (::edgegnn::isa() >= ::edgegnn::AVX2 ? ::edgegnn::avx2::NAME : ::edgegnn::base::NAME)
#else
#define EDGEGNN_PICK(NAME)                                           \
  (::edgegnn::isa() >= ::edgegnn::AVX512 ? ::edgegnn::avx512::NAME   \
   : ::edgegnn::isa() == ::edgegnn::AVX2 ? ::edgegnn::avx2::NAME     \
                                         : ::edgegnn::base::NAME)
#endif
#if defined(EDGEGNN_WITHOUT_avx512)
#define EDGEGNN_PICK_DOT(NAME) EDGEGNN_PICK(NAME)
#else
#define EDGEGNN_PICK_DOT(NAME) (::edgegnn::isa() == ::edgegnn::VNNI ? ::edgegnn::vnni::NAME : EDGEGNN_PICK(NAME))
#endif

#elif defined(__aarch64__)
#define EDGEGNN_ARM64 1
enum Isa { NEON = 0, DOTPROD = 1 };

#define EDGEGNN_DECLARE_KERNEL(RESULT, NAME, PARAMETERS) \
  namespace neon {                                       \
  RESULT NAME PARAMETERS;                                \
  }
#define EDGEGNN_DECLARE_KERNEL_DOT(RESULT, NAME, PARAMETERS) \
  EDGEGNN_DECLARE_KERNEL(RESULT, NAME, PARAMETERS)           \
  namespace dotprod {                                        \
  RESULT NAME PARAMETERS;                                    \
  }
#define EDGEGNN_PICK(NAME) (::edgegnn::neon::NAME)
#define EDGEGNN_PICK_DOT(NAME) (::edgegnn::isa() == ::edgegnn::DOTPROD ? ::edgegnn::dotprod::NAME : ::edgegnn::neon::NAME)

#else
#error "edgegnn has kernels for x86-64 and aarch64"
#endif

// The widest level of this processor, lowered by the environment variable EDGEGNN_ISA (a level's name) when that is set. Found once.
Isa isa();

// The level's name: what EDGEGNN_ISA accepts.
const char* isa_name();

// Whether EDGEGNN_ISA is a level's name, or not set, or empty.
bool isa_known();

// The names of all levels, for a message.
const char* isa_names();

}  // namespace edgegnn
