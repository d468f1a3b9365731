"""Where the native library is: ONNX Runtime kernels for the operators of domain `ai.edgegnn`.

Register it with `SessionOptions.register_custom_ops_library(str(library()))`. Without it a model that edgegnn
exported runs all the same, on the function bodies it carries, only slower. OPS.md beside this file describes the
operators, `reference.py` has each of them in numpy.
"""

from __future__ import annotations

import platform
from pathlib import Path

__all__ = ["DOMAIN", "VERSION", "library", "library_name"]

DOMAIN = "ai.edgegnn"
VERSION = 1


def library_name(machine: str | None = None) -> str:
    """The library's file name for a machine as `platform.machine()` calls it (default: this one)."""
    return f"libedgegnn_ops-{machine or platform.machine()}.so"


def library(machine: str | None = None) -> Path | None:
    """The installed native library for a machine (default: this one); None where edgegnn was installed without it."""
    # An editable install has two folders: the source tree, where a build by hand ends up, and the installed files.
    for folder in (Path(__file__).parent, *map(Path, __path__)):
        path = folder / library_name(machine)
        if path.is_file():
            return path
    return None
