"""How the machine is right now: warm, slowed down, at which clock. Read before and after a measurement."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

__all__ = ["THROTTLED", "machine_state", "throttled_words"]

# Bits of the Raspberry Pi firmware's throttling word: what is so now; the same 16 bits higher: was so since boot.
THROTTLED = ("under-voltage", "frequency capped", "throttled", "soft temperature limit")
_CPU_SENSORS = ("cpu", "soc", "x86_pkg", "package", "tdie", "bcm2835")


def machine_state(root: Path = Path("/")) -> dict[str, Any]:
    """Read the sensors, in milliseconds; a missing one is no error.

    Args:
        root: where /proc and /sys are.

    Returns:
        temperature (of the CPU, °C, or None), frequency_mhz (of the fastest core now, or None), throttled (a Raspberry
        Pi's word in hex, "" where there is none).
    """
    return {
        "temperature": _temperature(root),
        "frequency_mhz": _frequency(root),
        "throttled": _throttled(root),
    }


def throttled_words(word: str) -> list[str]:
    """What a throttling word says: "under-voltage now", "throttled since boot"; [] when all is well or unknown."""
    if not re.fullmatch(r"[0-9a-fA-F]{1,8}", word):
        return []
    bits = int(word, 16)
    now = [f"{name} now" for i, name in enumerate(THROTTLED) if bits >> i & 1]
    return now + [
        f"{name} since boot" for i, name in enumerate(THROTTLED) if bits >> (i + 16) & 1 and not bits >> i & 1
    ]


def _temperature(root: Path) -> float | None:
    """The CPU's warmest sensor, or the first zone where no sensor names its part."""
    found = []
    for zone in sorted((root / "sys/class/thermal").glob("thermal_zone*")):
        value = _number(zone / "temp")
        if value is not None and -40_000 <= value <= 150_000:
            kind = _text(zone / "type").lower()
            found.append((any(name in kind for name in _CPU_SENSORS), value / 1000))
    of_cpu = [value for is_cpu, value in found if is_cpu]
    return max(of_cpu) if of_cpu else found[0][1] if found else None


def _frequency(root: Path) -> float | None:
    files = (root / "sys/devices/system/cpu").glob("cpu[0-9]*/cpufreq/scaling_cur_freq")
    values = [value for path in files if (value := _number(path)) is not None and value > 0]
    return max(values) / 1000 if values else None


def _throttled(root: Path) -> str:
    text = _text(root / "sys/devices/platform/soc/soc:firmware/get_throttled")
    if not text and root == Path("/") and shutil.which("vcgencmd"):
        try:
            command = ["vcgencmd", "get_throttled"]
            text = subprocess.run(
                command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=5
            ).stdout.strip()
        except (OSError, subprocess.SubprocessError, ValueError):
            return ""
    match = re.fullmatch(r"(?:throttled=)?(?:0x)?([0-9a-fA-F]{1,8})", text)
    return match[1].lower() if match else ""


def _number(path: Path) -> int | None:
    try:
        return int(_text(path))
    except ValueError:
        return None


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip("\0\n ")
    except OSError:
        return ""
