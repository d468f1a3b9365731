"""`peers.c`, compiled on the fly: the serial counting sort, and this machine's random-row read bandwidth.

Without a C compiler `load` gives None, and the rows that need it stay empty.
"""

from __future__ import annotations

import ctypes
import hashlib
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

SOURCE = Path(__file__).parent / "peers.c"
FLAGS = ("-O3", "-march=native", "-std=gnu11", "-shared", "-fPIC", "-pthread")
AHEAD = (0, 4, 8, 12, 16, 32)

Int32 = npt.NDArray[np.int32]
Int64 = npt.NDArray[np.int64]


@cache
def load() -> ctypes.CDLL | None:
    """The library; None where there is no compiler, or it fails."""
    compiler = next((c for c in ("cc", "gcc", "clang") if shutil.which(c)), None)
    if compiler is None:
        return None
    digest = hashlib.sha256(SOURCE.read_bytes() + " ".join((compiler, *FLAGS)).encode()).hexdigest()[:16]
    folder = Path(tempfile.gettempdir()) / f"edgegnn-benchmark-{digest}"
    target = folder / "peers.so"
    if not target.exists():
        folder.mkdir(parents=True, exist_ok=True)
        made = folder / f"peers-{id(folder)}.so"
        done = subprocess.run([compiler, *FLAGS, "-o", str(made), str(SOURCE)], capture_output=True, text=True)
        if done.returncode:
            print(f"{compiler} can't compile {SOURCE.name}: {done.stderr.strip()[:300]}")
            return None
        made.replace(target)
    library = ctypes.CDLL(str(target))
    library.read_rows.restype = ctypes.c_double
    return library


def counting_sort(edge_index: Int64, rows: int) -> tuple[Callable[[], object], tuple[Int32, Int32, Int32]] | None:
    """A call of the serial counting sort, and the arrays it fills: indptr [rows + 1], col [E], perm [E]."""
    library = load()
    if library is None:
        return None
    edges = edge_index.shape[1]
    out = (np.zeros(rows + 1, np.int32), np.zeros(edges, np.int32), np.zeros(edges, np.int32))
    sizes = [ctypes.c_int64(v) for v in (edges, rows, rows)]
    pointers = [ctypes.c_void_p(a.ctypes.data) for a in (np.ascontiguousarray(edge_index), *out)]

    def call() -> int:
        return int(library.counting_sort(pointers[0], *sizes, *pointers[1:]))

    call.keep = edge_index  # type: ignore[attr-defined]
    return call, out


def read_rows(col: Int32, rows: int, row_bytes: int, threads: int, runs: int = 9) -> float | None:
    """Fastest time in ms to read the rows `col` [E] of a table `[rows, row_bytes]`, over prefetch distances and runs.

    The rows are read in the order in which an aggregation over that CSR reads them, and summed: no row has an end,
    nothing is written. None: no compiler.
    """
    library = load()
    if library is None:
        return None
    space = np.random.default_rng(0).integers(0, 256, rows * row_bytes + 64, dtype=np.uint8)
    start = -space.ctypes.data % 64
    index = np.ascontiguousarray(col, dtype=np.int32)
    total = ctypes.c_uint64()
    best = float("inf")
    for _ in range(runs):
        for ahead in AHEAD:
            seconds = library.read_rows(
                ctypes.c_void_p(space.ctypes.data + start),
                row_bytes,
                ctypes.c_void_p(index.ctypes.data),
                ctypes.c_int64(len(index)),
                threads,
                ahead,
                ctypes.byref(total),
            )
            if seconds <= 0:
                raise ValueError(f"no reading of rows of {row_bytes} bytes with {threads} threads")
            best = min(best, seconds)
    return best * 1000
