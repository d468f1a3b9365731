"""Energy per inference: what a reader is, and how windows of it become joules.

    gate      gate        gate                          (a host that holds the reader starts it here)
     |  idle   |  load 0   |  load 1   |  ...            each window: at least `seconds` and `iterations`
     start stop start  stop start  stop                  of one reader

A reader names its source, its scope and its kind, and a number is refused where it would say more about the reader.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any, Protocol

__all__ = ["MIN_STEPS", "EnergyReader", "Reading", "ReadingError", "Window", "measure_windows", "summarize"]

# A counter that moved by fewer of its steps than this says more about its resolution than about the model.
MIN_STEPS = 50


class ReadingError(Exception):
    """A reader gave nothing usable; the text says why. The energy becomes null, the rest of the record stays."""


@dataclass(frozen=True)
class Reading:
    """Energy between `start` and `stop`: joules, and in how many update steps it was seen (None: a model).

    Steps of a counter are those that it moved by; of a power sensor, the samples that were taken.
    """

    joules: float | None
    steps: float | None = None


class EnergyReader(Protocol):
    """Anything that tells the energy of a window.

    Attributes:
        source: what is read, "RAPL (package-0)".
        scope: which part of the machine, "CPU package".
        kind: "measured" or "estimated".
        rate: how often the value is renewed or sampled, per second; None when nobody knows (a model).
    """

    source: str
    scope: str
    kind: str

    @property
    def rate(self) -> float | None:
        """See above; may be known better after the windows than before."""

    def start(self) -> None:
        """Begin a window."""

    def stop(self) -> Reading:
        """End the window; `ReadingError` when there is no usable number."""

    def close(self) -> None:
        """End what the reader may have running, also when a window was left open."""


@dataclass(frozen=True)
class Window:
    """One window: with the model running (`load`) or idle, its length in seconds, inferences in it, and its energy."""

    load: bool
    seconds: float
    iterations: int
    joules: float | None = None
    steps: float | None = None


def measure_windows(
    step: Callable[[], object],
    reader: EnergyReader | None,
    *,
    windows: int,
    seconds: float,
    iterations: int,
    announce: Callable[[dict[str, Any]], None] = lambda event: None,
    gate: Callable[[dict[str, Any]], None] = lambda event: None,
) -> list[Window]:
    """Run one idle window and `windows` windows under load.

    Args:
        step: one inference.
        reader: read round each window; None when the host does that.
        windows: how many under load.
        seconds: least length of a window.
        iterations: least number of inferences in a window under load.
        announce: told when a window starts and ends (kind, index, monotonic seconds; then also iterations, seconds).
        gate: called before each window; may block until the host is ready.

    Raises:
        ReadingError: the reader gave nothing usable.
    """
    done = []
    for index in range(windows + 1):
        load = index > 0
        facts = {"kind": "load" if load else "idle", "index": max(index - 1, 0), "seconds": seconds}
        gate({"event": "window_ready", **facts})
        if reader is not None:
            reader.start()
        begin = time.perf_counter()
        announce({"event": "window_start", **facts, "monotonic": begin})
        count = _load(step, begin + seconds, iterations) if load else _idle(seconds)
        end = time.perf_counter()
        reading = Reading(joules=None) if reader is None else reader.stop()
        announce({"event": "window_end", **facts, "monotonic": end, "iterations": count, "seconds": end - begin})
        done.append(Window(load, end - begin, count, reading.joules, reading.steps))
    return done


def summarize(
    windows: list[Window], *, source: str, scope: str, kind: str, rate: float | None = None
) -> tuple[dict[str, Any] | None, str]:
    """Joules per inference from windows.

    Args:
        windows: one idle window, and windows under load, with joules.
        source: the reader's.
        scope: the reader's.
        kind: the reader's.
        rate: the reader's.

    Returns:
        `energy_j` of the profile record and "", or None and why there is no number.
    """
    idle = [w for w in windows if not w.load]
    load = [w for w in windows if w.load and w.iterations > 0]
    if not idle or not load or any(w.joules is None or w.seconds <= 0 for w in windows):
        return None, f"{source} gave no reading for every window"
    fewest = min((w.steps for w in load if w.steps is not None), default=None)
    if fewest is not None and fewest < MIN_STEPS:
        return None, f"{source} moved by {fewest:.0f} steps in a window, {MIN_STEPS} are needed: use longer windows"
    if min(w.joules or 0.0 for w in load) <= 0:
        return None, f"{source} counted 0 J in a window: use longer windows"
    watts = median((w.joules or 0.0) / w.seconds for w in idle)
    gross = [(w.joules or 0.0) / w.iterations for w in load]
    net = [((w.joules or 0.0) - watts * w.seconds) / w.iterations for w in load]
    return {
        "gross": median(gross),
        "net": median(net) if median(net) > 0 else None,
        "source": source,
        "scope": scope,
        "kind": kind,
        "rate_hz": None if rate is None else float(f"{rate:.3g}"),
        "gross_range": [min(gross), max(gross)],
        "net_range": [min(net), max(net)],
        "idle_watts": watts,
        "load_watts": median((w.joules or 0.0) / w.seconds for w in load),
        "windows": [asdict(w) for w in windows],
    }, ""


def _load(step: Callable[[], object], until: float, iterations: int) -> int:
    count = 0
    while count < iterations or time.perf_counter() < until:
        step()
        count += 1
    return count


def _idle(seconds: float) -> int:
    time.sleep(seconds)
    return 0
