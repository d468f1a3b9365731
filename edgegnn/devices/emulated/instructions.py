"""Executed instructions of one inference on an emulated processor: what emulation can tell instead of a time.

A plugin of qemu counts what the program executes. The count hardly moves from run to run, which no time does; but it
knows no caches and no pipeline, so it is no latency either. One thread.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import statistics
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from edgegnn.devices.emulated.board import CPUS, cpuinfo
from edgegnn.devices.emulated.root import Root, cache_folder, open_root
from edgegnn.errors import TargetError, first_line
from edgegnn.runtime import build_runner
from edgegnn.utils.locks import hold

__all__ = ["Count", "count_instructions", "counter", "run_counted"]

GRAPHS = 10
SECONDS = 600
PLUGIN = Path(__file__).with_name("instructions.c")


@dataclass(frozen=True)
class Count:
    """Executed instructions of one inference.

    Attributes:
        median: over the graphs, one inference of each, one thread.
        graphs: shipped graphs that were counted, at most ten.
        cpu: the emulated processor, whose instruction set decides which kernels run.
        source: what counted.
    """

    median: int
    graphs: int
    cpu: str
    source: str

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON-able values."""
        return asdict(self)


def count_instructions(artifact: Path, cpu: str, library: Path | None) -> Count:
    """Count the instructions of an artifact's inferences.

    Args:
        artifact: its folder.
        cpu: the processor to emulate.
        library: the native library for aarch64; None: onnxruntime's own operators.

    Raises:
        TargetError: they can't be counted here; the text says why.
    """
    with open_root() as root, tempfile.TemporaryDirectory(prefix="edgegnn-count-") as folder:
        runner = Path(folder) / "run.pyz"
        build_runner(runner)
        program = [Path(__file__).with_name("counted.py"), runner, artifact.resolve(), GRAPHS]
        marks = run_counted(root, cpu, *program, environment={"EDGEGNN_LIBRARY": str(library or "none")})
    counts = [end - start for start, end in zip(marks[::2], marks[1::2], strict=True)]
    if not counts:
        raise TargetError("the plugin of qemu counted nothing")
    version = subprocess.run(["qemu-aarch64", "--version"], capture_output=True, text=True, check=False).stdout.split()
    return Count(round(statistics.median(counts)), len(counts), cpu, f"qemu-user {(version[2:3] or [''])[0]}, a plugin")


def run_counted(root: Root, cpu: str, *arguments: object, environment: Mapping[str, str] | None = None) -> list[int]:
    """Run a Python program of the emulated userland, not in it: it sees this machine's files.

    Args:
        root: the userland.
        cpu: the processor.
        arguments: the program's file and its arguments.
        environment: variables of its own; it gets none of this process's for Python.

    Returns:
        Instructions executed at each of its marks: calls of `prctl(0x45444745, number)`.

    Raises:
        TargetError: it fails, or nothing can be counted here.
    """
    plugin = counter()
    version = Path(root.python).name
    packages = root.folder / "usr/local/lib" / version / "dist-packages"
    guest = {"PYTHONHOME": root.folder / "usr", "PYTHONPATH": packages, "PYTHONHASHSEED": 0}
    settings = {**guest, "PYTHONDONTWRITEBYTECODE": 1, **(environment or {})}
    command = ["setarch", "-R", "qemu-aarch64", "-cpu", cpu, "-plugin", str(plugin), "-L", str(root.folder)]
    command += [part for key, value in settings.items() for part in ("-E", f"{key}={value}")]
    command += [str(root.folder / root.python[1:]), *map(str, arguments)]
    ours = ("PYTHON", "GLIBC", "OMP", "LD_", "EDGEGNN")
    with hold(cache_folder() / "count.lock"):  # one processor at a time describes itself in these files
        _describe_processor(root, cpu)
        try:
            done = subprocess.run(
                command,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=SECONDS,
                env={k: v for k, v in os.environ.items() if not k.startswith(ours)},
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise TargetError(f"the emulator can't be used: {first_line(error)}") from error
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"code {done.returncode}"]
        raise TargetError(f"the program failed on the emulated {cpu}: {lines[-1][:300]}")
    return [int(line.split()[2]) for line in done.stderr.splitlines() if line.startswith("mark ")]


def counter() -> Path:
    """The plugin, compiled once.

    Raises:
        TargetError: there is no C compiler, or no qemu that takes plugins.
    """
    if shutil.which("qemu-aarch64") is None or shutil.which("setarch") is None:
        raise TargetError("counting instructions needs qemu-aarch64 and setarch: apt-get install qemu-user util-linux")
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        raise TargetError("counting instructions needs a C compiler: apt-get install gcc")
    source = PLUGIN.read_bytes()
    plugin = cache_folder() / f"instructions-{hashlib.sha256(source).hexdigest()[:12]}.so"
    if not plugin.exists():
        cache_folder().mkdir(parents=True, exist_ok=True, mode=0o700)
        made = plugin.with_suffix(f".{os.getpid()}.tmp")
        command = [compiler, "-O2", "-shared", "-fPIC", "-o", str(made), str(PLUGIN)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise TargetError(f"the plugin of qemu can't be compiled: {done.stderr.strip()[-200:]}")
        made.replace(plugin)
    return plugin


def _describe_processor(root: Root, cpu: str) -> None:
    """The emulator would show this machine's /proc and /sys, and onnxruntime crash on them."""
    if cpu not in CPUS:
        raise TargetError(f"unknown processor {cpu[:40]!r}: choose one of {', '.join(CPUS)}")
    (root.folder / "proc/cpuinfo").write_text(cpuinfo(cpu, 1), encoding="utf-8")
    folder = root.folder / "sys/devices/system/cpu"
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("possible", "present", "online"):
        (folder / name).write_text("0\n", encoding="utf-8")
