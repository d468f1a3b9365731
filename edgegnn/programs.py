"""Open a `.pt2` program (torch.export) without running what a stranger put into it.

`torch.export.load` trusts its file: it unpickles, looks operators up by dotted name, and hands size expressions to
sympy, which evaluates them. Each of these is checked first, against what `torch.export.save` writes for a model.
"""

from __future__ import annotations

import io
import json
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch.export import ExportedProgram

from edgegnn.errors import CheckpointError, first_line

__all__ = ["is_program", "load_program"]

# Sizes (s77, 'u0'), numbers, sympy's functions (capitalized), their keyword arguments, and arithmetic.
_SIZE = re.compile(
    r"(?:'[su]\d+'|\b[su]\d+\b|\b[A-Z][A-Za-z]*\(|\b[a-z]+=(?:True|False)\b|\b\d+\b|\boo\b|[\s+\-*/(),<>=])*"
)
_OPERATOR = re.compile(r"torch\.ops\.[a-z]\w*\.\w+(?:\.\w+)?|_?operator\.[a-z]\w*|torch\._?sym_\w+|math\.[a-z]\w*|")


def is_program(path: Path) -> bool:
    """Whether the file is a `torch.export` archive."""
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(n.endswith(("archive_format", "serialized_exported_program.json")) for n in archive.namelist())


def load_program(path: Path) -> ExportedProgram:
    """Read a program whose archive holds tensors, a graph of torch operators, and nothing that could run code.

    Raises:
        CheckpointError: damaged, newer than this torch, or it holds something else.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            for name in archive.namelist():
                _check(path, name, archive.read(name))
        return torch.export.load(path)
    except CheckpointError:
        raise
    except Exception as error:
        raise CheckpointError(f"{path} is not a torch.export program, or is damaged: {first_line(error)}") from error


def _check(path: Path, name: str, content: bytes) -> None:
    if "custom_obj" in name or "opaque_obj" in name:
        raise CheckpointError(f"{path} holds a pickled object ({name}), which can run any code when opened: refused")
    if name.endswith(".json"):
        for key, value in _fields(json.loads(content)):
            if key == "use_pickle" and value:
                raise CheckpointError(f"{path} holds pickled tensors, which can run any code when opened: refused")
            if key == "expr_str" and not _SIZE.fullmatch(str(value)):
                raise CheckpointError(f"{path} holds a size expression that is no arithmetic: refused")
            if key == "target" and isinstance(value, str) and not _known(value):
                raise CheckpointError(f"{path} calls {value[:80]!r}, which is no torch operator: refused")
    elif name.endswith(".pt") and content:
        try:
            torch.load(io.BytesIO(content), weights_only=True)
        except Exception as error:
            raise CheckpointError(f"{path} holds pickled objects ({name}) that are no tensors: refused") from error


def _known(target: str) -> bool:
    return "__" not in target and _OPERATOR.fullmatch(target) is not None


def _fields(value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield key, inner
            yield from _fields(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _fields(inner)
