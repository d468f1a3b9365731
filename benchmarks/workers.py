"""One process per thread count: pools of onnxruntime, OpenMP and MKL take their size once.

A script calls `run_workers`, which starts the same script again with `--worker THREADS FILE`; that process measures and
writes its rows to FILE.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

Row = dict[str, Any]
_POOLS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "TORCHINDUCTOR_NUM_THREADS")


def run_workers(threads: Sequence[int], arguments: Sequence[str]) -> list[Row]:
    """Run this script as a worker for every thread count, and collect their rows.

    The environment is the same whoever starts it: thread counts are set, allocator settings removed.
    """
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="edgegnn-benchmark-") as folder:
        for count in threads:
            out = Path(folder) / f"rows-{count}.json"
            environment = {k: v for k, v in os.environ.items() if k not in {"GLIBC_TUNABLES", "MALLOC_CONF"}}
            environment |= dict.fromkeys(_POOLS, str(count))
            command = [sys.executable, "-W", "ignore", sys.argv[0], "--worker", str(count), str(out), *arguments]
            done = subprocess.run(command, env=environment)
            if out.exists():
                rows += json.loads(out.read_text())
            if done.returncode:
                print(f"the worker with {count} threads ended with code {done.returncode}", file=sys.stderr)
    return rows


class Rows:
    """What a worker has measured so far; on disk after every addition, so that a crash loses nothing."""

    def __init__(self, path: Path) -> None:
        self.path, self.rows = path, list[Row]()

    def add(self, rows: Sequence[Row]) -> None:
        self.rows += rows
        temporary = self.path.with_suffix(".tmp")
        temporary.write_text(json.dumps(self.rows))
        temporary.replace(self.path)


def finder(rows: Sequence[Row], value: str = "median_ms") -> Callable[..., float | None]:
    """`find(graph=..., contender=..., threads=...)`: the value of the one row that has these, or None."""

    def find(**where: Any) -> float | None:
        found = [r[value] for r in rows if r.get(value) is not None and all(r.get(k) == v for k, v in where.items())]
        return float(found[0]) if found else None

    return find


def ratio(slow: float | None, fast: float | None) -> float | None:
    """`slow / fast`, None where one is missing."""
    return slow / fast if slow is not None and fast else None


def unquiet(rows: Sequence[Row], limit: float = 0.1) -> list[str]:
    """A warning when other processes had a part of the machine while something long enough to tell was measured.

    The share is counted in steps of 10 ms, so single turns under a tenth of a second say little.
    """
    found = [r for r in rows if (r.get("others") or 0.0) > limit and r["runs"] * r["repeats"] * r["median_ms"] > 100]
    if not found:
        return []
    worst = max(r["others"] for r in found)
    return [
        f"\n**The machine was not quiet**: in {len(found)} rows others took up to {100 * worst:.0f} % of it. "
        "Threads of PyTorch wait for each other, so its times suffer most: ratios against it flatter us. Run it again."
    ]


def say(text: str) -> None:
    """Progress, on stderr."""
    print(text, file=sys.stderr, flush=True)
