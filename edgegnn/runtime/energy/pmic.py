"""The Raspberry Pi 5's power chip: volts and amps of 12 rails, told by `vcgencmd pmic_read_adc`."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

from edgegnn.runtime.energy.sampled import SampledReader
from edgegnn.runtime.energy.windows import ReadingError

__all__ = ["find_pmic", "rails_watts"]

_LINE = re.compile(r"^\s*(\w+)_([AV])\s+(?:current|volt)\(\d+\)=([0-9]+(?:\.[0-9]+)?)([AV])\s*$")
_RAILS = 12
# A call takes milliseconds of a core: 8 a second give 80 samples in a window of 10 s.
_INTERVAL = 0.125


def find_pmic(system: Path = Path("/"), *, ask: Callable[[], str] | None = None) -> tuple[SampledReader | None, str]:
    """Look for a Raspberry Pi 5 whose power chip answers.

    Args:
        system: where /proc is.
        ask: gives the text of `vcgencmd pmic_read_adc`; `ReadingError` when it can't.

    Returns:
        The reader and "", or None and the reason why not.
    """
    try:
        model = (system / "proc/device-tree/model").read_text(encoding="utf-8", errors="replace").strip("\0\n ")
    except OSError:
        model = ""
    if not re.search(r"Raspberry Pi (?:Compute Module )?5", model):
        if not model.startswith("Raspberry Pi"):
            return None, "no Raspberry Pi 5"
        return None, f"{model} has no power sensor of its own (a Pi 5 has)"
    read = ask or _vcgencmd
    try:
        _, rails = rails_watts(read())
    except ReadingError as error:
        return None, str(error)
    reader = SampledReader(
        lambda: rails_watts(read())[0],
        source=f"PMIC (vcgencmd pmic_read_adc, {rails} rails)",
        scope="rails of the board; not its 5 V, USB and HATs, nor the losses of the power chip",
        interval=_INTERVAL,
    )
    return reader, ""


def rails_watts(text: str) -> tuple[float, int]:
    """Watts and number of the rails that `vcgencmd pmic_read_adc` tells both current and voltage of.

    Raises:
        ReadingError: the text is something else, or lacks rails.
    """
    values: dict[str, dict[str, float]] = {"A": {}, "V": {}}
    for line in text.splitlines():
        found = _LINE.match(line)
        if found and found[2] == found[4]:
            values[found[2]][found[1]] = float(found[3])
    rails = sorted(values["A"].keys() & values["V"].keys())
    if len(rails) < _RAILS or "VDD_CORE" not in rails:
        said = " ".join(text.split())[:80] or "nothing"
        raise ReadingError(f"vcgencmd pmic_read_adc told {len(rails)} of {_RAILS} rails: {said}")
    return sum(values["A"][rail] * values["V"][rail] for rail in rails), len(rails)


def _vcgencmd() -> str:
    command = ["vcgencmd", "pmic_read_adc"]
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, encoding="utf-8", errors="replace", timeout=5
        )
    except FileNotFoundError as error:
        raise ReadingError("vcgencmd is not installed: sudo apt install raspi-utils") from error
    except (OSError, subprocess.SubprocessError) as error:
        raise ReadingError(f"vcgencmd fails: {type(error).__name__}") from error
    if done.returncode != 0:
        said = " ".join((done.stderr or done.stdout).split())[:100]
        raise ReadingError(f"vcgencmd fails ({said}): is the user in the group video? (sudo usermod -aG video $USER)")
    return done.stdout
