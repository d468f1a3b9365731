"""Latency, CPU use and memory of this process."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import re
import sys
import time
from array import array
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

__all__ = ["Latency", "Memory", "baseline_memory", "latency_pass", "peak_memory"]

PROC = Path("/proc/self")
BLOCKS = 200


@dataclass(frozen=True)
class Latency:
    """Times of single inferences, one after the other.

    Attributes:
        times: milliseconds of each, in order.
        wall_seconds: the whole pass.
        cpu_seconds: CPU time of the process (all threads) in it.
    """

    times: array[float]
    wall_seconds: float
    cpu_seconds: float

    def percentile(self, q: float) -> float:
        """Percentile in milliseconds, linear between the two nearest times."""
        return float(np.percentile(self.times, q))

    def blocks(self, graphs: int) -> list[float]:
        """Medians of at most `BLOCKS` blocks of consecutive times, in milliseconds and in order.

        A block is as long as all others and holds every graph equally often; the times of a rest stay out.

        Args:
            graphs: different graphs in the pass, in turn.
        """
        rounds = len(self.times) // graphs
        size = graphs * -(-rounds // BLOCKS) if rounds else graphs
        starts = range(0, len(self.times) - size + 1, size)
        return [float(f"{np.median(self.times[i : i + size]):.6g}") for i in starts]


@dataclass(frozen=True)
class Memory:
    """Resident bytes just before the model is loaded; `exact` when the kernel's peak was reset at that moment."""

    baseline: int
    exact: bool


def latency_pass(steps: list[Callable[[], object]], *, runs: int, seconds: float) -> Latency:
    """Time single inferences until there are `runs` of them and `seconds` are over.

    Args:
        steps: one inference per graph; whole rounds over them, so that every graph has the same weight.
        runs: least number of inferences.
        seconds: least duration.
    """
    times = array("d")  # a list would take four times the memory, and move it while timing
    clock = time.perf_counter
    collecting = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        cpu, begin = time.process_time(), clock()
        while len(times) < runs or clock() - begin < seconds:
            for step in steps:
                t = clock()
                step()
                times.append((clock() - t) * 1e3)
        return Latency(times, clock() - begin, time.process_time() - cpu)
    finally:
        if collecting:
            gc.enable()


def baseline_memory(proc: Path = PROC) -> Memory:
    """Note the memory before the model is loaded, and reset the kernel's peak where it allows that."""
    gc.collect()
    # Freed blocks that the allocator keeps would be used for the model and hide a part of it.
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
    exact = False
    with contextlib.suppress(OSError):
        (proc / "clear_refs").write_text("5", encoding="ascii")
        exact = True
    status = _status(proc, "VmRSS")
    return Memory(_maxrss() if status is None else status, exact and status is not None)


def peak_memory(before: Memory, proc: Path = PROC) -> int:
    """Bytes that the peak lies above the memory noted before, 0 or more."""
    status = _status(proc, "VmHWM")
    return max(0, (_maxrss() if status is None else status) - before.baseline)


def _status(proc: Path, key: str) -> int | None:
    try:
        match = re.search(rf"^{key}:\s+(\d+) kB", (proc / "status").read_text(encoding="ascii", errors="replace"), re.M)
    except OSError:
        return None
    return int(match[1]) * 1024 if match else None


def _maxrss() -> int:
    try:
        import resource
    except ImportError:  # Windows
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
