"""The texts of the C files; `$names` are filled in by `edgegnn.plain_c.generate`."""

from __future__ import annotations

__all__ = ["CMAKE", "EXAMPLE", "HEADER", "SOURCE"]

HEADER = """\
/* Written by edgegnn. C99, no memory of its own, no libm; runs in several threads at once, with an arena each. */
#ifndef EDGEGNN_${NAME}_H
#define EDGEGNN_${NAME}_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define EDGEGNN_${NAME}_MAX_NODES $max_nodes
#define EDGEGNN_${NAME}_MAX_EDGES $max_edges
#define EDGEGNN_${NAME}_ARENA_BYTES $arena

/* What edgegnn_${name}_run returns. Whatever it is but 0, the outputs hold nothing of use. */
enum {
  EDGEGNN_${NAME}_OK = 0,
  EDGEGNN_${NAME}_BAD_POINTER = 1, /* one is null, or the arena is not aligned to $alignment bytes */
  EDGEGNN_${NAME}_BAD_NODES = 2,   /* no nodes, or more than the limit (or another number than the model is for) */
  EDGEGNN_${NAME}_BAD_EDGES = 3,   /* a negative number, or more than the limit */
  EDGEGNN_${NAME}_BAD_INDEX = 4,   /* an index out of range */
  EDGEGNN_${NAME}_BAD_SIZES = 5    /* no answer: sizes inside the model don't fit, or a position is no finite number */
};

/* One graph. Matrices lie row by row; edge_index has all sources, then all destinations. */
typedef struct {
$size_members
$input_members
} edgegnn_${name}_inputs;

typedef struct {
$output_members
} edgegnn_${name}_outputs;

/* arena: EDGEGNN_${NAME}_ARENA_BYTES bytes, aligned to $alignment; what it holds before and after does not matter. */
int edgegnn_${name}_run(const edgegnn_${name}_inputs *in, const edgegnn_${name}_outputs *out, void *arena);

#ifdef __cplusplus
}
#endif

#endif
"""

SOURCE = """\
/* Written by edgegnn: edit the model, not this file. */
/* A product that is added up is rounded first, everywhere: results are the same bits on every machine. */
#if defined(__FAST_MATH__)
#error "compile without -ffast-math: results would differ from the model's"
#endif
#if defined(__clang__)
#pragma STDC FP_CONTRACT OFF
#elif defined(__GNUC__)
#pragma GCC optimize("fp-contract=off")
#elif defined(_MSC_VER)
#pragma fp_contract(off)
#endif

#include "model.h"

#ifdef __GNUC__
#define INFINITY __builtin_inff() /* what <math.h> has, for compilers without a C library, too */
#else
#include <math.h>
#endif

typedef $index index_t;

#ifdef __GNUC__
#define WORDS __attribute__((aligned(4)))
#else
#define WORDS
#endif

/* Once in flash, however many layers call it. */
#if defined(__clang__)
#define NOT_INLINED __attribute__((noinline))
#elif defined(__GNUC__)
#define NOT_INLINED __attribute__((noinline, noclone))
#else
#define NOT_INLINED
#endif

$kernels
$tables
int edgegnn_${name}_run(const edgegnn_${name}_inputs *in, const edgegnn_${name}_outputs *out, void *arena) {
  uint8_t *const base = (uint8_t *)arena;
  size_t $size_variables;
  if (in == NULL || out == NULL || arena == NULL) return EDGEGNN_${NAME}_BAD_POINTER;
  if ((uintptr_t)arena % $alignment != 0) return EDGEGNN_${NAME}_BAD_POINTER;
$size_checks
  (void)base;
$checks
$buffers
$steps
  return EDGEGNN_${NAME}_OK;
}
"""

EXAMPLE = """\
/* Runs the model on a graph of two nodes with an edge between them: replace its features and edges by yours. */
#include <stdio.h>

#include "model.h"

int main(void) {
$setup
  static uint64_t arena[(EDGEGNN_${NAME}_ARENA_BYTES + 7) / 8];
  edgegnn_${name}_inputs in = {0};
  edgegnn_${name}_outputs out = {0};
  int code;
$assign
  code = edgegnn_${name}_run(&in, &out, arena);
  if (code != EDGEGNN_${NAME}_OK) {
    fprintf(stderr, "the graph was refused: code %d, see model.h\\n", code);
    return code;
  }
  for (size_t i = 0; i < sizeof $first / sizeof ${first}[0]; ++i) printf("%g\\n", (double)${first}[i]);
  return 0;
}
"""

CMAKE = """\
cmake_minimum_required(VERSION 3.10)
project(edgegnn_$name C)
set(CMAKE_C_STANDARD 99)
set(CMAKE_C_STANDARD_REQUIRED ON)
set(CMAKE_C_EXTENSIONS OFF)
if(NOT CMAKE_BUILD_TYPE)
  set(CMAKE_BUILD_TYPE Release)
endif()
add_library(edgegnn_$name STATIC model.c)
target_include_directories(edgegnn_$name PUBLIC $${CMAKE_CURRENT_SOURCE_DIR})
add_executable(edgegnn_${name}_example example.c)
target_link_libraries(edgegnn_${name}_example edgegnn_$name)
"""
