"""From graphs, a table of labels and a split to a task: what every kind of task does alike."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor
from torch_geometric.data import Data

from edgegnn.errors import UsageError
from edgegnn.runtime.metrics import TARGETS
from edgegnn.runtime.roles import type_name
from edgegnn.signature import TypedGraph, roles_of, with_told
from edgegnn.tasks import given, graph_checks, labels, splits
from edgegnn.tasks.notes import note
from edgegnn.tasks.spec import Task, TaskSpec
from edgegnn.tasks.split_file import FROM_FILE, read_split
from edgegnn.tasks.transforms import columns_of, transform
from edgegnn.tasks.wanted import Wanted

__all__ = [
    "assemble",
    "check_kind",
    "draw",
    "draw_labelled",
    "given_graphs",
    "labelled_only",
    "transformed",
    "untouched",
]


def check_kind(wanted: Wanted, kind: str, data: str) -> None:
    """Raise a UsageError where another kind of task was asked for than the data are for."""
    if wanted.kind not in (None, kind):
        raise UsageError(f"{data} is for {kind} tasks, not for {wanted.kind} tasks: leave --task out")


def assemble(
    graphs: list[Data],
    data: str,
    kind: str,
    wanted: Wanted,
    index: dict[str, Tensor],
    table: Tensor,
    whole: tuple[str, ...],
    rows: dict[str, Tensor] | None = None,
) -> Task:
    """Make a task of checked graphs.

    Args:
        graphs: with their labels as `y`.
        data: what to call the data.
        kind: "node", "edge" or "graph".
        wanted: what was asked for; split and target are decided.
        index: the split.
        table: labels of all that `rows` numbers.
        whole: names of the features that were whole numbers.
        rows: rows of `table` that belong to each part; None: as `index` says.

    Raises:
        UsageError: a metric that doesn't suit the labels.
        DataError: a part of the split that has nothing to learn, or nothing to be judged by.
    """
    target, split = wanted.target or "classes", wanted.split or ""
    metric = wanted.metric or TARGETS[target][0]
    if metric not in TARGETS[target]:
        raise UsageError(f"{metric} is no metric for {target}: choose {' or '.join(TARGETS[target])}")
    graph_checks.check_split(index, data)
    train = index["train"] if len(graphs) > 1 else None
    rows = index if rows is None else rows
    typed = isinstance(graphs[0], TypedGraph)
    constants = {} if typed else transformed(graphs, train, wanted, data, whole)
    columns = int(table.max()) + 1 if target == "classes" else table.shape[1]
    if metric == "roc_auc" and columns != 2:
        raise UsageError(f"roc_auc needs two classes, {data} has {columns}: use accuracy")
    labels.check_known(table, rows, target, data)
    labels.check_selects(metric, table, rows, data)
    scale = labels.scale_of(table, rows["train"], data) if target == "values" else {}
    own = graphs[0].get(f"x.{type_name(wanted.of)}") if typed else graphs[0].x
    features = 0 if own is None else columns_of(own)
    roles = roles_of(graphs, {} if typed else with_told(graphs, wanted.inputs, data))
    inputs, of = wanted.inputs, wanted.of
    spec = TaskSpec(data, kind, split, wanted.seed, metric, features, columns, constants, target, scale, inputs, of)
    return Task(spec, graphs, index, whole=untouched(whole, constants), roles=roles)


def transformed(
    graphs: list[Data], train: Tensor | None, wanted: Wanted, data: str, whole: tuple[str, ...]
) -> dict[str, Any]:
    """Prepare x of all graphs, in place, as asked for; return the constants of what was done."""
    known = wanted.features or None
    return transform(graphs, train, known, one_hot=wanted.one_hot, where=data, rows=wanted.rows, whole="x" in whole)


def untouched(whole: tuple[str, ...], constants: dict[str, Any]) -> tuple[str, ...]:
    """The whole-numbered features that no transform of x has replaced."""
    return tuple(name for name in whole if name != "x" or not constants)


def draw_labelled(classes: Tensor, split: str, seed: int, what: str) -> dict[str, Tensor]:
    """Draw a split of the items whose class is known; `what` names them in a message, with a place for their number."""
    known = (classes >= 0).nonzero().view(-1)
    if len(known) < len(classes):
        note(f"{what.format(len(classes) - len(known))} have no label (-1): they are in no part of the split")
    return {part: known[ids] for part, ids in draw(classes[known], split, seed).items()}


def labelled_only(index: dict[str, Tensor], classes: Tensor, what: str) -> dict[str, Tensor]:
    """A split without the items whose class is not known."""
    without = sum(int((classes[ids] < 0).sum()) for ids in index.values())
    if without:
        note(f"{what.format(without)} of the split have no label (-1): left out")
    return {part: ids[classes[ids] >= 0] for part, ids in index.items()}


def given_graphs(graphs: Sequence[Data], split: str, seed: int, data: str) -> dict[str, Tensor] | None:
    """The split that the user gives for whole graphs, in their attribute ("given") or in a file; None for another."""
    if split == "given":
        return given.graph_split(graphs, seed, data)
    if split.startswith(FROM_FILE):
        return read_split(split.removeprefix(FROM_FILE), "graph", len(graphs), seed)
    return None


def draw(classes: Tensor | int, split: str, seed: int) -> dict[str, Tensor]:
    """Draw a split of items by their classes, or of a number of items that have none."""
    count = classes if isinstance(classes, int) else len(classes)
    if split == "stratified" and not isinstance(classes, int):
        return splits.stratified(classes.numpy(), seed)
    if split == "random":
        return splits.random(count, seed)
    kind, _, k = split.partition(":")
    if kind == "fold" and k.isdecimal():
        return splits.fold(count if isinstance(classes, int) else classes.numpy(), int(k))
    if split in ("public", "full", "scaffold", "given", "stratified"):
        others = "random" if isinstance(classes, int) else "stratified, random"
        raise UsageError(f"these data have no {split} split: choose {others} or fold:0 to fold:9")
    raise UsageError(f"unknown split {split!r}: choose public, full, stratified, scaffold, random or fold:0 to fold:9")
