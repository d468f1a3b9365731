"""Generate the C form of a stranger's model in a process of its own, with limits of time and memory."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

import msgspec

import edgegnn
from edgegnn.errors import ArtifactError, EdgeGNNError, first_line, printable
from edgegnn.plain_c.generate import PlainC, generate
from edgegnn.plain_c.values import Limits
from edgegnn.utils.limited import run_limited

__all__ = ["generate_apart", "main"]

_SECONDS, _MEMORY = 120, 8 * 2**30
_MOST_BYTES = 2**30
_START = "from edgegnn.plain_c.apart import main; main()"


class _Asked(msgspec.Struct, frozen=True):
    """What the process is given, in the file `asked`."""

    model: bytes
    name: str
    limits: Limits


class _Found(msgspec.Struct, frozen=True):
    """What it answers, in the file `found`: the C form, or why there is none."""

    code: PlainC | None = None
    problem: str = ""


def generate_apart(model: bytes, name: str, limits: Limits) -> PlainC:
    """As `generate`, of a model that a stranger may have written.

    Args:
        model: bytes of the ONNX file.
        name: of the artifact.
        limits: the largest graph that the C code will take.

    Raises:
        ArtifactError: there is no C form, or making it takes too long or too much memory.
    """
    # The folder is the first place that the process imports from, and it has no modules.
    places = [str(Path(edgegnn.__file__).resolve().parents[1]), *(p for p in sys.path if Path(p).is_absolute())]
    with tempfile.TemporaryDirectory(prefix="edgegnn-c-") as place:
        folder = Path(place)
        (folder / "asked").write_bytes(msgspec.msgpack.encode(_Asked(model, name, limits)))
        command = [sys.executable, "-c", _START]
        env = {**os.environ, "PYTHONPATH": os.pathsep.join(dict.fromkeys(places))}
        done = run_limited(command, seconds=_SECONDS, memory=_MEMORY, cwd=folder, env=env)
        found = folder / "found"
        if not found.is_file() or found.stat().st_size > _MOST_BYTES:
            why = done.why or (done.said[-1][:200] if done.said else "gave no answer")
            raise ArtifactError(f"{name}: no C form can be made of its model.onnx: the generator {why}")
        answer = msgspec.msgpack.decode(found.read_bytes(), type=_Found)
    if answer.code is None:
        raise ArtifactError(f"{name}: {answer.problem}")
    return answer.code


def main() -> None:
    """Read `asked`, write `found`."""
    import onnx

    asked = msgspec.msgpack.decode(Path("asked").read_bytes(), type=_Asked)
    try:
        model = onnx.ModelProto()
        model.ParseFromString(asked.model)
        found = _Found(generate(model, asked.name, asked.limits))
    except EdgeGNNError as error:
        found = _Found(problem=str(error))
    except Exception as error:  # a stranger's ONNX file may break the generator in any way
        found = _Found(problem=f"no C form can be made of its model.onnx: {printable(first_line(error, 200))}")
    Path(".new").write_bytes(msgspec.msgpack.encode(found))
    Path(".new").rename("found")
