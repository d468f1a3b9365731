"""Compile the C form on this machine, and call it."""

from __future__ import annotations

import ctypes
import importlib.util
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import numpy as np
import numpy.typing as npt

from edgegnn.errors import ExportError
from edgegnn.plain_c.generate import Argument, PlainC

__all__ = ["Library", "Refused", "compile_library", "find_compiler", "graph_size"]

Array = npt.NDArray[np.generic]
_TYPES = {"float": np.float32, "uint8_t": np.uint8, "int8_t": np.int8, "int32_t": np.int32}
_FLAGS = ("-std=c99", "-O2", "-fPIC", "-shared")
_PATIENCE = 600  # seconds for a compiler


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
    return (sys.executable, "-m", "ziglang", "cc") if importlib.util.find_spec("ziglang") else None


def compile_library(code: PlainC, folder: Path, compiler: Sequence[str], flags: Sequence[str] = ()) -> Path:
    """Write the files of a C form into `folder`, and compile them to a shared library.

    Args:
        code: the C form.
        folder: where to put its files.
        compiler: the compiler's command.
        flags: further ones.

    Raises:
        ExportError: the compiler fails.
    """
    for name, text in code.files.items():
        (folder / name).write_text(text, encoding="utf-8")
    library = folder / f"{code.name}.so"
    command = [*compiler, *_FLAGS, *flags, "-o", str(library), str(folder / "model.c")]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_PATIENCE, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ExportError(f"the C compiler {compiler[0]} can't be run: {error}") from error
    if done.returncode:
        said = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
        raise ExportError(f"the C compiler {compiler[0]} refuses the C form: {said[0][:300]}")
    return library


@dataclass
class Library:
    """A compiled C form; a context manager.

    Attributes:
        code: what was compiled.
        path: the shared library.
    """

    code: PlainC
    path: Path

    def __enter__(self) -> Library:
        self._handle = ctypes.CDLL(str(self.path))
        self._function = getattr(self._handle, f"edgegnn_{self.code.name}_run")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing is unloaded: the library's file may be removed all the same."""

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """The outputs for one graph.

        Args:
            inputs: name -> array, as the artifact takes them; `batch` is not read.

        Raises:
            Refused: the C function returned a code.
        """
        sizes = graph_size(self.code, inputs)
        given = {a.name: np.ascontiguousarray(inputs[a.name], _TYPES[a.ctype]) for a in self.code.inputs}
        results = {a.name: np.empty(_sizes(a, sizes), _TYPES[a.ctype]) for a in self.code.outputs}
        arena = np.full(-(-self.code.arena_bytes // 4), 0xA5A5A5A5, np.uint32)
        code = self._function(
            ctypes.byref(_structure(given, [sizes[size.dim.text] for size in self.code.sizes])),
            ctypes.byref(_structure(results, ())),
            ctypes.c_void_p(arena.ctypes.data),
        )
        if code:
            raise Refused(code)
        return results


def graph_size(code: PlainC, inputs: Mapping[str, Array]) -> dict[str, int]:
    """The sizes of a graph by their C variables, as the sizes of its arrays say."""
    found = {size.dim.text: 0 for size in code.sizes}
    if "n" in found:  # of a model for one graph that is fixed
        found["n"] = code.inputs[0].shape[0].most
    for argument in code.inputs:
        for dim, size in zip(argument.shape, inputs[argument.name].shape, strict=True):
            if dim.text in found:
                found[dim.text] = size
    return found


def _structure(arrays: Mapping[str, Array], numbers: Sequence[int]) -> ctypes.Structure:
    """The C structure with these numbers and pointers to these arrays."""
    fields = [(f"n{i}", ctypes.c_int32) for i in range(len(numbers))]
    fields += [(f"p{i}", ctypes.c_void_p) for i in range(len(arrays))]  # type: ignore[misc]
    kind = type("Structure", (ctypes.Structure,), {"_fields_": fields})
    return kind(*numbers, *(array.ctypes.data for array in arrays.values()))


def _sizes(argument: Argument, sizes: Mapping[str, int]) -> tuple[int, ...]:
    return tuple(dim.fixed if dim.fixed is not None else sizes[dim.text] for dim in argument.shape)
