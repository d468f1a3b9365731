"""Find the native library: edgegnn's kernels for the `ai.edgegnn` operators of a model.

A model runs without it too, on the function bodies it carries. Looked for, in this order:

    EDGEGNN_LIBRARY     a path, or "none" to run on onnxruntime's own operators
    the package         `edgegnn.native`, where edgegnn is installed and was built with a compiler
    beside run.pyz      `native/` of the artifact that the runner lies in

Never in an artifact that is merely opened: a library is code, and opening a stranger's file runs none.
"""

from __future__ import annotations

import os
import platform
import sys
from pathlib import Path

from edgegnn.errors import UsageError

__all__ = ["ORT_NEEDED", "find_library", "library_name"]

ORT_NEEDED = (1, 17)
_NONE = {"", "0", "none"}


def library_name(machine: str | None = None) -> str:
    """File name of the library for a machine, as `platform.machine()` calls it (default: this one)."""
    return f"libedgegnn_ops-{machine or platform.machine()}.so"


def find_library() -> Path | None:
    """The library for this machine, None where there is none.

    Raises:
        UsageError: EDGEGNN_LIBRARY names a file that is not there.
    """
    asked = os.environ.get("EDGEGNN_LIBRARY")
    if asked is not None:
        if asked.lower() in _NONE:
            return None
        if not Path(asked).is_file():
            raise UsageError(f"EDGEGNN_LIBRARY is {asked}, and there is no such file: unset it, or set it to 'none'")
        return Path(asked).resolve()
    try:
        from edgegnn.native import library
    except ImportError:  # in run.pyz
        program = Path(sys.argv[0])
        beside = program.resolve().parent / "native" / library_name()
        return beside if program.suffix == ".pyz" and beside.is_file() else None
    return library()
