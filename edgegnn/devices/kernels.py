"""The native library for a device: from here, or compiled on the device by its own compiler and brought home."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable
from pathlib import Path

import edgegnn.native
from edgegnn.devices.connection import python_of
from edgegnn.devices.target import Target
from edgegnn.devices.transport.answers import Facts
from edgegnn.devices.transport.content import content
from edgegnn.devices.transport.device import Device
from edgegnn.errors import TargetError
from edgegnn.native import build as recipe
from edgegnn.native.provide import built_there, provide
from edgegnn.runtime import Artifact
from edgegnn.runtime.session import has_native_ops

__all__ = ["library_for"]

Progress = Callable[[str], None]
BUILD_SECONDS = 1800.0
MAX_BYTES = 32 * 2**20
_MACHINES = {"arm64": "aarch64", "amd64": "x86_64"}
# In lines that are short enough for the agent.
_SEND = "import base64, sys; t = base64.b64encode(open(sys.argv[1], 'rb').read()).decode(); "
_SEND += "print('\\n'.join(t[i:i + 60000] for i in range(0, len(t), 60000)))"


def library_for(
    artifact: Artifact, device: Device, target: Target, facts: Facts, tell: Progress = lambda text: None
) -> Path | None:
    """Our own kernels for a device, when the model uses them; never those that came with an artifact.

    A library is code, and an artifact may be a stranger's.

    Args:
        artifact: what will run there.
        device: a connection that holds the device's lock.
        target: its target.
        facts: what the device has said about itself.
        tell: told in a few words what is being done.

    Returns:
        The library, a file on this machine; None: the model runs on onnxruntime's own operators.
    """
    if artifact.model.name != "model.onnx" or not has_native_ops(artifact.model):
        return None
    machine = _MACHINES.get(device.machine, device.machine)
    tell("the kernels for its processor")
    found = provide(machine, target=target.name)
    if found.path is not None or machine not in recipe.LEVELS:
        return found.path
    return _build(device, machine, target, python_of(target, facts), tell)


def _build(device: Device, machine: str, target: Target, python: str, tell: Progress) -> Path | None:
    """Compile on the device; None where it has no compiler, or one that can't."""
    if device.run(["sh", "-c", "command -v g++ || command -v c++ || command -v clang++"], limit=30.0).code != 0:
        tell(f"no kernels for {machine}: neither this machine nor {target.name} has a compiler for it")
        return None
    package = Path(edgegnn.native.__file__).parent
    if not (package / "src").is_dir():
        return None
    tell("compiling the kernels there (a minute or two, once)")
    files = {f"kernels/src/{path.name}": content(path) for path in recipe.sources(package)}
    files["kernels/build.py"] = content(Path(recipe.__file__))
    folder = device.place(files, "the kernels' sources")
    made = f"{folder}/kernels/library.so"
    try:
        done = device.run([python, f"{folder}/kernels/build.py", made], limit=BUILD_SECONDS)
        sent = device.run([python, "-c", _SEND, made], limit=60.0) if done.code == 0 else done
    except TargetError as error:  # it has taken too long: everything works without, slower
        tell(str(error))
        return None
    if sent.code != 0:
        lines = [line for line in sent.stderr.splitlines() if line.strip()] or ["no reason given"]
        tell(f"the kernels can't be compiled there: {lines[-1][:200]}")
        return None
    try:
        library = base64.b64decode("".join(sent.out), validate=True)
    except binascii.Error:
        return None
    if len(library) > MAX_BYTES or not library.startswith(b"\x7fELF"):
        return None
    path = built_there(machine, target.name)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".tmp")
    temporary.write_bytes(library)
    temporary.replace(path)
    return path
