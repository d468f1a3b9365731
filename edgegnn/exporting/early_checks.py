"""What an export is asked for: checked before torch is imported and before anything is trained."""

from __future__ import annotations

from pathlib import Path

from edgegnn.errors import UsageError
from edgegnn.plain_c.values import Limits
from edgegnn.runtime.manifest import is_file_name
from edgegnn.utils.files import check_free

__all__ = ["FORMATS", "c_limits", "check_format_name", "check_output"]

FORMATS = ("onnx", "torchscript", "both", "c", "web")
PLAIN = ("c", "web")  # formats of a fixed largest graph


def check_format_name(format: str | None) -> None:
    """Refuse an unknown format; None is none asked for.

    Raises:
        UsageError: it is none of `FORMATS`.
    """
    if format is not None and format not in FORMATS:
        raise UsageError(f"unknown format {format!r}: choose one of {', '.join(FORMATS)}")


def c_limits(format: str | None, max_nodes: int | None, max_edges: int | None) -> Limits | None:
    """The largest graph that a C form will take; None where none is asked for.

    Raises:
        UsageError: --format c or web without both limits, a limit of edges without them, or no compiler for the web.
    """
    if format not in PLAIN:
        if max_edges is not None:
            raise UsageError("--max-edges is for --format c and web: leave it out, or choose one of them")
        return None
    if max_nodes is None or max_edges is None:
        raise UsageError(
            f"--format {format} needs --max-nodes and --max-edges: the largest graph that the C code will take"
        )
    if format == "web":
        from edgegnn.plain_c.web.wasm import MISSING, find_wasm_compiler

        if find_wasm_compiler() is None:
            raise UsageError(MISSING)
    return Limits.checked(max_nodes, max_edges)


def check_output(path: Path, *, force: bool) -> None:
    """Refuse early, before any training, an output place that could not be used at the end.

    Raises:
        UsageError: `path` exists and not `force`, or it exists and is no artifact, or no artifact can have its name.
    """
    name = (path.with_suffix("") if path.suffix == ".zip" else path).name
    if not is_file_name(name):
        raise UsageError(f"no artifact can have the name {name[:80]!r}: choose another, shorter or plainer one with -o")
    check_free(path, force=force)
    if path.suffix == ".zip":
        if path.is_dir():
            raise UsageError(f"{path} is a folder: choose another place with -o")
    elif path.exists() and not (path / "manifest.json").is_file():
        raise UsageError(f"{path} exists and is not an artifact: not replaced, choose another place with -o")
