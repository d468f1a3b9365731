"""Data without labels, or whose labels are not looked at: models are exported, calibrated and compared on them.

Nothing is trained, so nothing is held out: each part of the split has all rows of the one graph, or all of a few
graphs. Of many graphs a split is drawn all the same: calibration then sees other graphs than the comparison with
PyTorch.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor
from torch_geometric.data import Data

from edgegnn.errors import UsageError
from edgegnn.runtime.roles import LEVELS
from edgegnn.signature import TypedGraph, number_of, roles_of, with_told
from edgegnn.tasks import given, graph_checks, splits
from edgegnn.tasks.spec import Task, TaskSpec
from edgegnn.tasks.split_file import FROM_FILE, read_split
from edgegnn.tasks.transforms import columns_of, transform

__all__ = ["unlabelled_task", "with_level"]

_FEW = 10  # graphs, of which no part is held out


def unlabelled_task(graphs: Sequence[Data], data: str, asked: TaskSpec, *, one_hot: bool = False) -> Task:
    """The task of graphs without labels.

    Args:
        graphs: the graphs; labels that they have are left alone.
        data: what to call the data.
        asked: kind ("" where the model's outputs are not known yet), split ("" for the usual one), seed, the constants
            of a feature transform, and what the user said of inputs.
        one_hot: the features are categories.

    Raises:
        UsageError: a split that these data can't have.
        DataError: graphs that no model can use.
    """
    own = [_without_labels(graph) for graph in graphs]
    whole = graph_checks.usable(own, data)
    kind = asked.kind or ("graph" if len(own) > 1 else "node")
    index, split = _split(own, data, asked)
    typed = isinstance(own[0], TypedGraph)
    train = index["train"] if len(own) > 1 else None
    constants = {} if typed else transform(own, train, asked.features or None, one_hot=one_hot, where=data)
    roles = roles_of(own, {} if typed else with_told(own, asked.inputs, data))
    spec = dataclasses.replace(
        asked,
        data=data,
        kind=kind,
        split=split,
        metric="",
        num_features=0 if own[0].get("x") is None else columns_of(own[0].x),
        num_classes=0,
        features=constants,
        target="none",
    )
    kept = tuple(name for name in whole if name != "x" or not constants)
    return with_level(Task(spec, own, index, whole=kept, roles=roles), kind)


def with_level(task: Task, kind: str, of: str = "") -> Task:
    """The task whose answers are of nodes, edges, graphs or pairs ("link"); `of`, of one type of nodes or edges."""
    changed = dataclasses.replace(task, spec=dataclasses.replace(task.spec, kind=kind, of=of))
    if len(task.graphs) > 1:
        return changed
    graph = task.graphs[0]
    if isinstance(graph, TypedGraph):
        count = graph.rows(changed.spec.rows)
    else:
        pairs = graph.get("edge_label_index")
        count = pairs.shape[1] if kind == "link" and isinstance(pairs, Tensor) else number_of(graph, LEVELS[kind])
    every = torch.arange(count)
    return dataclasses.replace(changed, index={"train": every, "val": every, "test": every})


def _without_labels(graph: Data) -> Data:
    graph = graph.clone()
    if "y" in graph:
        del graph.y
    return graph


def _split(graphs: Sequence[Data], data: str, asked: TaskSpec) -> tuple[dict[str, Tensor], str]:
    count, split = len(graphs), asked.split or "random"
    if split.startswith(FROM_FILE) and count > 1:
        return read_split(str(Path(split.removeprefix(FROM_FILE))), "graph", count, asked.seed), split
    if split == "given" and count > 1:
        return given.graph_split(graphs, asked.seed, data), split
    if split != "random":
        raise UsageError(f"data without labels have no {split} split: leave --split out, or say --split random")
    if count < _FEW:
        every = torch.arange(count)
        return {"train": every, "val": every, "test": every}, split
    return splits.random(count, asked.seed), split
