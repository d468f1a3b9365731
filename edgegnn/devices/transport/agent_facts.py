"""Facts about the device for the agent, which can't use `edgegnn.runtime.facts`: that needs numpy and onnxruntime.

Standard library only, Python 3.9; this text is sent to the device together with `agent.py`.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import struct
import subprocess
import sysconfig
import time
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path
from typing import Any

PROTOCOL = 1
READ_BYTES = 2**20


def facts(root: Path, *, venv: bool = True, system: Path = Path("/")) -> dict[str, Any]:
    """What this machine is.

    Args:
        root: edgegnn's folder.
        venv: look at the packages of the virtual environment there, when there is one; False: at this Python's.
        system: where /proc, /sys and /etc are.
    """
    cpu = system / "sys/devices/system/cpu/cpu0/cpufreq"
    meminfo = _read(system / "proc/meminfo")
    place = root
    while not place.exists():
        place = place.parent
    made = root / "venv/bin/python"
    has_venv = os.access(made, os.X_OK)
    return {
        "protocol": PROTOCOL,
        "machine": platform.machine(),
        "bits": 8 * struct.calcsize("P"),
        "python": platform.python_version(),
        "venv_python": str(made) if has_venv else "",
        "packages": _packages(root / "venv" if venv and has_venv else None),
        "root": str(root),
        "model": _read(system / "proc/device-tree/model") or _cpu_model(system),
        "os": _field(r'^PRETTY_NAME="?([^"\n]+)', _read(system / "etc/os-release")) or platform.platform(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_bytes": 1024 * int(_field(r"^MemTotal:\s+(\d+) kB", meminfo) or 0),
        "available_bytes": 1024 * int(_field(r"^MemAvailable:\s+(\d+) kB", meminfo) or 0),
        "disk_free_bytes": shutil.disk_usage(place).free,
        "writable": os.access(place, os.W_OK | os.X_OK),
        "governor": _read(cpu / "scaling_governor"),
        "governors": _read(cpu / "scaling_available_governors").split(),
        "throttled": _throttled(system),
        "energy": _energy(system),
        "time": time.time(),
        "pip_wheel": _pip_wheel(),
        "dotprod": "asimddp" in _field(r"^Features\s*:(.*)", _read(system / "proc/cpuinfo")).split(),
    }


def _energy(system: Path) -> str:
    """What could tell the energy here, by what is there; the runner finds out whether it works."""
    if any(os.access(path, os.R_OK) for path in system.glob("sys/class/powercap/intel-rapl:*/energy_uj")):
        return "RAPL"
    for path in sorted(system.glob("sys/class/hwmon/hwmon*/name")):
        if _read(path).startswith("ina"):
            return "hwmon " + _read(path)
    if _read(system / "proc/device-tree/model").startswith("Raspberry Pi 5") and shutil.which("vcgencmd"):
        return "PMIC"
    return ""


def _throttled(system: Path) -> str:
    """The Raspberry Pi's throttling word in hex; "" elsewhere."""
    for text in (_read(system / "sys/devices/platform/soc/soc:firmware/get_throttled"), _vcgencmd(system)):
        word = _field(r"^(?:throttled=)?(?:0x)?([0-9a-fA-F]{1,8})$", text)
        if word:
            return word.lower()
    return ""


def _vcgencmd(system: Path) -> str:
    if system != Path("/") or not shutil.which("vcgencmd"):
        return ""
    try:
        return subprocess.run(
            ["vcgencmd", "get_throttled"], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=5
        ).stdout.strip()
    except (OSError, subprocess.SubprocessError, ValueError):
        return ""


def _packages(venv: Path | None) -> dict[str, str]:
    """Versions of what the runner needs, by the files of pip: nothing is imported."""
    if venv is None:
        found: Iterable[metadata.Distribution] = metadata.distributions()
    else:
        found = metadata.distributions(path=[str(p) for p in venv.glob("lib/python3*/site-packages")])
    versions: dict[str, str] = {}
    for distribution in found:
        name = (distribution.metadata["Name"] or "").lower().replace("_", "-")
        if name in ("numpy", "onnxruntime", "onnxruntime-gpu", "torch"):
            versions.setdefault("onnxruntime" if name == "onnxruntime-gpu" else name, distribution.version)
    return versions


def _pip_wheel() -> str:
    """A wheel of pip that came with Python or the system."""
    folders = [Path(sysconfig.get_path("stdlib")) / "ensurepip/_bundled", Path("/usr/share/python-wheels")]
    wheels = [str(path) for folder in folders for path in sorted(folder.glob("pip-*.whl"))]
    return wheels[0] if wheels else ""


def _cpu_model(system: Path) -> str:
    found = _field(r"^(?:model name|Model)\s*:\s*(.+)$", _read(system / "proc/cpuinfo"))
    return found.strip() or platform.machine()


def _field(pattern: str, text: str) -> str:
    found = re.search(pattern, text, re.MULTILINE)
    return found[1] if found else ""


def _read(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(READ_BYTES).decode("utf-8", "replace").strip("\0\n ")
    except OSError:
        return ""
