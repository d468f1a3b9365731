"""Energy per inference: what is read, and how windows of it become joules.

    gate      gate        gate                          (a host that holds the reader starts it here)
     |  idle   |  load 0   |  load 1   |  ...            each window: at least `seconds` and `iterations`
     start stop start  stop start  stop                  of one reader

A reader names its source (what was read), its scope (which part of the machine) and its kind: "measured" by a counter,
or "estimated" by a model.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any, Protocol

__all__ = [
    "MIN_STEPS",
    "EnergyReader",
    "RaplReader",
    "Reading",
    "ReadingError",
    "Window",
    "find_rapl",
    "measure_windows",
    "summarize",
]

# A counter that moved by fewer of its steps than this says more about its resolution than about the model.
MIN_STEPS = 50
POWERCAP = Path("/sys/class/powercap")


class ReadingError(Exception):
    """A reader gave nothing usable; the text says why. The energy becomes null, the rest of the record stays."""


@dataclass(frozen=True)
class Reading:
    """Energy between `start` and `stop`: joules, and how many of its update steps the counter moved (None: a model)."""

    joules: float | None
    steps: float | None = None


class EnergyReader(Protocol):
    """Anything that tells the energy of a window.

    Attributes:
        source: what is read, "RAPL (package-0)".
        scope: which part of the machine, "CPU package".
        kind: "measured" or "estimated".
    """

    source: str
    scope: str
    kind: str

    def start(self) -> None:
        """Begin a window."""

    def stop(self) -> Reading:
        """End the window; `ReadingError` when there is no usable number."""


@dataclass(frozen=True)
class Window:
    """One window: with the model running (`load`) or idle, its length in seconds, inferences in it, and its energy."""

    load: bool
    seconds: float
    iterations: int
    joules: float | None = None
    steps: float | None = None


@dataclass(frozen=True)
class _Domain:
    """A RAPL package: its counter wraps at `limit` microjoules and moves in steps of about `step` microjoules."""

    name: str
    path: Path
    limit: int
    step: float


class RaplReader:
    """The energy counters of the CPU packages, summed. A window must be shorter than one wrap (minutes at least)."""

    kind = "measured"

    def __init__(self, domains: list[_Domain]) -> None:
        self._domains = domains
        self._before: list[int] = []
        self.source = f"RAPL ({', '.join(d.name for d in domains)})"
        self.scope = "CPU package" if len(domains) == 1 else f"{len(domains)} CPU packages"

    def start(self) -> None:
        """Begin a window."""
        self._before = [_read_counter(d.path) for d in self._domains]

    def stop(self) -> Reading:
        """End the window."""
        total, steps = 0.0, float("inf")
        for i, domain in enumerate(self._domains):
            moved = _read_counter(domain.path) - self._before[i]
            if moved < 0:
                moved += domain.limit
            if not 0 <= moved <= domain.limit:
                raise ReadingError(f"the RAPL counter of {domain.name} went back by more than one wrap")
            total += moved
            steps = min(steps, moved / domain.step)
        return Reading(total / 1e6, steps)


def find_rapl(root: Path = POWERCAP, *, probe_seconds: float = 0.1) -> tuple[RaplReader | None, str]:
    """Look for readable RAPL packages.

    Packages only: cores and DRAM lie inside or beside them, and psys around them.

    Args:
        root: the powercap folder of sysfs.
        probe_seconds: how long to watch the counters for their update step.

    Returns:
        The reader and "", or None and the reason why not.
    """
    try:
        folders = sorted(p for p in root.glob("intel-rapl:*") if re.fullmatch(r"intel-rapl:\d+", p.name))
        names = [(folder, (folder / "name").read_text(encoding="utf-8").strip()) for folder in folders]
    except (OSError, ValueError) as error:
        return None, f"RAPL can't be read: {error}"
    packages = [(folder, name) for folder, name in names if re.fullmatch(r"package-\d+(-die-\d+)?", name)]
    if not packages:
        return None, f"no RAPL package counter in {root} (usual in virtual machines and on ARM)"
    try:
        counters = [(n, f / "energy_uj", _limit(f), _read_counter(f / "energy_uj")) for f, n in packages]
        domains = []
        for name, path, limit, _ in _without_mirrors(counters):
            step = _watch_step(path, limit, probe_seconds)
            if step is None:
                return None, f"the RAPL counter of {name} doesn't move"
            domains.append(_Domain(name, path, limit, step))
    except ReadingError as error:
        return None, str(error)
    return RaplReader(domains), ""


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


def summarize(windows: list[Window], *, source: str, scope: str, kind: str) -> tuple[dict[str, Any] | None, str]:
    """Joules per inference from windows.

    Args:
        windows: one idle window, and windows under load, with joules.
        source: the reader's.
        scope: the reader's.
        kind: the reader's.

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


def _read_counter(path: Path) -> int:
    try:
        value = int(path.read_text(encoding="ascii"))
    except PermissionError as error:
        raise ReadingError(
            f"RAPL is there but not readable (root only since Linux 5.10): run as root, or chmod a+r {path}"
        ) from error
    except (OSError, ValueError) as error:
        raise ReadingError(f"the RAPL counter {path} gives no number") from error
    if value < 0:
        raise ReadingError(f"the RAPL counter {path} is negative")
    return value


def _limit(folder: Path) -> int:
    limit = _read_counter(folder / "max_energy_range_uj")
    if limit == 0:
        raise ReadingError(f"{folder / 'max_energy_range_uj'} is 0: the counter's wrap can't be told")
    return limit


def _without_mirrors(counters: list[tuple[str, Path, int, int]]) -> list[tuple[str, Path, int, int]]:
    """Drop a die whose counter shows the same package again (within 1 J): some AMD CPUs repeat it per die."""
    kept: list[tuple[str, Path, int, int]] = []
    for counter in counters:
        package = counter[0].split("-die-")[0]
        same = [k for k in kept if k[0].split("-die-")[0] == package and abs(k[3] - counter[3]) < 1_000_000]
        if not same:
            kept.append(counter)
    return kept


def _watch_step(path: Path, limit: int, seconds: float) -> float | None:
    """Smallest observed move of a counter, in microjoules; None when it didn't move."""
    smallest: float | None = None
    moves = 0
    last, until = _read_counter(path), time.perf_counter() + seconds
    while time.perf_counter() < until and moves < 20:
        now = _read_counter(path)
        moved = (now - last) % limit
        if moved:
            smallest = moved if smallest is None else min(smallest, moved)
            moves += 1
            last = now
    return smallest
