"""A split in a file of its own (`--split-file`): JSON, CSV or .npz.

    .json    {"train": [0, 1, ...], "val": [...], "test": [...]}, or ["train", "test", ...] with a part for each item
    .csv     a column `split` with a line for each item in their order, or columns `index` and `split`
    .npz     arrays train, val and test of numbers or of a bool for each item, or an array `split` of 0, 1 and 2

An item is a node of the one graph, or a graph of the list.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from edgegnn.errors import UsageError, first_line
from edgegnn.runtime.npz import read_npz
from edgegnn.tasks.given import Items, part_of
from edgegnn.utils.files import at_hand

__all__ = ["FROM_FILE", "read_split"]

FROM_FILE = "file:"  # before the path, in the name of a split
_MAX_BYTES = 2**30
_INDEX = ("index", "idx", "id", "node", "graph")
_SPLIT = ("split", "part", "set")


def read_split(path: str, kind: str, count: int, seed: int) -> dict[str, Tensor]:
    """The split of `count` items that a file gives.

    Args:
        path: the file.
        kind: what is split, "node" or "graph".
        count: how many there are.
        seed: draws a validation part where the file has none.

    Raises:
        UsageError: no such file, one that can't be read, or no split of these items.
    """
    file = at_hand(path)
    where = f"--split-file {path}"
    readers = {".json": _read_json, ".csv": _read_csv, ".npz": _read_npz}
    if file.suffix.lower() not in readers:
        raise UsageError(f"{where}: the name must end in .json, .csv or .npz")
    if not file.is_file():
        raise UsageError(f"{where}: there is no such file")
    try:
        if file.stat().st_size > _MAX_BYTES:
            raise UsageError(f"{where} is larger than {_MAX_BYTES} bytes: it can't be a split")
        content = readers[file.suffix.lower()](file, where, count)
    except (OSError, ValueError, RecursionError, csv.Error) as error:
        raise UsageError(f"{where} can't be read: {first_line(error)}") from error
    items = Items(kind, count, seed, where, UsageError)
    if isinstance(content, Mapping):
        return items.by_part(content)
    return items.by_label(content)


def _read_json(file: Path, where: str, count: int) -> Mapping[str, Any] | Sequence[Any]:
    content = json.loads(file.read_text(encoding="utf-8-sig"))
    if isinstance(content, dict) and set(content) == {"split"}:
        content = content["split"]
    if not isinstance(content, (dict, list)):
        raise UsageError(f'{where} holds no split: write {{"train": [0, 1], "val": [2], "test": [3]}}')
    return content


def _read_npz(file: Path, where: str, count: int) -> Mapping[str, Any] | Sequence[Any]:
    arrays = read_npz(file, UsageError)
    labels: Sequence[Any] | None = arrays["split"].reshape(-1).tolist() if set(arrays) == {"split"} else None
    return arrays if labels is None else labels


def _read_csv(file: Path, where: str, count: int) -> Sequence[Any]:
    with file.open(newline="", encoding="utf-8-sig") as opened:
        rows = [[cell.strip() for cell in row] for row in csv.reader(opened) if row]
    if rows and len(rows[0]) == 1 and part_of(rows[0][0]) is not None:
        return [row[0] for row in rows]
    names = [name.lower() for name in rows[0]] if rows else []
    split = next((at for at, name in enumerate(names) if name in _SPLIT), None)
    if split is None:
        raise UsageError(f"{where}: the first line must name a column split, and an index if the lines have no order")
    index = next((at for at, name in enumerate(names) if name in _INDEX), None)
    labels: list[Any] = [None] * (count if index is not None else len(rows) - 1)
    for at, row in enumerate(rows[1:]):
        line = f"{where}, line {at + 2}"
        if len(row) != len(names):
            raise UsageError(f"{line}: {len(row)} values for {len(names)} columns")
        place = at if index is None else _place(row[index], count, line)
        if labels[place] is not None:
            raise UsageError(f"{line}: {place} is there twice: give each one part")
        labels[place] = row[split]
    return labels


def _place(text: str, count: int, line: str) -> int:
    if not text.isdecimal() or int(text) >= count:
        raise UsageError(f"{line}: {text[:40]!r} is none of the numbers 0 to {count - 1}")
    return int(text)
