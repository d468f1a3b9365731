"""The split that a user gives, in attributes of the data or in a file (`edgegnn.tasks.split_file`).

    train_mask, val_mask, test_mask    of one graph: a bool for each node, [N] or a column for each of several splits
    train_idx, val_idx, test_idx       of one graph: numbers of its nodes, or a bool for each
    split                              of one graph: a part for each node, or {"train": numbers, ...};
                                       of each graph in a list: its part

A part is "train", "val" ("valid", "validation") or "test", or 0, 1 or 2 in this order. What has no part ("" or -1) is
left out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor
from torch_geometric.data import Data

from edgegnn.errors import DataError, EdgeGNNError, UsageError
from edgegnn.tasks.notes import note
from edgegnn.tasks.splits import as_index

__all__ = ["INDICES", "MASKS", "PARTS", "Items", "graph_split", "has_split", "node_split", "part_of", "pick_masks"]

PARTS = ("train", "val", "test")
MASKS = ("train_mask", "val_mask", "test_mask")
INDICES = ("train_idx", "val_idx", "valid_idx", "test_idx")
_NAMES = {"train": 0, "training": 0, "val": 1, "valid": 1, "validation": 1, "dev": 1, "test": 2, "testing": 2}
_NO_PART = ("", "-1", "none", "nan", "null")
_VALIDATION = 0.1  # of the training part, where a split has no validation part


@dataclass(frozen=True)
class Items:
    """What is split, and how a mistake in it is said.

    Attributes:
        kind: "node" or "graph".
        count: how many there are.
        seed: draws a validation part where there is none.
        where: what to call the split in a message.
        error: what to raise.
    """

    kind: str
    count: int
    seed: int
    where: str
    error: type[EdgeGNNError]

    def by_label(self, labels: Sequence[Any] | np.ndarray) -> dict[str, Tensor]:
        """The split that gives each item its part.

        Raises:
            EdgeGNNError: of the type `error`; another number of them, or what is no part.
        """
        if len(labels) != self.count:
            raise self.error(f"{self.where} gives {len(labels)} {self.kind}s a part, the data have {self.count}")
        places: list[list[int]] = [[], [], []]
        for at, label in enumerate(labels):
            place = part_of(label)
            if place is not None:
                places[place].append(at)
            elif str(label).strip().lower() not in _NO_PART and label is not None:
                raise self.error(
                    f"{self.where}: the part of {self.kind} {at} is {str(label)[:40]!r}: write train, val or test"
                )
        return self._complete({part: np.array(p, np.int64) for part, p in zip(PARTS, places, strict=True) if p})

    def by_part(self, parts: Mapping[str, Any]) -> dict[str, Tensor]:
        """The split that lists the items of each part, as numbers or as a bool for each item.

        Raises:
            EdgeGNNError: of the type `error`; unknown parts, numbers out of range, items in two parts.
        """
        found: dict[str, np.ndarray] = {}
        for name, items in parts.items():
            place = part_of(str(name).removesuffix("_mask").removesuffix("_idx").removesuffix("_index"))
            if place is None:
                raise self.error(f"{self.where} has a part {str(name)[:40]!r}: name them train, val and test")
            if PARTS[place] in found:
                raise self.error(f"{self.where} has the {PARTS[place]} part twice: keep one")
            found[PARTS[place]] = self._numbers(str(name), items)
        return self._complete(found)

    def _numbers(self, name: str, items: Any) -> np.ndarray:
        try:
            values = np.asarray(items)
        except ValueError:  # lists of unequal length
            values = np.zeros((0, 0))
        if values.size == 0 and values.ndim == 1:
            return np.zeros(0, np.int64)
        mask = values.dtype.kind == "b" or name.endswith("_mask")
        if values.ndim == 2 and 1 in values.shape:
            values = values.reshape(-1)
        if values.ndim != 1 or values.dtype.kind not in ("bui" if not mask else "buif"):
            raise self.error(f"{self.where}: {name} is no list of numbers of {self.kind}s, nor a bool for each")
        if mask:
            if len(values) != self.count:
                raise self.error(f"{self.where}: {name} has {len(values)} values for {self.count} {self.kind}s")
            return np.flatnonzero(values)
        low, high = int(values.min()), int(values.max())
        if low < 0 or high >= self.count:
            wrong = low if low < 0 else high
            raise self.error(
                f"{self.where}: {name} names {self.kind} {wrong}, the data have {self.kind}s 0 to {self.count - 1}"
            )
        return np.unique(values.astype(np.int64))

    def _complete(self, found: dict[str, np.ndarray]) -> dict[str, Tensor]:
        """Refuse parts that share items, and draw a validation part from the training part where there is none."""
        missing = [part for part in ("train", "test") if part not in found]
        if missing:
            raise self.error(f"{self.where} has no {' and no '.join(missing)} part: give train, val and test")
        for one, other in (("train", "val"), ("train", "test"), ("val", "test")):
            shared = np.intersect1d(found.get(one, []), found.get(other, []))
            if len(shared):
                raise self.error(
                    f"{self.where}: {one} and {other} share {len(shared)} {self.kind}s (the first is "
                    f"{int(shared[0])}): keep the parts apart"
                )
        if "val" not in found:
            train = np.random.default_rng(self.seed).permutation(found["train"])
            count = max(1, round(_VALIDATION * len(train)))
            found = {**found, "train": train[count:], "val": train[:count]}
            note(f"{self.where} has no val part: {count} {self.kind}s of the train part are used to validate")
        return as_index(*(found[part] for part in PARTS))


def part_of(label: Any) -> int | None:
    """Which of `PARTS` a word or a number stands for; None: none of them."""
    if isinstance(label, (int, np.integer)) and not isinstance(label, bool):
        return int(label) if 0 <= label <= 2 else None
    text = str(label).strip().lower()
    return _NAMES.get(text, int(text) if text in ("0", "1", "2") else None)


def has_split(graphs: Sequence[Data]) -> bool:
    """Whether the data have a split of their own."""
    if len(graphs) > 1:
        return any(graph.get("split") is not None for graph in graphs)
    return any(graphs[0].get(key) is not None for key in ("split", *MASKS, *INDICES))


def graph_split(graphs: Sequence[Data], seed: int, where: str) -> dict[str, Tensor]:
    """The split of a list of graphs by their attribute `split`.

    Raises:
        UsageError: no graph has one.
        DataError: what is no part, or a part that is missing.
    """
    if not has_split(graphs):
        raise UsageError(
            f"{where}: these data have no given split: set split of each graph to train, val or test, or say "
            "--split-file FILE"
        )
    labels = [_one(graph.get("split")) for graph in graphs]
    return Items("graph", len(graphs), seed, f"{where}: split", DataError).by_label(labels)


def node_split(graph: Data, seed: int, where: str, kind: str = "node", count: int | None = None) -> dict[str, Tensor]:
    """The split of the nodes (or edges) of one graph by its masks, its indices or its attribute `split`.

    Args:
        graph: the graph.
        seed: which column of masks [N, S] is used.
        where: what to call the data in a message.
        kind: what is split, "node" or "edge".
        count: how many there are; None: the nodes.

    Raises:
        DataError: there is none, or it is wrong.
    """
    nodes = int(graph.num_nodes or 0) if count is None else count

    def items(what: str) -> Items:
        return Items(kind, nodes, seed, f"{where}: {what}", DataError)

    if any(graph.get(key) is not None for key in MASKS):
        return _by_masks(graph, seed, where, kind, nodes)
    indices = {key: _plain(graph[key]) for key in INDICES if graph.get(key) is not None}
    if indices:
        return items("the split").by_part(indices)
    split = _plain(graph.get("split"))
    if isinstance(split, Mapping):
        return items("split").by_part({key: _plain(value) for key, value in split.items()})
    if isinstance(split, (list, tuple, np.ndarray)):
        return items("split").by_label(split)
    if split is not None:
        raise DataError(f"{where}: split is {str(split)[:40]!r}: give each node a part, or list the nodes of each part")
    raise DataError(f"{where}: there is no {MASKS[0]}: add all of {', '.join(MASKS)}, or choose --split stratified")


def pick_masks(graph: Data, seed: int, where: str) -> int:
    """Of masks [N, S], one column for each of several splits, keep column `seed`.

    Returns:
        How many splits there are; 0 where the masks are vectors.

    Raises:
        UsageError: there is no such split.
    """
    most = 0
    for key in MASKS:
        masks = graph.get(key)
        if not isinstance(masks, Tensor) or masks.dim() != 2:
            continue
        most = max(most, masks.shape[1])
        column = 0 if masks.shape[1] == 1 else seed  # WikiCS: one test set for all of its splits
        if column >= masks.shape[1]:
            raise UsageError(f"{where} has {masks.shape[1]} splits: --split-seed 0 to {masks.shape[1] - 1}")
        graph[key] = masks[:, column].bool()
    return most


def _by_masks(graph: Data, seed: int, where: str, kind: str, count: int) -> dict[str, Tensor]:
    splits = pick_masks(graph, seed, where)
    if splits > 1:
        note(f"{where}: the masks have {splits} columns, one for each split: column {seed} is used (--split-seed)")
    masks = {key: graph[key] for key in MASKS if graph.get(key) is not None}
    if not {"train_mask", "test_mask"} <= set(masks):
        missing = next(key for key in MASKS if key not in masks)
        raise DataError(f"{where}: there is no {missing}: add all of {', '.join(MASKS)}, or choose --split stratified")
    for key, mask in masks.items():
        if not isinstance(mask, Tensor) or mask.dim() != 1 or mask.numel() != count:
            shape = list(mask.shape) if isinstance(mask, Tensor) else type(mask).__name__
            raise DataError(f"{where}: {key} has shape {shape}, it must be [{count}]: a bool for each {kind}")
    plain = {key: mask.bool().numpy() for key, mask in masks.items()}
    return Items(kind, count, seed, where, DataError).by_part(plain)


def _plain(value: Any) -> Any:
    """A tensor as a vector of numpy."""
    return value.detach().reshape(-1).numpy() if isinstance(value, Tensor) else value


def _one(value: Any) -> Any:
    """The part of one graph: a word or a number, also in a tensor or a list of its own."""
    if isinstance(value, Tensor) and value.numel() == 1:
        return value.item()
    return value[0] if isinstance(value, (list, tuple)) and len(value) == 1 else value
