"""Which of the readers of this machine is used: the first of those asked for that is really there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from edgegnn.runtime.energy.board import find_board_model
from edgegnn.runtime.energy.hwmon import find_hwmon
from edgegnn.runtime.energy.nvml import find_nvml
from edgegnn.runtime.energy.pmic import find_pmic
from edgegnn.runtime.energy.rapl import find_rapl
from edgegnn.runtime.energy.windows import EnergyReader

__all__ = ["READERS", "choose_reader", "find_reader"]

if TYPE_CHECKING:
    Found = tuple[EnergyReader | None, str]

# From the whole board inwards, what only estimates last. The GPU's counter is asked only where the model runs there.
READERS = ("hwmon", "pmic", "rapl", "nvml", "board")
_FIND: dict[str, Callable[[Path], Found]] = {
    "hwmon": find_hwmon,
    "pmic": find_pmic,
    "rapl": lambda system: find_rapl(system / "sys/class/powercap"),
    "nvml": lambda system: find_nvml(),
    "board": find_board_model,
}


def find_reader(name: str, system: Path = Path("/")) -> Found:
    """Look for one kind of reader on this machine.

    Args:
        name: one of `READERS`.
        system: where /proc and /sys are.

    Returns:
        The reader, which has to be closed, and ""; or None and the reason why not.
    """
    return _FIND[name](system)


def choose_reader(names: Sequence[str], system: Path = Path("/")) -> Found:
    """The first of some kinds of readers that is there.

    Args:
        names: of `READERS`, in the order of preference.
        system: where /proc and /sys are.

    Returns:
        The reader, which has to be closed, or None; and why none of the better ones is used.
    """
    reasons: list[str] = []
    for name in names:
        reader, reason = find_reader(name, system)
        if reader is not None:
            return reader, "; ".join(reasons)
        reasons.append(reason)
    return None, "; ".join(reasons) or "no energy reader was asked for"
