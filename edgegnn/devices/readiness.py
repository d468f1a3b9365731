"""Is a device ready to be measured on? Step by step, and for each failure what helps."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Literal

from edgegnn.devices.connection import connect, python_of
from edgegnn.devices.target import Target
from edgegnn.devices.transport.answers import Facts
from edgegnn.devices.transport.device import Device, NoPythonError
from edgegnn.errors import TargetError
from edgegnn.runtime.energy import board_watts
from edgegnn.runtime.state import throttled_words
from edgegnn.utils.files import size

__all__ = [
    "SETUP_DISK",
    "TORCH_DISK",
    "Step",
    "board",
    "broken_runtime",
    "check",
    "import_problem",
    "missing_packages",
    "pins",
    "wrong_machine",
]

Progress = Callable[[str], None]
MIN_MEMORY = 400_000_000
MIN_AVAILABLE = 200_000_000
MIN_DISK = 100_000_000
SETUP_DISK = 500_000_000
TORCH_DISK = 1_500_000_000
MAX_SKEW = 86_400.0
IMPORT_SECONDS = 120.0
# What is installed: Python from -> onnxruntime, numpy. 1.31.1 has run on an (emulated) Cortex-A72 and A76; the others
# are the last ones for their Pythons.
PINS = {(3, 11): ("1.31.1", "2.4.6"), (3, 10): ("1.23.2", "2.2.6"), (3, 9): ("1.19.2", "2.0.2")}
_IMPORT = "import numpy, {0}; print(numpy.__version__, {0}.__version__)"


@dataclass(frozen=True)
class Step:
    """One step of the check.

    Attributes:
        name: what was looked at.
        state: "ok", "warning" (figures may be worse than they could be), "failed", or "skipped" after a failure.
        detail: what was found.
        cure: what to do about it.
    """

    name: str
    state: Literal["ok", "warning", "failed", "skipped"]
    detail: str
    cure: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON-able values."""
        return asdict(self)


def check(target: Target, tell: Progress = lambda text: None) -> list[Step]:
    """Go through all steps; what can't be looked at after a failure is "skipped"."""
    steps: list[Step] = []
    begin = time.monotonic()
    try:
        with connect(target, tell=tell) as device:
            where = "this machine" if target.transport == "local" else f"after {time.monotonic() - begin:.1f} s"
            steps.append(Step("connection", "ok", where))
            facts = device.facts(venv=not target.python)
            for name, look in _STEPS.items():
                tell(name)
                steps.append(look(device, target, facts))
            if target.processor == "cuda":
                steps.append(_cuda(device, target))
    except NoPythonError as error:
        steps += [Step("connection", "ok", ""), Step("Python", "failed", _bare(error, target))]
    except TargetError as error:
        at = list(_STEPS)[len(steps) - 1] if steps else "connection"
        steps.append(Step(at, "failed", _bare(error, target)))
    seen = {step.name for step in steps}
    return steps + [Step(name, "skipped", "") for name in _STEPS if name not in seen]


def wrong_machine(facts: Facts, target: Target, shell_bits: int = 0) -> str:
    """What is wrong about the kind of machine; "" when nothing is."""
    machine = {"arm64": "aarch64", "amd64": "x86_64"}.get(facts.machine, facts.machine)
    if facts.bits != 64 or shell_bits == 32 or machine in ("armv6l", "armv7l", "armv8l", "i686"):
        kernel = " under a 64-bit kernel" if machine in ("aarch64", "x86_64") else ""
        return (
            f"its userland is 32-bit{kernel}, and there is no onnxruntime for that: install the 64-bit system "
            "(Raspberry Pi OS 64-bit)"
        )
    if machine != target.arch:
        return (
            f"it is {machine}, and the target is {target.arch}: choose another --target, or correct `arch` in its file"
        )
    return ""


def missing_packages(facts: Facts, target: Target, runtime: str = "onnxruntime") -> str:
    """Which packages the device lacks to run models of a runtime, and what helps; "" when it has them."""
    needed = ("numpy", "torch" if runtime == "torchscript" else "onnxruntime")
    missing = [name for name in needed if name not in facts.packages]
    if not missing:
        return ""
    python = python_of(target, facts)
    if "torch" in missing:
        cure = f"edgegnn targets setup {target.name} --torch installs it"
        return f"{python} has no torch, and the model is TorchScript: {cure}, or export the model with ONNX"
    return f"{python} has no {' and no '.join(missing)}: edgegnn targets setup {target.name} installs what is needed"


def broken_runtime(facts: Facts, target: Target, runtime: str = "onnxruntime") -> str:
    """What to say when onnxruntime or torch dies of SIGILL."""
    if runtime == "torchscript":
        return (
            f"torch {facts.packages.get('torch', '')} uses instructions that the CPU ({facts.model}) doesn't "
            "have, and is ended by SIGILL: install another version of it there, or export the model with ONNX"
        )
    version = facts.packages.get("onnxruntime", "")
    works = pins(facts.python)[0]
    if version == works:  # the processor is older than those it was tried on
        works = "1.20.1"
    return (
        f"onnxruntime {version} uses instructions that the CPU ({facts.model}) doesn't have, and is ended by SIGILL "
        f"(1.21 does so on a Raspberry Pi 4: onnxruntime issue 23957); {works} is known to work on a Pi 4: "
        f"edgegnn targets setup {target.name} --onnxruntime {works}"
    )


def pins(python: str) -> tuple[str, str]:
    """Versions of onnxruntime and numpy for a version of Python."""
    numbers = tuple(int(n) for n in python.split(".")[:2])
    return next((versions for first, versions in PINS.items() if numbers >= first), PINS[3, 9])


def import_problem(device: Device, target: Target, facts: Facts, runtime: str = "onnxruntime") -> tuple[str, str]:
    """Import numpy and a runtime there, "onnxruntime" or "torchscript", in a process of its own.

    Returns:
        Their versions and "", or "" and what is wrong.
    """
    package, option = ("torch", " --torch") if runtime == "torchscript" else ("onnxruntime", "")
    try:
        done = device.run([python_of(target, facts), "-c", _IMPORT.format(package)], limit=IMPORT_SECONDS)
    except TargetError as error:
        return "", _bare(error, target)
    if done.code == 0 and done.out:
        return " ".join(f"{n} {v}" for n, v in zip(("numpy", package), done.out[-1].split(), strict=False)), ""
    if done.code == -4:
        return "", broken_runtime(facts, target, runtime)
    lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
    last = lines[-1][:300] if lines else f"exit status {done.code}"
    return "", f"import {package} fails: {last}; edgegnn targets setup {target.name}{option} installs one that works"


def board(facts: Facts) -> str:
    """The device in words: for a Raspberry Pi also what makes its generations differ."""
    model = str(facts.model)
    pi = re.match(r"Raspberry Pi (?:Compute Module )?(\d)", model)
    generation = int(pi[1]) if pi else 0
    dot = "with" if facts.dotprod else "without"
    extra = f", {dot} dot-product instructions" if facts.machine in ("aarch64", "arm64") else ""
    if generation == 5:
        extra += ", its PMIC tells the power"
    elif generation:
        extra += ", no power sensor of its own"
        extra += ": its energy is estimated" if board_watts(model) else ""
    return f"{model}{extra}; {facts.os}"


# ---------------------------------------------------------------------------------------------------------------------


def _bare(error: TargetError, target: Target) -> str:
    return str(error).removeprefix(f"{target.name}: ")


def _machine(device: Device, target: Target, facts: Facts) -> Step:
    problem = wrong_machine(facts, target, device.bits)
    return Step("64-bit system", "failed" if problem else "ok", problem or f"{facts.machine}: {board(facts)}")


def _memory(device: Device, target: Target, facts: Facts) -> Step:
    total, free = facts.memory_bytes, facts.available_bytes
    found = f"{size(total)}, {size(free)} available"
    if total and total < MIN_MEMORY:
        return Step("memory", "warning", found, "onnxruntime and a small model take about 200 MB: use a small model")
    elif total and free < MIN_AVAILABLE:
        return Step("memory", "failed", found, "end other programs (ps aux --sort=-rss), or reboot")
    else:
        return Step("memory", "ok", found)


def _disk(device: Device, target: Target, facts: Facts) -> Step:
    free, root = facts.disk_free_bytes, facts.root
    needed = MIN_DISK if not missing_packages(facts, target) else SETUP_DISK
    found = f"{size(free)} free for {root}"
    if not facts.writable:
        return Step(
            "disk", "failed", f"{root} can't be written", "make your home folder writable, or set XDG_DATA_HOME"
        )
    elif free < needed:
        return Step("disk", "failed", found, f"{size(needed)} are needed: free some (df -h; sudo apt clean)")
    else:
        return Step("disk", "ok", found)


def _python(device: Device, target: Target, facts: Facts) -> Step:
    return Step("Python", "ok", f"{facts.python}, {python_of(target, facts)}")


def _runtime(device: Device, target: Target, facts: Facts) -> Step:
    problem = missing_packages(facts, target)
    cure = f"edgegnn targets setup {target.name}"
    if problem:
        return Step("onnxruntime", "failed", problem.split(":")[0], cure)
    versions, problem = import_problem(device, target, facts)
    return Step("onnxruntime", "failed" if problem else "ok", problem or f"{versions}, imported", "")


def _torch(device: Device, target: Target, facts: Facts) -> Step:
    if "torch" not in facts.packages:
        cure = f"should you need it: edgegnn targets setup {target.name} --torch"
        return Step("torch", "ok", "not installed: only TorchScript artifacts need it", cure)
    versions, problem = import_problem(device, target, facts, "torchscript")
    return Step("torch", "warning" if problem else "ok", problem or f"{versions}, imported")


def _cuda(device: Device, target: Target) -> Step:
    from edgegnn.devices.cuda import cuda_found

    if target.transport != "local":
        return Step("CUDA", "warning", "not looked at over SSH: the runner says whether it can be used")
    found, why = cuda_found()
    return Step("CUDA", "ok" if found else "failed", f"{found} can use a GPU" if found else why)


def _clock(device: Device, target: Target, facts: Facts) -> Step:
    skew = facts.skew
    if abs(skew) > MAX_SKEW:
        cure = "measuring works all the same, installing packages may not: sudo timedatectl set-ntp true"
        return Step("clock", "warning", f"{abs(skew) / 86_400:.0f} days {'ahead' if skew > 0 else 'behind'}", cure)
    else:
        return Step("clock", "ok", f"within {max(1.0, abs(skew)):.0f} s of ours")


def _governor(device: Device, target: Target, facts: Facts) -> Step:
    governor = facts.governor
    if governor in ("", "performance"):
        return Step("CPU governor", "ok", governor or "none to see: the frequency isn't scaled, or not by this system")
    place = "/sys/devices/system/cpu/cpu*/cpufreq/scaling_governor"
    cure = f"for steadier figures: echo performance | sudo tee {place}"
    return Step("CPU governor", "warning", governor, cure if "performance" in facts.governors else "")


def _throttling(device: Device, target: Target, facts: Facts) -> Step:
    words = throttled_words(facts.throttled)
    if not words:
        return Step("throttling", "ok", "never since boot" if facts.throttled else "not told by this machine")
    cures = []
    if any("under-voltage" in word for word in words):
        cures.append("use the official power supply and a short cable")
    if any("under-voltage" not in word for word in words):
        cures.append("cool it (heat sink, fan), and let it rest")
    return Step("throttling", "warning", ", ".join(words), "; ".join(cures) + "; a reboot forgets what was")


def _lock(device: Device, target: Target, facts: Facts) -> Step:
    try:
        device.lock()
        return Step("not in use", "ok", "no other edgegnn works there")
    except TargetError as error:
        return Step("not in use", "warning", _bare(error, target), "wait for it")


_STEPS: dict[str, Callable[[Device, Target, Facts], Step]] = {
    "64-bit system": _machine,
    "memory": _memory,
    "disk": _disk,
    "Python": _python,
    "onnxruntime": _runtime,
    "torch": _torch,
    "clock": _clock,
    "CPU governor": _governor,
    "throttling": _throttling,
    "not in use": _lock,
}
