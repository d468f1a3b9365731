"""Power sensors of the kernel's hwmon: INA2xx chips, and the INA3221 of NVIDIA's Jetson boards."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from edgegnn.runtime.energy.sampled import SampledReader
from edgegnn.runtime.energy.windows import ReadingError

__all__ = ["find_hwmon"]

_INTERVAL = 0.1
_CHIP = re.compile(r"ina(?:2\d\d|3221)\w*")
# The whole board's input on a Jetson: the other channels lie behind it.
_INPUT = ("VDD_IN", "POM_5V_IN", "POM_IN")


@dataclass(frozen=True)
class _Channel:
    """One number of watts: its name, the chip's, and how to read it."""

    name: str
    chip: str
    watts: Callable[[], float]


def find_hwmon(system: Path = Path("/")) -> tuple[SampledReader | None, str]:
    """Look for readable power sensors.

    Args:
        system: where /sys is.

    Returns:
        The reader and "", or None and the reason why not.
    """
    root = system / "sys/class/hwmon"
    channels: list[_Channel] = []
    try:
        for folder in sorted(root.glob("hwmon*")):
            channels += _channels(folder)
        if not channels:
            return None, f"no power sensor (INA2xx, INA3221) in {root}"
        whole = [c for c in channels if c.name in _INPUT]
        used = whole or channels
        for channel in used:
            channel.watts()
    except ReadingError as error:
        return None, str(error)
    names = ", ".join(c.name for c in used)
    chips = ", ".join(dict.fromkeys(c.chip for c in used))
    scope = f"board input ({names})" if whole else f"what the sensor measures ({names})"
    if not whole and len(used) > 1:
        scope = f"sum of {len(used)} channels ({names})"
    reader = SampledReader(
        lambda: sum(channel.watts() for channel in used),
        source=f"hwmon {chips}",
        scope=scope,
        interval=_INTERVAL,
    )
    return reader, ""


def _channels(folder: Path) -> list[_Channel]:
    chip = _text(folder / "name")
    if not _CHIP.fullmatch(chip):
        return []
    power = folder / "power1_input"
    if power.exists():
        name = _text(folder / "power1_label") or folder.name
        return [_Channel(name, chip, lambda: _number(power) / 1e6)]
    found = []
    for number in (1, 2, 3):  # an INA3221 has three; a fourth voltage there is the sum of the shunts
        volts, amps = folder / f"in{number}_input", folder / f"curr{number}_input"
        if volts.exists() and amps.exists() and _text(folder / f"in{number}_enable") != "0":
            name = _text(folder / f"in{number}_label") or f"{folder.name} channel {number}"
            found.append(_Channel(name, chip, _product(volts, amps)))
    return found


def _product(millivolts: Path, milliamps: Path) -> Callable[[], float]:
    # A rail that feeds back, or the sensor's offset, gives a little less than nothing.
    return lambda: max(0.0, _number(millivolts) * _number(milliamps) / 1e6)


def _number(path: Path) -> float:
    try:
        return float(int(path.read_text(encoding="ascii")))
    except PermissionError as error:
        raise ReadingError(f"{path} is not readable: run as root, or chmod a+r {path}") from error
    except (OSError, ValueError) as error:
        raise ReadingError(f"{path} gives no number") from error


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
