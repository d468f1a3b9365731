"""Install the native runner on a device without Python: versioned, proven there before it is used, with a way back.

~/.local/share/edgegnn/artifacts/<name>/current -> 0002-<version>      its file `runner` is the program
"""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Callable
from dataclasses import dataclass

from edgegnn.devices.native_runner.build import NativeProgram, build_runner
from edgegnn.devices.native_runner.shell import Box, Folder, look
from edgegnn.devices.native_runner.talk import parse_output, read_outputs
from edgegnn.devices.transport.ssh import Address
from edgegnn.errors import TargetError
from edgegnn.runtime import Artifact
from edgegnn.runtime.proof import judge

__all__ = ["Place", "go_back", "install_runner"]

Progress = Callable[[str], None]
_SECONDS = 900
_VERSION = re.compile(r"[0-9]{4,}-[0-9a-f]{12}")

_STATE = """
cd "$1" 2>/dev/null || exit 0; readlink current; echo .; ls -d [0-9]*-* 2>/dev/null | sort
"""
_PROVE = '"$1/runner" verify --hex --limit "$2"'
_ACTIVATE = """
cd "$1" || exit 1; keep=$4
n=$(ls -d [0-9]*-* 2>/dev/null | sort | tail -n 1); n=${n%%-*}; v=$(printf %04d "$(expr "${n:-0}" + 1)")-$3
mv "$2" "$v" && ln -sfn "$v" current || exit 1
set -- $(ls -d [0-9]*-* | sort)
while [ $# -gt "$keep" ]; do [ "$1" = "$v" ] || rm -rf "$1"; shift; done
"""
_BACK = 'cd "$1" && ln -sfn "$2" current'


@dataclass(frozen=True)
class Place:
    """What is installed of an artifact.

    Attributes:
        folder: with all versions, and the link `current`.
        current: the version in use; "" when there is none.
        versions: all, oldest first.
        changed: whether a call has changed the version in use.
        sent_bytes: what travelled for it.
        verified: how many graphs were proven there.
    """

    folder: str
    current: str
    versions: tuple[str, ...]
    changed: bool = False
    sent_bytes: int = 0
    verified: int = 0


def install_runner(artifact: Artifact, address: Address, keep: int, tell: Progress) -> Place:
    """Compile an artifact's runner for a device, and install it; in use only after it has proven itself there.

    Args:
        artifact: one with a C form.
        address: of the device.
        keep: versions that stay, at most; the oldest go.
        tell: told in a few words what is being done.

    Raises:
        ArtifactError: it has no C form.
        TargetError: the device can't be reached, or the model computes something else there.
    """
    tell("connecting")
    box = look(address)
    tell(f"compiling the runner for {box.machine}")
    program = build_runner(artifact, box.machine)
    version = hashlib.sha256(program.content).hexdigest()[:12]
    before = _state(box, artifact.manifest.name)
    if before.current.endswith(f"-{version}"):
        tell("proving it there again")
        _prove(box, program, f"{before.folder}/current")
        return Place(before.folder, before.current, before.versions, False, 0, len(program.samples))
    folder = Folder(box, f"{before.folder}/.new-{secrets.token_hex(8)}")
    folder.store(program.content, tell)
    try:
        tell("proving it there")
        _prove(box, program, folder.path)
        box.ask(_ACTIVATE, before.folder, folder.path, version, str(max(1, keep)))
    except BaseException:
        box.ask('rm -rf "$1"', folder.path)
        raise
    after = _state(box, artifact.manifest.name)
    if not after.current.endswith(f"-{version}"):
        raise TargetError(f"{address.target}: it doesn't use the version of {artifact.manifest.name} that it was given")
    return Place(after.folder, after.current, after.versions, True, len(program.content), len(program.samples))


def go_back(name: str, address: Address) -> Place:
    """Use the version before the one in use.

    Raises:
        TargetError: the device can't be reached, or has none.
    """
    box = look(address)
    state = _state(box, name)
    earlier = [version for version in state.versions if version < state.current]
    if not earlier:
        raise TargetError(f"{address.target}: there is no version of {name} before the one in use")
    box.ask(_BACK, state.folder, earlier[-1])
    return Place(state.folder, earlier[-1], state.versions, True)


def _state(box: Box, name: str) -> Place:
    folder = f"{box.root}/artifacts/{name}"
    lines = [line.strip() for line in box.ask(_STATE, folder)]
    current = lines[0] if lines and _VERSION.fullmatch(lines[0]) else ""
    return Place(folder, current, tuple(line for line in lines[1:] if _VERSION.fullmatch(line)))


def _prove(box: Box, program: NativeProgram, folder: str) -> None:
    target = box.address.target
    said = box.ask(_PROVE, folder, str(_SECONDS), seconds=_SECONDS + 30.0)
    outputs = read_outputs(dict(filter(None, map(parse_output, said))), program.samples, target)
    manifest = program.artifact.manifest
    problems = judge(manifest, list(program.samples), [{manifest.main.name: out} for out in outputs]).problems
    if problems:
        raise TargetError(f"{target}: {manifest.name} is not installed, it fails there: {problems[0]}")
