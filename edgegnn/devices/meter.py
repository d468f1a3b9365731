"""An external power meter on this machine: a command that prints a number, or a CSV file that a logger writes."""

from __future__ import annotations

import csv
import itertools
import os
import re
import shlex
import subprocess
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from edgegnn.devices.target import Meter
from edgegnn.runtime.energy import EnergyReader, Reading, ReadingError, SampledReader

__all__ = ["CounterReader", "CsvReader", "meter_reader"]

_WATTS = {"W": 1.0, "mW": 1e-3}
_JOULES = {"J": 1.0, "mJ": 1e-3, "Wh": 3600.0, "kWh": 3.6e6}
_NUMBER = re.compile(r"[+-]?\d+(?:\.(\d+))?(?:[eE]([+-]?\d+))?")
# A logger may write its rows late.
_PATIENCE = 3.0
_TAIL = 4 * 2**20


def meter_reader(meter: Meter) -> tuple[EnergyReader | None, str]:
    """The reader of a target's meter; it is asked once.

    Returns:
        The reader and "", or None and the reason why not.
    """
    try:
        if meter.csv:
            return CsvReader(Path(meter.csv), meter), ""
        ask = _command(shlex.split(meter.command), meter)
        value, _ = ask()
        if value < 0:
            raise ReadingError(f"the meter tells {value:g} {meter.unit}")
    except (ReadingError, ValueError) as error:
        return None, str(error)
    source = f"meter ({Path(shlex.split(meter.command)[0]).name})"
    if meter.unit in _JOULES:
        return CounterReader(ask, source, meter), ""
    scale = _WATTS[meter.unit]
    return SampledReader(lambda: scale * ask()[0], source=source, scope=meter.scope, interval=meter.interval), ""


class CounterReader:
    """A meter that counts joules: asked before and after a window. Its step is the last digit that it prints."""

    kind = "measured"
    rate = None

    def __init__(self, ask: Callable[[], tuple[float, float]], source: str, meter: Meter) -> None:
        self._ask, self._scale = ask, _JOULES[meter.unit]
        self.source, self.scope = source, meter.scope
        self._before = 0.0

    def start(self) -> None:
        """Begin a window."""
        self._before = self._ask()[0]

    def stop(self) -> Reading:
        """End the window."""
        value, step = self._ask()
        moved = value - self._before
        if moved < 0:
            raise ReadingError(f"{self.source}: the counter went back from {self._before:g} to {value:g}")
        return Reading(moved * self._scale, moved / step)

    def close(self) -> None:
        """Nothing runs."""


class CsvReader:
    """A file of rows `time, power` that a logger on this machine goes on writing.

    The time is seconds since 1970 or ISO 8601; a first line that is a header is skipped, and so are further columns.
    """

    kind = "measured"

    def __init__(self, path: Path, meter: Meter) -> None:
        self._path, self._scale = path, _WATTS[meter.unit]
        self.source, self.scope = f"meter ({path.name})", meter.scope
        self.rate: float | None = None
        self._begin = 0.0
        if not _rows(path):
            raise ReadingError(f"{path} has no rows of time and power yet: is the logger running?")

    def start(self) -> None:
        """Begin a window."""
        self._begin = time.time()

    def stop(self) -> Reading:
        """End the window; waits a moment for a logger that is late."""
        begin, end = self._begin, time.time()
        rows = _rows(self._path)
        while rows and rows[-1][0] < end and time.time() < end + _PATIENCE:
            time.sleep(0.1)
            rows = _rows(self._path)
        inside = [row for row in rows if begin <= row[0] <= end]
        if not rows or rows[-1][0] < end or rows[0][0] > begin:
            raise ReadingError(f"{self._path} has no rows that cover the window: is the logger running, in this time?")
        joules = self._scale * _integrate(rows, begin, end)
        self.rate = len(inside) / (end - begin) if end > begin else None
        return Reading(joules, float(len(inside)))

    def close(self) -> None:
        """Nothing runs."""


def _command(words: list[str], meter: Meter) -> Callable[[], tuple[float, float]]:
    """A function that runs the command and gives the number it prints, and the worth of its last digit."""

    def ask() -> tuple[float, float]:
        try:
            done = subprocess.run(
                words, stdin=subprocess.DEVNULL, capture_output=True, encoding="utf-8", errors="replace", timeout=5
            )
        except subprocess.TimeoutExpired as error:
            raise ReadingError(f"the meter's command {words[0]} takes longer than 5 s") from error
        except OSError as error:
            raise ReadingError(f"the meter's command {words[0]} can't be run: {error.strerror}") from error
        if done.returncode != 0:
            said = " ".join(done.stderr.split())[-100:]
            raise ReadingError(f"the meter's command {words[0]} ended with {done.returncode}: {said}")
        text = done.stdout.strip().removesuffix(meter.unit).strip()
        found = _NUMBER.fullmatch(text)
        if not found:
            raise ReadingError(f"the meter's command {words[0]} printed {text[:40]!r}, not one number")
        return float(text), 10.0 ** (int(found[2] or 0) - len(found[1] or ""))

    if not words:
        raise ReadingError("the meter's command is empty")
    return ask


def _rows(path: Path) -> list[tuple[float, float]]:
    """Rows of a file (of its end, if it is long) in the order of time."""
    try:
        with path.open("rb") as file:
            length = file.seek(0, os.SEEK_END)
            file.seek(max(0, length - _TAIL))
            text = file.read().decode("utf-8", "replace")
    except OSError as error:
        raise ReadingError(f"can't read {path}: {error.strerror}") from error
    # The last line may be half written, the first one cut or a header.
    lines = text[: text.rfind("\n") + 1].splitlines()
    found = []
    for number, row in enumerate(csv.reader(lines)):
        if len([cell for cell in row if cell.strip()]) == 0 or row[0].lstrip().startswith("#"):
            continue
        try:
            found.append((_seconds(row[0].strip()), float(row[1])))
        except (ValueError, IndexError) as error:
            if number:
                raise ReadingError(f"{path}: {','.join(row)[:40]!r} is not a time and a power") from error
    return sorted(found)


def _seconds(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


def _integrate(rows: list[tuple[float, float]], begin: float, end: float) -> float:
    """Area between two times that lie within the rows, straight from row to row."""
    area = 0.0
    for (t0, w0), (t1, w1) in itertools.pairwise(rows):
        a, b = max(t0, begin), min(t1, end)
        if b > a and t1 > t0:
            middle = w0 + (w1 - w0) * ((a + b) / 2 - t0) / (t1 - t0)
            area += middle * (b - a)
    return area
