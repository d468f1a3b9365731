"""Install an artifact on a device and leave it there: versioned, proven there before it is used, with a way back.

~/.local/share/edgegnn/artifacts/<name>/current -> 0002-<version>      what a program on the device opens
                                        0001-<version>/                what --rollback goes back to
"""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import msgspec

from edgegnn.devices.connection import address_of, connect, python_of
from edgegnn.devices.kernels import library_for
from edgegnn.devices.native_runner.install import Place, go_back, install_runner
from edgegnn.devices.readiness import broken_runtime
from edgegnn.devices.target import Target, load_target
from edgegnn.devices.transport.answers import Damaged, Facts, Name, Versions, decode
from edgegnn.devices.transport.content import Content, content
from edgegnn.devices.transport.device import Device, NoPythonError
from edgegnn.devices.workplace import artifact_files, runner_bytes, workplace
from edgegnn.errors import TargetError, UsageError
from edgegnn.manifest import typed_manifest
from edgegnn.runtime import Artifact, open_artifact, read_manifest
from edgegnn.runtime.manifest import seal_manifest

__all__ = ["KEEP", "Installed", "installed", "name_of", "rollback", "ship"]

Progress = Callable[[str], None]
KEEP = 5
VERIFY_SECONDS = 900.0


@dataclass(frozen=True)
class Installed:
    """An artifact on a device.

    Attributes:
        target: the device.
        artifact: its name.
        folder: what a program on the device opens: the folder `current` in it.
        current: the version in use; "" when there is none.
        versions: all that are there, oldest first.
        changed: this call has changed which version is in use.
        sent_bytes: what travelled to the device for this call.
        verified: how many sample graphs were proven there; 0: it was not shipped now.
    """

    target: str
    artifact: str
    folder: str
    current: str
    versions: tuple[str, ...]
    changed: bool
    sent_bytes: int
    verified: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON-able values."""
        return asdict(self)


class _Report(msgspec.Struct, frozen=True):
    """What `run.pyz verify --json` says last, as far as it is needed here."""

    ok: bool


def ship(
    artifact: Path | str, target: Target | str, *, keep: int = KEEP, tell: Progress = lambda text: None
) -> Installed:
    """Install an artifact. The version in use changes only after the new one has been proven on the device.

    Args:
        artifact: its folder or zip.
        target: a target with a device of its own, or its name.
        keep: versions that stay, at most; the oldest go.
        tell: told in a few words what is being done.

    Raises:
        ArtifactError: the artifact is damaged.
        UsageError: there is no such target.
        TargetError: the device can't be reached, isn't ready, or doesn't compute what PyTorch computed.
    """
    where = target if isinstance(target, Target) else load_target(target)
    opened = open_artifact(artifact)
    name = opened.manifest.name
    _checked_name(name)
    if not _native_only(where):
        try:
            return _ship_with_python(opened, where, keep, tell)
        except NoPythonError:
            if where.python or typed_manifest(opened.manifest.raw).c is None:
                raise
    return _of_place(where, name, install_runner(opened, address_of(where), keep, tell))


def _native_only(target: Target) -> bool:
    return target.runner == "native" and target.transport == "ssh"


def _of_place(target: Target, name: str, place: Place) -> Installed:
    return Installed(
        target.name,
        name,
        f"{place.folder}/current",
        place.current,
        place.versions,
        place.changed,
        place.sent_bytes,
        place.verified,
    )


def _ship_with_python(opened: Artifact, where: Target, keep: int, tell: Progress) -> Installed:
    name = opened.manifest.name
    with workplace(where, opened, tell=tell) as (device, facts):
        library = library_for(opened, device, where, facts, tell)
        files = _with_library(opened, library)
        version = files["manifest.json"].sha256[:12]
        before = state = device.ask("installed", Versions, name=name)
        there = before.current.endswith(f"-{version}")
        if there:
            tell("proving it there again")
        folder = f"{before.folder}/current" if there else device.place(files, name, do="install", name=name)
        _prove(device, where, facts, opened, folder, library)
        if not there:
            state = device.ask("activate", Versions, name=name, version=version, keep=max(1, keep))
            if not state.current.endswith(f"-{version}"):
                raise TargetError(f"{where.name}: it doesn't use the version of {name} that it was told to use")
        graphs = len(opened.manifest.samples)
        return _installed(where, name, state, state.current != before.current, device.sent, graphs)


def _checked_name(name: str) -> str:
    try:
        return msgspec.convert(name, Name)
    except msgspec.ValidationError as error:
        raise UsageError(
            f"the artifact's name {name!r} can't name a folder on a device, which has letters of ASCII, digits, "
            "and . _ + - only: export it under another name"
        ) from error


def rollback(name: str, target: Target, *, tell: Progress = lambda text: None) -> Installed:
    """Go back to the version before the one in use.

    Raises:
        TargetError: the device can't be reached, or has no earlier version.
    """
    if not _native_only(target):
        try:
            with connect(target, tell=tell) as device:
                device.lock()
                state = device.ask("rollback", Versions, name=name)
                return _installed(target, name, state, True, device.sent)
        except NoPythonError:
            if target.python:
                raise
    return _of_place(target, name, go_back(_checked_name(name), address_of(target)))


def installed(target: Target, *, tell: Progress = lambda text: None) -> list[Installed]:
    """All artifacts on a device.

    Raises:
        TargetError: the device can't be reached.
    """
    with connect(target, tell=tell) as device:
        found = [(name, device.ask("installed", Versions, name=name)) for name in device.ask("artifacts", list[Name])]
        return [_installed(target, name, state, False, device.sent) for name, state in found]


def _with_library(artifact: Artifact, library: Path | None) -> dict[str, Content]:
    """The artifact's files, with the kernels for the device beside its run.pyz when they are not there yet."""
    files, raw = artifact_files(artifact), artifact.manifest.raw
    if library is None or f"native/{library.name}" in files or "run.pyz" not in files:
        return files
    added = content(library)
    listed = {**raw["files"], f"native/{library.name}": {"sha256": added.sha256, "bytes": added.bytes}}
    manifest = json.dumps(seal_manifest({**raw, "files": listed}), indent=1).encode()
    return {**files, "manifest.json": content(manifest), f"native/{library.name}": added}


def _prove(device: Device, target: Target, facts: Facts, artifact: Artifact, folder: str, library: Path | None) -> None:
    """Run `verify` on the device, with a runner of our own.

    Raises:
        TargetError: the artifact doesn't hold there.
    """
    name, runtime = artifact.manifest.name, artifact.manifest.runtime
    files = {"run.pyz": content(runner_bytes())}
    if library is not None:
        files[f"lib/{library.name}"] = content(library)
    run = device.place(files, "the runner")
    device.tell("proving it there")
    command = [python_of(target, facts), f"{run}/run.pyz", "verify", "--json", "--artifact", folder]
    environment = {"EDGEGNN_LIBRARY": "none" if library is None else f"{run}/lib/{library.name}"}
    done = device.run(command, limit=VERIFY_SECONDS, env=environment)
    try:
        proven = done.code == 0 and bool(done.out) and decode(done.out[-1].encode(), _Report).ok
    except Damaged:
        proven = False
    if not proven:
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        why = lines[-1].removeprefix("edgegnn: error: ")[:300] if lines else f"exit status {done.code}"
        if done.code == -signal.SIGILL:
            why = broken_runtime(facts, target, runtime)
        raise TargetError(f"{target.name}: {name} is not installed, it fails there: {why}")


def _installed(target: Target, name: str, state: Versions, changed: bool, sent: int, verified: int = 0) -> Installed:
    return Installed(
        target.name,
        name,
        f"{state.folder}/current",
        state.current,
        tuple(state.versions),
        changed,
        sent,
        verified,
    )


def name_of(artifact: Path | str) -> str:
    """The name of an artifact, given it or just its name."""
    return read_manifest(artifact).name if Path(artifact).exists() else Path(artifact).name
