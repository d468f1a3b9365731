"""Where the native library is: ONNX Runtime kernels for the operators of domain `ai.edgegnn`.

Register it with `SessionOptions.register_custom_ops_library(str(library()))`. Without it a model that edgegnn
exported runs all the same, on the function bodies it carries, only slower: an installation that was made without a
compiler builds it when it is first needed, into the user's cache folder (`provide.py`). OPS.md beside this file
describes the operators, `reference.py` has each of them in numpy.
"""

from __future__ import annotations

import platform
from pathlib import Path

__all__ = ["DOMAIN", "VERSION", "installed", "library", "library_name"]

DOMAIN = "ai.edgegnn"
VERSION = 1


def library_name(machine: str | None = None) -> str:
    """The library's file name for a machine as `platform.machine()` calls it (default: this one)."""
    return f"libedgegnn_ops-{machine or platform.machine()}.so"


def installed(machine: str | None = None) -> Path | None:
    """The native library that came with the installation, for a machine (default: this one); None where none did."""
    # An editable install has two folders: the source tree, where a build by hand ends up, and the installed files.
    for folder in (Path(__file__).parent, *map(Path, __path__)):
        path = folder / library_name(machine)
        if path.is_file():
            return path
    return None


def library(machine: str | None = None) -> Path | None:
    """The native library for a machine (default: this one), compiled now for this one if the installation has none.

    Returns:
        Its file; None where there is none and none can be built (`provide.provide` says why).
    """
    found = installed(machine)
    if found is None and machine in (None, platform.machine()):
        from edgegnn.native.provide import provide

        found = provide(platform.machine()).path
    return found
