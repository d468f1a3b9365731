"""Measure on a device: bring the files there, run the runner there, bring its result home."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from edgegnn.devices.connection import python_of
from edgegnn.devices.kernels import library_for
from edgegnn.devices.readiness import broken_runtime
from edgegnn.devices.target import Target
from edgegnn.devices.transport.answers import Facts
from edgegnn.devices.transport.content import content
from edgegnn.devices.transport.stopping import Stopped
from edgegnn.devices.workplace import Progress, artifact_files, workplace
from edgegnn.errors import TargetError
from edgegnn.profiling.result import Followed
from edgegnn.profiling.runner import Event, follow_runner
from edgegnn.runtime import Artifact
from edgegnn.runtime.energy import EnergyReader

__all__ = ["follow_there"]


def follow_there(
    artifact: Artifact,
    runner: Path,
    target: Target,
    arguments: Sequence[str],
    *,
    timeout: float,
    tell: Progress,
    reader: EnergyReader | None = None,
    on_event: Callable[[Event], None] = lambda event: None,
    stop: threading.Event | None = None,
) -> Followed:
    """Run `run.pyz bench --events` on a target's device to its end.

    Args:
        artifact: what to measure.
        runner: the run.pyz that does it.
        target: a target that is not this machine.
        arguments: of `bench`, without the artifact.
        timeout: seconds for the runner; the device ends it then too.
        tell: told in a few words what is being done.
        reader: a reader on this machine (an external meter).
        on_event: told about every event.
        stop: gives up when it is set.

    Returns:
        As `runner.follow`, with how far the device's clock is off.

    Raises:
        TargetError: the device can't be reached, isn't ready or fails, or the runner does.
    """
    with workplace(target, artifact, tell=tell, stop=stop) as (device, facts):
        files = {f"artifact/{path}": file for path, file in artifact_files(artifact).items()}
        files["run.pyz"] = content(runner)
        library = library_for(artifact, device, target, facts, tell)
        if library is not None:
            files[f"lib/{library.name}"] = content(library)
        folder = device.place(files, artifact.manifest.name)
        tell("starting")
        command = [python_of(target, facts), f"{folder}/run.pyz", "bench", "--events"]
        command += ["--artifact", f"{folder}/artifact", *arguments]
        environment = {"EDGEGNN_LIBRARY": "none" if library is None else f"{folder}/lib/{library.name}"}
        try:
            started = device.start(command, limit=timeout, env=environment)
            followed = follow_runner(started, timeout=timeout + 5, reader=reader, on_event=on_event)
        except Stopped:
            raise
        except TargetError as error:
            raise _explained(error, target, facts, artifact.manifest.runtime) from error
    return replace(followed, skew=facts.skew)


def _explained(error: TargetError, target: Target, facts: Facts, runtime: str) -> TargetError:
    text = str(error)
    if "SIGILL" in text:
        text = broken_runtime(facts, target, runtime)
    elif "this runner needs" in text:
        text = f"{text} (edgegnn targets setup {target.name} installs them)"
    return TargetError(text if text.startswith(f"{target.name}: ") else f"{target.name}: {text}")
