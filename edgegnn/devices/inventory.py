"""Which targets there are, and what each of them can do now."""

from __future__ import annotations

import importlib.metadata
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from edgegnn.devices.carbon import carbon_version
from edgegnn.devices.cuda import cuda_found
from edgegnn.devices.probe import probe
from edgegnn.devices.target import HERE, Target, read_target, target_files
from edgegnn.errors import TargetError
from edgegnn.runtime import find_library
from edgegnn.runtime.energy import READERS, find_reader
from edgegnn.runtime.facts import arch

__all__ = ["TargetInfo", "targets"]


@dataclass(frozen=True)
class TargetInfo:
    """What is known about a target now.

    Attributes:
        name: its name.
        description: one line.
        arch: CPU architecture.
        path: its file.
        reachable: it can be measured on from here.
        reason: why not; "" when it can.
        runtime: version of onnxruntime found there, "" when none or not reachable.
        native_kernels: edgegnn's own kernels can be used there.
        energy: how energy would be read, "" when it can't be.
        energy_reason: why no better reader would be used.
    """

    name: str
    description: str
    arch: str
    path: Path
    reachable: bool
    reason: str
    runtime: str
    native_kernels: bool
    energy: str
    energy_reason: str

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON-able values."""
        return {**asdict(self), "path": str(self.path)}


def targets() -> list[TargetInfo]:
    """All targets, with what is known about each now; a damaged file is listed with what is wrong.

    Devices are asked all at once; one that doesn't answer costs a few seconds. Hosts that only ./targets names are not
    asked: nobody has named them yet, and logging in there would already be doing what a stranger's file says.
    """
    files = target_files()
    with ThreadPoolExecutor(max_workers=max(1, min(32, len(files)))) as pool:
        return list(pool.map(_known, files, files.values()))


def _known(name: str, path: Path) -> TargetInfo:
    try:
        return _info(read_target(path), path)
    except TargetError as error:
        return TargetInfo(name, "", "", path, False, str(error), "", False, "", "")


def _info(target: Target, path: Path) -> TargetInfo:
    if target.transport == "ssh" and path.parent == HERE:
        reason = f"not asked, since ./targets names its host: edgegnn targets check {target.name}"
        return TargetInfo(target.name, target.description, target.arch, path, False, reason, "", False, "", "")
    if target.transport != "local":
        return TargetInfo(target.name, target.description, target.arch, path, **probe(target))
    if target.arch != arch():
        reason = f"this machine is {arch()}, and the target is reached locally only"
        return TargetInfo(target.name, target.description, target.arch, path, False, reason, "", False, "", "")
    runtime, native = _runtime(), find_library() is not None
    if target.processor == "cuda":
        runtime, reason = cuda_found()
        native = False
        if not runtime:
            return TargetInfo(target.name, target.description, target.arch, path, False, reason, "", False, "", "")
    source, why = _energy(target)
    return TargetInfo(target.name, target.description, target.arch, path, True, "", runtime, native, source, why)


def _energy(target: Target) -> tuple[str, str]:
    """How energy would be read on this machine, and why not better."""
    reasons: list[str] = []
    for kind in target.energy:
        if kind == "meter":
            if target.meter is not None:
                return f"meter ({target.meter.command or target.meter.csv}), measured", "; ".join(reasons)
        elif kind in READERS:
            reader, reason = find_reader(kind)
            if reader is not None:
                reader.close()
                return f"{reader.source}, {reader.kind}", "; ".join(reasons)
            reasons.append(reason)
        elif carbon_version():
            return f"codecarbon {carbon_version()}, estimated", "; ".join(reasons)
        else:
            reasons.append("codecarbon is not installed")
    return "", "; ".join(reasons)


def _runtime() -> str:
    for name in ("onnxruntime", "onnxruntime-gpu"):
        try:
            return importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return ""
