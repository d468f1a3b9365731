"""Compile the C form on this machine, and run it in a process that can do nothing else."""

from __future__ import annotations

import math
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgegnn.errors import ExportError
from edgegnn.plain_c.cross import ERRORS, MEMORY, SECONDS, zig
from edgegnn.plain_c.generate import Argument, PlainC
from edgegnn.plain_c.run_program import run_source
from edgegnn.utils.limited import run_limited

__all__ = ["NUMPY_TYPES", "Program", "Refused", "compile_model", "find_compiler", "graph_size"]

Array = npt.NDArray[np.generic]
# C type of an input or an output -> its numpy type.
NUMPY_TYPES: Mapping[str, Any] = {
    "float": np.float32,
    "double": np.float64,
    "uint8_t": np.uint8,
    "int8_t": np.int8,
    "int32_t": np.int32,
}
_FLAGS = ("-std=c99", "-O2", *ERRORS)
_RUN_SECONDS, _RUN_MEMORY = 60, 2**26  # of one graph; memory beside the arena, the inputs and the outputs


class Refused(ExportError):
    """The C function returned a code other than 0."""

    def __init__(self, code: int) -> None:
        super().__init__(f"the C form refused a graph with the code {code}")
        self.code = code


def find_compiler() -> tuple[str, ...] | None:
    """The command of a C compiler: the system's, else the Python package ziglang's, else None."""
    for name in ("cc", "gcc", "clang"):
        path = shutil.which(name)
        if path:
            return (path,)
    return zig()


def compile_model(code: PlainC, folder: Path, compiler: Sequence[str], flags: Sequence[str] = ()) -> Path:
    """Write the files of a C form into `folder`, and compile them to a program that runs one graph.

    Args:
        code: the C form.
        folder: where to put its files.
        compiler: the compiler's command.
        flags: further ones.

    Raises:
        ExportError: the compiler fails.
    """
    for name, text in {**code.files, "run.c": run_source(code)}.items():
        (folder / name).write_text(text, encoding="utf-8")
    program = folder / code.name
    command = [*compiler, *_FLAGS, *flags, "-o", str(program), str(folder / "model.c"), str(folder / "run.c")]
    try:
        done = run_limited(command, seconds=SECONDS, memory=MEMORY, cwd=folder)
    except OSError as error:
        raise ExportError(f"the C compiler {compiler[0]} can't be run: {error}") from error
    if done.why:
        raise ExportError(f"the C compiler {compiler[0]} {done.why}: the model is too large for it")
    if done.status:
        said = done.said[0] if done.said else f"exit status {done.status}"
        raise ExportError(f"the C compiler {compiler[0]} refuses the C form: {said[:300]}")
    return program


@dataclass(frozen=True)
class Program:
    """A compiled C form. Each run is a process of its own, which can only compute.

    Attributes:
        code: what was compiled.
        path: the program.
    """

    code: PlainC
    path: Path

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """The outputs for one graph.

        Args:
            inputs: name -> array, as the artifact takes them; `batch` is not read.

        Raises:
            Refused: the C function returned a code.
            ExportError: it crashed, or took too long.
        """
        sizes = graph_size(self.code, inputs)
        given = [np.ascontiguousarray(inputs[a.name], NUMPY_TYPES[a.ctype]) for a in self.code.inputs]
        shapes = {a.name: _sizes(a, sizes) for a in self.code.outputs}
        types = {a.name: np.dtype(NUMPY_TYPES[a.ctype]) for a in self.code.outputs}
        lengths = {name: math.prod(shape) * types[name].itemsize for name, shape in shapes.items()}
        numbers = [*(sizes[size.dim.text] for size in self.code.sizes), *(a.nbytes for a in given), *lengths.values()]
        needed = sum(a.nbytes for a in given) + sum(lengths.values()) + self.code.arena_bytes
        with tempfile.TemporaryDirectory(prefix="run-", dir=self.path.parent) as place:
            folder = Path(place)
            with (folder / "in").open("wb") as file:
                for array in given:
                    file.write(array.data if array.size else b"")
            done = run_limited(
                [str(self.path), *map(str, numbers)],
                seconds=_RUN_SECONDS,
                memory=needed + _RUN_MEMORY,
                cwd=folder,
                given=folder / "in",
                taken=folder / "out",
            )
            if done.status:
                raise ExportError(f"the C form {done.why or f'ended with the status {done.status}'} on a graph")
            found = np.fromfile(folder / "out", np.uint8, 4 + sum(lengths.values()))
        code = int(found[:4].view("<i4")[0]) if found.size >= 4 else -1
        if code:
            raise Refused(code)
        if found.size != 4 + sum(lengths.values()):
            raise ExportError("the C form gave outputs of another size on a graph")
        results, at = {}, 4
        for name, length in lengths.items():
            results[name] = found[at : at + length].view(types[name]).reshape(shapes[name])
            at += length
        return results


def graph_size(code: PlainC, inputs: Mapping[str, Array]) -> dict[str, int]:
    """The sizes of a graph by their C variables, as the sizes of its arrays say.

    Raises:
        ExportError: an array is missing, or its sizes are not those of the model or of another array.
    """
    found: dict[str, int] = {}
    for argument in code.inputs:
        array = inputs.get(argument.name)
        if array is None or array.ndim != len(argument.shape):
            raise ExportError(
                f"the graph has no {argument.name} of {len(argument.shape)} sizes, which the C form takes"
            )
        for dim, size in zip(argument.shape, array.shape, strict=True):
            if size != (dim.fixed if dim.fixed is not None else found.setdefault(dim.text, size)):
                raise ExportError(f"{argument.name} of the graph has {size:,} elements where the C form takes others")
    unsaid = {size.dim.text: code.nodes.most if size.dim.text == "n" else 0 for size in code.sizes}
    return unsaid | found


def _sizes(argument: Argument, sizes: Mapping[str, int]) -> tuple[int, ...]:
    return tuple(dim.fixed if dim.fixed is not None else sizes[dim.text] for dim in argument.shape)
