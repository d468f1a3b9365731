"""Measure on a device without Python: the native runner goes there alone. It also runs on this machine."""

from __future__ import annotations

import platform
import tempfile
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import msgspec

from edgegnn.devices.connection import address_of
from edgegnn.devices.native_runner import NativeProgram, build_runner
from edgegnn.devices.native_runner.shell import Box, look
from edgegnn.devices.native_runner.talk import Talk
from edgegnn.devices.target import Target
from edgegnn.devices.transport.stopping import Stopped
from edgegnn.errors import TargetError
from edgegnn.profiling.result import Asked, Followed
from edgegnn.profiling.runner import Event, LocalRunner, follow_runner
from edgegnn.runtime import Artifact
from edgegnn.runtime.benchmark import Plan
from edgegnn.runtime.energy import EnergyReader

__all__ = ["NO_ENERGY", "follow_native"]

Progress = Callable[[str], None]
NO_ENERGY = "the native runner reads no sensor of the device; an external meter can be read from here: [meter]"


def follow_native(
    artifact: Artifact,
    target: Target,
    plan: Plan,
    *,
    timeout: float,
    tell: Progress,
    reader: EnergyReader | None = None,
    on_event: Callable[[Event], None] = lambda event: None,
    stop: threading.Event | None = None,
) -> tuple[Followed, Asked]:
    """Compile the runner for a device, run its `bench` there to its end.

    Args:
        artifact: what to measure; it needs a C form.
        target: over SSH, or this machine.
        plan: how long.
        timeout: seconds for the runner; it ends itself then too.
        tell: told in a few words what is being done.
        reader: a reader on this machine (an external meter).
        on_event: told about every event.
        stop: gives up when it is set.

    Returns:
        The runner's result, and what was measured, for `make_record`.

    Raises:
        ArtifactError: the artifact has no C form.
        TargetError: the device can't be reached or fails, or nothing can be compiled for it here.
    """
    if target.transport == "local":
        tell("compiling the runner")
        return _follow_here(artifact, target, plan, timeout=timeout, reader=reader, on_event=on_event, stop=stop)
    address = address_of(target)
    tell("connecting")
    box = look(address)
    tell(f"compiling the runner for {box.machine}")
    program = build_runner(artifact, box.machine)
    folder = box.folder()
    folder.store(program.content, tell)
    tell("starting")
    command = folder.start("bench", "--events", *_arguments(plan, program.timed, timeout, reader is not None))
    talk = _talk(program, command, target, stop)
    try:
        followed = follow_runner(talk, timeout=timeout + 5, reader=reader, on_event=on_event)
    except Stopped:
        raise
    except TargetError as error:
        raise _explained(error, box) from error
    return replace(followed, skew=talk.skew), _asked(program, msgspec.structs.replace(target, arch=box.machine), plan)


def _follow_here(
    artifact: Artifact,
    target: Target,
    plan: Plan,
    *,
    timeout: float,
    reader: EnergyReader | None,
    on_event: Callable[[Event], None],
    stop: threading.Event | None,
) -> tuple[Followed, Asked]:
    """`follow_native` on this machine."""
    program = build_runner(artifact, platform.machine())
    with tempfile.TemporaryDirectory(prefix="edgegnn-") as place:
        path = Path(place) / "runner"
        path.write_bytes(program.content)
        path.chmod(0o700)
        command = [str(path), "bench", "--events", *_arguments(plan, program.timed, timeout, reader is not None)]
        talk = _talk(program, command, target, stop)
        followed = follow_runner(talk, timeout=timeout + 5, reader=reader, on_event=on_event)
    return followed, _asked(program, target, plan)


def _talk(program: NativeProgram, command: list[str], target: Target, stop: threading.Event | None) -> Talk:
    lines = LocalRunner(command, stop=stop)
    return Talk(lines, program.artifact, program.samples, program.timed, target.name)


def _asked(program: NativeProgram, target: Target, plan: Plan) -> Asked:
    there = msgspec.structs.replace(target, spinning=False)
    return Asked(program.artifact, there, plan, 1, "native", (), runtime="c", model_bytes=program.own_bytes)


def _arguments(plan: Plan, timed: int, timeout: float, energy: bool) -> list[str]:
    command = ["--timed", str(timed), "--limit", str(round(timeout)), *["--host-reads"] * energy]
    for name in ("warmup_runs", "warmup_seconds", "runs", "seconds", "windows", "window_seconds", "window_iterations"):
        command += [f"--{name.replace('_', '-')}", f"{getattr(plan, name):.6f}"]
    return command


def _explained(error: TargetError, box: Box) -> TargetError:
    name, text = box.address.target, str(error)
    if "exit status 255" in text:
        text = "the connection was lost: check the network and the power supply, and run the command again"
    elif "exit status 142" in text or "exit status 14" in text:
        text = "the runner took too long and was stopped: try --quick"
    elif "exit status 132" in text:
        text = f"the runner uses instructions that this {box.machine} doesn't have"
    elif "exit status 137" in text:
        text = "the runner was ended by SIGKILL (out of memory?)"
    return TargetError(text if text.startswith(f"{name}: ") else f"{name}: {text}")
