"""Time contenders against each other on a machine that may have other work.

    round 1: a b c   round 2: a b c   ...   round 11: a b c

They take turns, so that a slow minute of the machine hits all of them; each turn repeats its call for at least 100 ms.
Before a turn the process waits until the threads of the contender before have stopped spinning, and then calls
unmeasured for 50 ms or once, whichever is longer: sleeping threads and a cold cache cost a two-thread call of 2.4 ms
up to 5 ms, for the first ten calls.
"""

from __future__ import annotations

import gc
import math
import os
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

_STAT = Path("/proc/stat")


@dataclass(frozen=True)
class Timing:
    """What was measured, and how.

    Attributes:
        median_ms: median over the turns of the time of one call.
        min_ms: fastest turn.
        runs: turns.
        repeats: calls in a turn.
        load: one-minute load average before.
        others: share of the machine's cores that other processes (and the host, "steal") took meanwhile; None when
            the system does not tell.
    """

    median_ms: float
    min_ms: float
    runs: int
    repeats: int
    load: float
    others: float | None

    def to_dict(self) -> dict[str, Any]:
        """Plain values, rounded to what they mean."""
        values = asdict(self)
        values |= {k: float(f"{values[k]:.4g}") for k in ("median_ms", "min_ms")}
        values["load"] = round(self.load, 2)
        values["others"] = None if self.others is None else round(self.others, 3)
        return values


@dataclass(frozen=True)
class Plan:
    """How long to measure.

    Attributes:
        runs: turns of each contender.
        seconds: the least duration of a turn.
        warm: the seconds of unmeasured calls before a turn.
        slow: calls that take more seconds get fewer turns: `slow_runs`.
        passes: over many graphs, when they are run one at a time.
        patience: seconds to wait for a machine of which less than 6 % is busy, before each row.
    """

    runs: int = 11
    seconds: float = 0.1
    warm: float = 0.05
    slow: float = 1.0
    slow_runs: int = 7
    passes: int = 5
    patience: float = 15.0


FULL = Plan()
QUICK = Plan(runs=3, seconds=0.03, warm=0.03, slow=0.3, slow_runs=1, passes=1, patience=0.0)
BUSY = 0.06


def take_turns(contenders: Mapping[str, Callable[[], object]], plan: Plan = FULL) -> dict[str, Timing]:
    """Time every contender.

    Args:
        contenders: name -> a call.
        plan: how often.
    """
    load = wait_for_quiet(plan)
    gc.collect()
    single = {name: _single(call) for name, call in contenders.items()}
    runs = {name: plan.slow_runs if s > plan.slow else plan.runs for name, s in single.items()}
    repeats = {name: max(1, math.ceil(plan.seconds / s)) for name, s in single.items()}
    times: dict[str, list[float]] = {name: [] for name in contenders}
    meters = {name: _Others() for name in contenders}
    for turn in range(plan.runs):
        for name, call in contenders.items():
            if turn >= runs[name]:
                continue
            settle()
            if single[name] < 0.2:
                for _ in range(max(1, math.ceil(plan.warm / single[name]))):
                    call()
            with meters[name]:
                start = time.perf_counter()
                for _ in range(repeats[name]):
                    call()
                times[name].append((time.perf_counter() - start) / repeats[name])
    return {
        name: Timing(1000 * statistics.median(t), 1000 * min(t), len(t), repeats[name], load, meters[name].share())
        for name, t in times.items()
    }


def each(contenders: Mapping[str, Sequence[Callable[[], object]]], plan: Plan = FULL) -> dict[str, Timing]:
    """Time every contender on many graphs, one call a graph: the median is the p50 over graphs and passes."""
    load = wait_for_quiet(plan)
    gc.collect()
    times: dict[str, list[float]] = {name: [] for name in contenders}
    meters = {name: _Others() for name in contenders}
    for turn in range(plan.passes):
        for name, calls in contenders.items():
            settle()
            if not turn:
                for call in calls:
                    call()
            with meters[name]:
                for call in calls:
                    start = time.perf_counter()
                    call()
                    times[name].append(time.perf_counter() - start)
    return {
        name: Timing(1000 * statistics.median(t), 1000 * min(t), len(t), 1, load, meters[name].share())
        for name, t in times.items()
    }


def settle(limit: float = 0.5) -> None:
    """Wait until this process's threads are idle: pools of onnxruntime and OpenMP spin for a while after their work."""
    end = time.perf_counter() + limit
    while time.perf_counter() < end:
        before = time.process_time()
        time.sleep(0.005)
        if time.process_time() - before < 0.001:
            return


def wait_for_quiet(plan: Plan) -> float:
    """Wait, at most `plan.patience` seconds, until nothing else runs; the load average then."""
    settle()
    end = time.perf_counter() + plan.patience
    while _STAT.exists() and time.perf_counter() < end:
        with _Others() as meter:
            time.sleep(0.5)
        if (meter.share() or 0.0) < BUSY:
            break
    return os.getloadavg()[0]


def _single(call: Callable[[], object]) -> float:
    """Seconds of a warm call; of a cold one when that takes long."""
    best = math.inf
    start = time.perf_counter()
    for _ in range(5):
        before = time.perf_counter()
        call()
        best = min(best, time.perf_counter() - before)
        if time.perf_counter() - start > 0.5:
            break
    return max(best, 1e-7)


class _Others:
    """Sums up, over the blocks it is entered for, the processor time that others took."""

    def __init__(self) -> None:
        self._busy = self._own = self._wall = 0.0

    def __enter__(self) -> _Others:
        self._from = (_busy(), time.process_time(), time.perf_counter())
        return self

    def __exit__(self, *_: object) -> None:
        now = (_busy(), time.process_time(), time.perf_counter())
        busy, own, wall = (after - before for after, before in zip(now, self._from, strict=True))
        self._busy, self._own, self._wall = self._busy + busy, self._own + own, self._wall + wall

    def share(self) -> float | None:
        """Share of all cores, in [0, 1]; the system counts in steps of 10 ms."""
        if not _STAT.exists() or not self._wall:
            return None
        return min(1.0, max(0.0, (self._busy - self._own) / (self._wall * (os.cpu_count() or 1))))


def _busy() -> float:
    """Seconds that all cores together have been busy or taken away."""
    if not _STAT.exists():
        return 0.0
    ticks = [int(v) for v in _STAT.read_text().split("\n", 1)[0].split()[1:9]]
    return (sum(ticks) - ticks[3] - ticks[4]) / os.sysconf("SC_CLK_TCK")
