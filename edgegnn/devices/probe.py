"""Ask devices that are not this machine what they are: at the same time, and not for long."""

from __future__ import annotations

import shutil
from typing import Any

from edgegnn.devices.connection import connect
from edgegnn.devices.emulated import root
from edgegnn.devices.microcontroller.boards import BOARDS
from edgegnn.devices.microcontroller.build import find_compiler
from edgegnn.devices.microcontroller.emulate import check_emulator
from edgegnn.devices.readiness import missing_packages, wrong_machine
from edgegnn.devices.target import Target
from edgegnn.devices.transport.answers import Facts
from edgegnn.errors import EdgeGNNError
from edgegnn.native import build, library
from edgegnn.runtime.energy import board_watts

__all__ = ["Probe", "probe"]

CONNECT_SECONDS = 3
Probe = dict[str, Any]


def probe(target: Target) -> Probe:
    """What is known about a device over SSH; takes a few seconds at most.

    Returns:
        `reachable`, `reason` (why not), `runtime` (onnxruntime's version there), `native_kernels`, `energy` and
        `energy_reason`.
    """
    found: Probe = {
        "reachable": False,
        "reason": "",
        "runtime": "",
        "native_kernels": False,
        "energy": "",
        "energy_reason": "",
    }
    try:
        if target.transport == "microcontroller":
            check_emulator(BOARDS[target.cpu])
            find_compiler(BOARDS[target.cpu])
            return found | {"reachable": True, "runtime": "C", "energy_reason": "emulated: not a measurement"}
        if target.transport == "emulated":
            root.check_tools()
            reason = "emulated: not a measurement"
            here = {"reachable": True, "runtime": root.runtime_version(), "energy_reason": reason}
            return found | here | {"native_kernels": _has_kernels(target.arch)}
        with connect(target, connect_seconds=CONNECT_SECONDS) as device:
            facts = device.facts(venv=not target.python, timeout=10.0)
    except EdgeGNNError as error:
        return found | {"reason": str(error).removeprefix(f"{target.name}: ")}
    problem = wrong_machine(facts, target, device.bits)
    if problem:
        return found | {"reason": problem}
    return found | {
        "reachable": True,
        "reason": missing_packages(facts, target),
        "runtime": facts.packages.get("onnxruntime", ""),
        "native_kernels": _has_kernels(target.arch),
        **_energy(facts, target),
    }


def _energy(facts: Facts, target: Target) -> Probe:
    reason = "" if facts.energy else f"no sensor that is known on it ({facts.model})"
    modelled = not facts.energy and "board" in target.energy and board_watts(facts.model) is not None
    return {"energy": "its maker's figures, estimated" if modelled else facts.energy, "energy_reason": reason}


def _has_kernels(machine: str) -> bool:
    """The library for a machine is here, or can be compiled here."""
    if library(machine) is not None:
        return True
    return any(shutil.which(compiler) for compiler in build.COMPILERS.get(machine, ()))
