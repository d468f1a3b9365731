"""Graphs as plain arrays: an .npz with one graph, an .npz with several (`0000.x`, `0001.x`), a folder of such files."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from edgegnn.errors import DataError
from edgegnn.runtime.npz import read_npz

__all__ = ["by_graph", "read_arrays"]

_NUMBERED = re.compile(r"(\d{1,9})\.(.+)", re.ASCII)
_MOST_FILES = 100_000


def read_arrays(path: Path) -> list[dict[str, Any]]:
    """The graphs of an .npz file, or of all .npz files of a folder in the order of their names.

    Returns:
        Of each graph, name -> array.

    Raises:
        DataError: no such file, a folder without .npz files, or a file that is damaged or holds no numbers.
    """
    if not path.is_dir():
        return by_graph(read_npz(path, DataError))
    files = sorted(path.glob("*.npz"))
    if not files:
        raise DataError(f"{path} has no .npz files: write a graph each with numpy.savez")
    if len(files) > _MOST_FILES:
        raise DataError(f"{path} has more than {_MOST_FILES} files")
    return [graph for file in files for graph in by_graph(read_npz(file, DataError))]


def by_graph(arrays: dict[str, Any]) -> list[dict[str, Any]]:
    """The arrays of each graph: those of one number together, where all names begin with one (`0000.x`)."""
    parts = {name: _NUMBERED.fullmatch(name) for name in arrays}
    if not arrays or not all(parts.values()):
        return [arrays]
    found: dict[int, dict[str, Any]] = {}
    for name, match in parts.items():
        assert match is not None
        if match[2] != "expected":  # of an artifact's samples.npz
            found.setdefault(int(match[1]), {})[match[2]] = arrays[name]
    return [found[number] for number in sorted(found)]
