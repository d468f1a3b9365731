"""What machine is this? Every figure is only worth something together with that."""

from __future__ import annotations

import os
import platform
import re
from pathlib import Path
from typing import Any

from edgegnn.runtime.script import torch_version
from edgegnn.runtime.session import available_cores

__all__ = ["arch", "device_facts"]

_ARCHS = {"amd64": "x86_64", "x64": "x86_64", "arm64": "aarch64"}


def arch() -> str:
    """CPU architecture, "x86_64" or "aarch64" mostly."""
    machine = platform.machine().lower()
    return _ARCHS.get(machine, machine)


def device_facts(root: Path = Path("/"), *, runtime: str = "onnxruntime") -> dict[str, Any]:
    """Facts about this machine and the software that runs the model.

    Args:
        root: where /proc, /sys and /etc are.
        runtime: "onnxruntime" or "torchscript": what is imported for its version.

    Returns:
        model (CPU or board), arch, cores (logical, usable by this process), memory_bytes, governor (of the CPU
        frequency, "" when there is none to see), load_average (of the last minute: how busy it was before), os, kernel,
        python, numpy, onnxruntime, torch ("" for the one that does not run the model).
    """
    import numpy

    versions = {"onnxruntime": "", "torch": ""}
    if runtime == "torchscript":
        versions["torch"] = torch_version()
    else:
        import onnxruntime

        versions["onnxruntime"] = str(onnxruntime.__version__)
    return {
        "model": _model(root),
        "arch": arch(),
        "cores": available_cores(),
        "memory_bytes": _memory(root),
        "governor": _read(root / "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        "load_average": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        "os": _os(root),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "numpy": str(numpy.__version__),
        **versions,
    }


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip("\0\n ")
    except OSError:
        return ""


def _model(root: Path) -> str:
    board = _read(root / "proc/device-tree/model")
    if board:
        return board
    match = re.search(r"^(?:model name|Model)\s*:\s*(.+)$", _read(root / "proc/cpuinfo"), re.MULTILINE)
    return match[1].strip() if match else platform.processor() or platform.machine()


def _memory(root: Path) -> int:
    match = re.search(r"^MemTotal:\s+(\d+) kB", _read(root / "proc/meminfo"), re.MULTILINE)
    if match:
        return int(match[1]) * 1024
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError, AttributeError):
        return 0


def _os(root: Path) -> str:
    match = re.search(r'^PRETTY_NAME="?([^"\n]+)"?$', _read(root / "etc/os-release"), re.MULTILINE)
    return match[1] if match else platform.platform()
