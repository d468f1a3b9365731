"""An estimate for boards without a sensor: the maker's power figures, idle and busy, between them by CPU load."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable
from pathlib import Path

from edgegnn.runtime.energy.windows import Reading

__all__ = ["BoardModel", "board_watts", "find_board_model"]

# Amperes, average idle and average under stress (all cores busy), at 5.1 V with a monitor, keyboard and mouse:
# github.com/raspberrypi/documentation, power-supplies.adoc, "Typical Power Requirements". It has no such pair of
# figures for the other 64-bit boards.
_AMPERES = {"Raspberry Pi 3 Model B": (0.30, 0.85), "Raspberry Pi 4 Model B": (0.60, 1.20)}
_VOLTS = 5.1


class BoardModel:
    """Power of a board as a straight line over the share of its CPU time that this process uses.

    Args:
        name: the board.
        idle: watts when nothing runs.
        busy: watts when all cores are busy.
        cores: how many it has.
        clock: seconds, for tests; CPU seconds of the process, all threads.
    """

    kind = "estimated"
    rate = None
    scope = "the whole board, with a monitor and a keyboard"

    def __init__(
        self,
        name: str,
        idle: float,
        busy: float,
        cores: int,
        clock: tuple[Callable[[], float], Callable[[], float]] = (time.perf_counter, time.process_time),
    ) -> None:
        self.source = f"model of a {name}: {idle:.2f} W idle, {busy:.2f} W busy (its maker's figures), by CPU load"
        self._idle, self._busy, self._cores, self._clock = idle, busy, cores, clock
        self._begin = self._used = 0.0

    def start(self) -> None:
        """Begin a window."""
        self._begin, self._used = self._clock[0](), self._clock[1]()

    def stop(self) -> Reading:
        """End the window."""
        seconds, used = self._clock[0]() - self._begin, self._clock[1]() - self._used
        return Reading(self._idle * seconds + (self._busy - self._idle) * min(used / self._cores, seconds))

    def close(self) -> None:
        """Nothing runs."""


def board_watts(model: str) -> tuple[str, float, float] | None:
    """Name and watts, idle and busy, of a board by its /proc/device-tree/model; None where nobody has told them."""
    name = re.sub(r" Rev .*$", "", model)
    amperes = _AMPERES.get(name)
    return None if amperes is None else (name, _VOLTS * amperes[0], _VOLTS * amperes[1])


def find_board_model(system: Path = Path("/")) -> tuple[BoardModel | None, str]:
    """Look up this machine among boards whose makers publish a power figure.

    Args:
        system: where /proc is.

    Returns:
        The reader and "", or None and the reason why not.
    """
    try:
        model = (system / "proc/device-tree/model").read_text(encoding="utf-8", errors="replace").strip("\0\n ")
    except OSError:
        return None, "no power model for this kind of machine"
    found = board_watts(model)
    if found is None:
        return None, f"no power model for a {model}"
    return BoardModel(*found, os.cpu_count() or 1), ""
