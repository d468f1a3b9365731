"""Hold a device that is ready for an artifact, and the files that go there."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from edgegnn.devices.connection import connect
from edgegnn.devices.readiness import missing_packages, wrong_machine
from edgegnn.devices.target import Target
from edgegnn.devices.transport.answers import Facts
from edgegnn.devices.transport.content import Content, content
from edgegnn.devices.transport.device import Device
from edgegnn.errors import TargetError
from edgegnn.runtime import Artifact, build_runner

__all__ = ["Progress", "artifact_files", "runner_bytes", "workplace"]

Progress = Callable[[str], None]


@contextmanager
def workplace(
    target: Target, artifact: Artifact, *, tell: Progress = lambda text: None, stop: threading.Event | None = None
) -> Iterator[tuple[Device, Facts]]:
    """A device that is ready to run an artifact, held for us alone, and its facts.

    Raises:
        TargetError: it can't be reached, isn't ready, or is being used by another edgegnn.
    """
    with connect(target, tell=tell, stop=stop) as device:
        facts = _ready(device, target, artifact)
        device.lock()
        yield device, facts


def _ready(device: Device, target: Target, artifact: Artifact) -> Facts:
    """The device's facts, when it has all that the runner needs."""
    facts = device.facts(venv=not target.python)
    for problem in (
        wrong_machine(facts, target, device.bits),
        missing_packages(facts, target, artifact.manifest.runtime),
    ):
        if problem:
            raise TargetError(f"{target.name}: {problem}")
    return facts


def artifact_files(artifact: Artifact) -> dict[str, Content]:
    """Path inside the artifact -> file."""
    return {name: content(artifact.folder / name) for name in ("manifest.json", *artifact.manifest.files)}


def runner_bytes() -> bytes:
    """Our own run.pyz."""
    with tempfile.TemporaryDirectory(prefix="edgegnn-") as folder:
        path = Path(folder) / "run.pyz"
        build_runner(path)
        return path.read_bytes()
