"""Find the native library: edgegnn's kernels for the `ai.edgegnn` operators of a model.

A model runs without it too, on the function bodies it carries. Looked for, in this order:

    EDGEGNN_LIBRARY     a path, or "none" to run on onnxruntime's own operators
    the package         `edgegnn.native`, where edgegnn is installed and was built with a compiler
    beside run.pyz      `native/` of the artifact that the runner lies in, whether it is run or imported from

The library takes the widest instruction set of the processor, or a narrower one that EDGEGNN_ISA names.

Never in an artifact that is merely opened: a library is code, and opening a stranger's file runs none.
"""

from __future__ import annotations

import os
import platform
from pathlib import Path

from edgegnn.errors import UsageError

__all__ = ["ISA", "ORT_NEEDED", "check_isa", "find_library", "library_name", "why_no_library"]

ORT_NEEDED = (1, 17)
_NONE = {"", "0", "none"}
# Names of instruction sets by machine, as in the library (`edgegnn.native.build.LEVELS`).
ISA = {"x86_64": ("base", "avx2", "avx512", "vnni"), "aarch64": ("neon", "dotprod")}


def library_name(machine: str | None = None) -> str:
    """File name of the library for a machine, as `platform.machine()` calls it (default: this one)."""
    return f"libedgegnn_ops-{machine or platform.machine()}.so"


def find_library() -> Path | None:
    """The library for this machine, None where there is none.

    Raises:
        UsageError: EDGEGNN_LIBRARY names a file that is not there, or EDGEGNN_ISA no instruction set.
    """
    check_isa()
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
        runner = _runner()
        beside = runner.parent / "native" / library_name() if runner is not None else None
        return beside if beside is not None and beside.is_file() else None
    return library()


def check_isa() -> None:
    """Refuse an unknown name in EDGEGNN_ISA, which the library would pass over.

    Raises:
        UsageError: it is no instruction set of this machine.
    """
    asked, known = os.environ.get("EDGEGNN_ISA"), ISA.get(platform.machine(), ())
    if asked and known and asked not in known:
        raise UsageError(f"EDGEGNN_ISA is {asked[:40]!r}: use {', '.join(known[:-1])} or {known[-1]}, or unset it")


def why_no_library() -> str:
    """Say why `find_library` finds none that loads here, and what to do."""
    machine = platform.machine()
    asked = os.environ.get("EDGEGNN_LIBRARY")
    if asked is not None and asked.lower() in _NONE:
        return f"EDGEGNN_LIBRARY is {asked!r}; unset it"
    if (found := find_library()) is not None:
        return f"{found} doesn't load here (onnxruntime {'.'.join(map(str, ORT_NEEDED))} or newer is needed)"
    runner = _runner()
    if runner is not None:
        return (
            f"{runner.parent} has no native/{library_name()}; export the artifact for this machine: "
            f"edgegnn export --target NAME (of a target with the architecture {machine})"
        )
    return (
        f"this installation of edgegnn has no kernels for {machine} and can't compile them: `edgegnn doctor` says why; "
        "or name the library of the artifact: edgegnn.runtime.open(..., library=...)"
    )


def _runner() -> Path | None:
    """The run.pyz that this module lies in; None where the package is installed."""
    for parent in Path(__file__).parents:
        if parent.suffix == ".pyz" and parent.is_file():
            return parent.resolve()
    return None
