"""Labels of graph tasks with several labels or values a graph, and how they are told apart."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch_geometric.data import Data

from edgegnn.errors import DataError, UsageError
from edgegnn.runtime.metrics import undefined
from edgegnn.signature.names import OWN_LABELS
from edgegnn.tasks.graph_checks import one_hot_graphs

__all__ = ["check_known", "check_selects", "label_graphs", "label_table", "row_table", "scale_of", "target_of"]

_BY_NAME = "say --task graph-regression, or number the classes from 0"


def target_of(graphs: Sequence[Data], where: str) -> str:
    """What the labels y of graphs are: "classes", "labels" or "values".

    One whole number a graph is a class, and so is a single one among zeros in every graph; numbers with a fraction are
    values; several zeros and ones (NaN: not known) are labels.

    Raises:
        DataError: several whole numbers a graph, which could be anything.
    """
    found = [g.y.reshape(-1).double() for g in graphs if isinstance(g.get("y"), Tensor) and not g.y.is_complex()]
    several = any(y.numel() > 1 for y in found)
    of_nodes = all(y.numel() == g.num_nodes and g.y.dim() == 1 for y, g in zip(found, graphs, strict=False))
    if several and (of_nodes or len({y.numel() for y in found}) > 1):
        return "classes"  # what is wrong is said where classes are read
    values = torch.cat(found) if found else torch.zeros(0)
    known = values[torch.isfinite(values)]
    if not torch.equal(known, known.round()):
        return "values"
    if not several or one_hot_graphs(graphs):
        return "classes"
    if bool(((known == 0) | (known == 1)).all()):
        return "labels"
    raise DataError(f"{where}: several whole numbers are given for each graph ({_some(known)}): {_BY_NAME}")


def label_graphs(graphs: Sequence[Data], name: str, where: str) -> None:
    """Give graphs, in place, the labels that an attribute of theirs holds.

    Raises:
        UsageError: a graph doesn't have it.
    """
    if name == "y":
        for graph in graphs:
            if OWN_LABELS in graph:  # another attribute has taken its place
                graph.y = graph[OWN_LABELS]
        return
    for i, graph in enumerate(graphs):
        if not isinstance(graph.get(name), Tensor):
            known = ", ".join(key for key, value in graph.to_dict().items() if isinstance(value, Tensor))
            raise UsageError(f"--target: graph {i} of {where} has no attribute {name} (it has {known})")
        if "y" in graph and OWN_LABELS not in graph:
            graph[OWN_LABELS] = graph.y
        graph.y = graph[name]


def label_table(graphs: Sequence[Data], target: str, where: str) -> Tensor:
    """Return labels or values [G, C] float32 of graphs whose y is [C] or [1, C].

    Args:
        graphs: the graphs.
        target: "labels" (0, 1, or NaN: not known) or "values".
        where: what to call the data in a message.

    Raises:
        DataError: what is missing, not finite, no label, or the same for all graphs.
    """
    rows = []
    for i, graph in enumerate(graphs):
        y = graph.get("y")
        if not isinstance(y, Tensor) or y.numel() == 0 or y.is_complex():
            raise DataError(f"{where}: graph {i} has no {target}: set y to [1, C] numbers")
        rows.append(y.detach().reshape(1, -1).to(torch.float32))
        if rows[i].numel() != rows[0].numel():
            raise DataError(
                f"{where}: graph {i} has {rows[i].numel()} {target}, graph 0 has {rows[0].numel()}: give all the same"
            )
    table = torch.cat(rows)
    if target == "values":
        wrong = (~torch.isfinite(table)).nonzero()
        if len(wrong):
            graph, column = wrong[0].tolist()
            name = f"graph {graph}" + (f", column {column}" if table.shape[1] > 1 else "")
            raise DataError(f"{where}: {name}: the target is {float(table[graph, column]):g}: leave such graphs out")
        same = (table == table[:1]).all(dim=0).nonzero()
        if len(same):
            raise DataError(f"{where}: every graph has the same target in column {int(same[0])}: nothing to learn")
        return table
    known = ~table.isnan()
    wrong = (known & (table != 0) & (table != 1)).nonzero()
    if len(wrong):
        graph, column = wrong[0].tolist()
        raise DataError(
            f"{where}: graph {graph}: label {float(table[graph, column]):g} in column {column} is neither 0 nor 1 "
            "(NaN: not known): for other numbers say --task graph-regression"
        )
    return table


def row_table(y: Any, target: str, used: Tensor | None, where: str, kind: str, count: int) -> Tensor:
    """Return labels or values [count, C] float32 of the nodes or edges of one graph.

    Args:
        y: [count] or [count, C].
        target: "labels" (0, 1, or NaN: not known) or "values".
        used: rows in a split; the values of others may be anything. None: all.
        where: what to call the data in a message.
        kind: "node" or "edge".
        count: how many there are.

    Raises:
        DataError: another number of them, values that are not finite, or labels that are neither 0 nor 1.
    """
    if not isinstance(y, Tensor) or y.dim() == 0 or len(y) != count or y.is_complex():
        shape = list(y.shape) if isinstance(y, Tensor) else "nothing"
        raise DataError(f"{where}: y has {shape}, {target} of {kind}s need a row for each of the {count} {kind}s")
    table = y.detach().reshape(count, -1).to(torch.float32)
    counted = torch.zeros(count, dtype=torch.bool)
    counted[torch.arange(count) if used is None else used] = True
    wrong = ~torch.isfinite(table) if target == "values" else ~table.isnan() & (table != 0) & (table != 1)
    rows = (wrong.any(dim=1) & counted).nonzero().view(-1)
    if len(rows):
        column = int(wrong[rows[0]].nonzero()[0])
        value = f"{float(table[rows[0], column]):g}"
        cure = (
            "leave it out of the split" if target == "values" else f"labels are 0, 1 or NaN (--task {kind}-regression)"
        )
        raise DataError(f"{where}: {kind} {int(rows[0])}: column {column} of y is {value}: {cure}")
    unknown = 0.0 if target == "values" else float("nan")
    return table.where(~wrong, unknown)


def check_known(table: Tensor, index: dict[str, Tensor], target: str, where: str) -> None:
    """Raise a DataError for a column of labels of which none, or none in the training split, is known."""
    if target != "labels":
        return
    for rows, place in ((table, ""), (table[index["train"]], " in the training split")):
        empty = rows.isnan().all(dim=0).nonzero()
        if len(empty):
            raise DataError(f"{where}: label column {int(empty[0])} is empty{place}: leave it out")


def check_selects(metric: str, labels: Tensor, index: dict[str, Tensor], where: str) -> None:
    """Raise a DataError when the metric isn't defined on the validation split, which every training reports."""
    reason = undefined(metric, labels[index["val"]].numpy())
    if reason:
        raise DataError(f"{where}: in the validation split, {reason}: choose another split, seed or metric")


def scale_of(table: Tensor, train: Tensor, where: str) -> dict[str, Any]:
    """Mean and standard deviation of each value [C] over the training graphs, in float64.

    Raises:
        DataError: all training graphs have the same value.
    """
    values: np.ndarray = table[train].double().numpy()
    deviation = values.std(axis=0)
    if not (deviation > 0).all():
        column = int((deviation <= 0).argmax())
        raise DataError(f"{where}: all training graphs have the same target in column {column}: choose another split")
    return {"mean": values.mean(axis=0).tolist(), "std": deviation.tolist()}


def _some(values: Tensor) -> str:
    return ", ".join(f"{v:g}" for v in values[:3].tolist()) + ", ..."
