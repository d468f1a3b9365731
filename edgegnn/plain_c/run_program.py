"""The program that runs the C form on one graph: it reads inputs, locks itself in, computes, and writes outputs."""

from __future__ import annotations

from string import Template

from edgegnn.plain_c.generate import PlainC

__all__ = ["run_source"]

# On Linux the kernel ends the program as soon as it does anything but read, write and exit (seccomp's strict mode);
# its files are stdin, which can only be read, and stdout, which takes as many bytes as the outputs have.
_RUN = """\
/* Written by edgegnn. Its arguments: the sizes, the bytes of each input, the bytes of each output. */
#define _GNU_SOURCE
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>
#ifdef __linux__
#include <sys/prctl.h>
#include <sys/syscall.h>
#endif

#include "model.h"

static void leave(int status) {
#ifdef __linux__
  syscall(SYS_exit, status);
#endif
  _exit(status);
}

static void *room(size_t bytes) {
  void *found = malloc(bytes > 0 ? bytes : 1);
  if (found == NULL) leave(3);
  return found;
}

static void *given(size_t bytes) {
  char *found = room(bytes);
  size_t at = 0;
  while (at < bytes) {
    ssize_t got = read(0, found + at, bytes - at);
    if (got <= 0) leave(4);
    at += (size_t)got;
  }
  return found;
}

static void give(const void *from, size_t bytes) {
  size_t at = 0;
  while (at < bytes) {
    ssize_t put = write(1, (const char *)from + at, bytes - at);
    if (put <= 0) leave(5);
    at += (size_t)put;
  }
}

static void lock_in(size_t bytes) {
  struct rlimit most;
  most.rlim_cur = most.rlim_max = (rlim_t)bytes;
  setrlimit(RLIMIT_FSIZE, &most);
#if defined(__linux__) && !defined(EDGEGNN_OPEN)
  prctl(22 /* PR_SET_SECCOMP */, 1 /* SECCOMP_MODE_STRICT */, 0, 0, 0);
#endif
}

int main(int argc, char **argv) {
  static edgegnn_${name}_inputs in;
  static edgegnn_${name}_outputs out;
  size_t numbers[$count], total = sizeof(int32_t);
  int32_t code;
  void *arena;
  if (argc != 1 + $count) return 2;
  for (int i = 0; i < $count; ++i) numbers[i] = (size_t)strtoull(argv[i + 1], NULL, 10);
  for (int i = $outputs; i < $count; ++i) total += numbers[i];
$assign
  arena = room(EDGEGNN_${NAME}_ARENA_BYTES);
  memset(arena, 0xA5, EDGEGNN_${NAME}_ARENA_BYTES);
  lock_in(total);
  code = edgegnn_${name}_run(&in, &out, arena);
  give(&code, sizeof code);
  if (code == 0) {
$results
  }
  leave(0);
  return 0;
}
"""


def run_source(code: PlainC) -> str:
    """The text of run.c."""
    inputs, outputs = len(code.sizes), len(code.sizes) + len(code.inputs)
    assign = [f"  in.{size.member} = (int32_t)numbers[{i}];" for i, size in enumerate(code.sizes)]
    assign += [f"  in.{a.member} = (const {a.ctype} *)given(numbers[{inputs + i}]);" for i, a in enumerate(code.inputs)]
    assign += [f"  out.{a.member} = ({a.ctype} *)room(numbers[{outputs + i}]);" for i, a in enumerate(code.outputs)]
    results = [f"    give(out.{a.member}, numbers[{outputs + i}]);" for i, a in enumerate(code.outputs)]
    texts = {"name": code.name, "NAME": code.name.upper(), "assign": "\n".join(assign), "results": "\n".join(results)}
    numbers = {"outputs": str(outputs), "count": str(outputs + len(code.outputs))}
    return Template(_RUN).substitute(texts, **numbers)
