"""RAPL: the energy counters of x86 CPUs, read through the kernel's powercap files."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from pathlib import Path

from edgegnn.runtime.energy.windows import Reading, ReadingError

__all__ = ["POWERCAP", "RaplReader", "find_rapl"]

POWERCAP = Path("/sys/class/powercap")


@dataclass(frozen=True)
class _Domain:
    """A RAPL package: its counter wraps at `limit` µJ and moves in steps of about `step` µJ, `rate` times a second."""

    name: str
    path: Path
    limit: int
    step: float
    rate: float


class RaplReader:
    """The energy counters of the CPU packages, summed. A window must be shorter than one wrap (minutes at least)."""

    kind = "measured"

    def __init__(self, domains: list[_Domain]) -> None:
        self._domains = domains
        self._before: list[int] = []
        self.source = f"RAPL ({', '.join(d.name for d in domains)})"
        self.scope = "CPU package" if len(domains) == 1 else f"{len(domains)} CPU packages"

    @property
    def rate(self) -> float:
        """Updates of the slowest counter, per second."""
        return min(d.rate for d in self._domains)

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

    def close(self) -> None:
        """Nothing runs."""


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
            seen = _watch_step(path, limit, probe_seconds)
            if seen is None:
                return None, f"the RAPL counter of {name} doesn't move"
            domains.append(_Domain(name, path, limit, *seen))
    except ReadingError as error:
        return None, str(error)
    return RaplReader(domains), ""


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


def _watch_step(path: Path, limit: int, seconds: float) -> tuple[float, float] | None:
    """Smallest observed move of a counter in µJ, and moves per second; None when it didn't move."""
    smallest: float | None = None
    moves = 0
    last, begin = _read_counter(path), time.perf_counter()
    while time.perf_counter() < begin + seconds and moves < 20:
        now = _read_counter(path)
        moved = (now - last) % limit
        if moved:
            smallest = moved if smallest is None else min(smallest, moved)
            moves += 1
            last = now
    return None if smallest is None else (smallest, moves / (time.perf_counter() - begin))
