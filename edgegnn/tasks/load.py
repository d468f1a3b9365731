"""Load a task by the name of its data set or from a user's file, split it, and restore it later."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch_geometric.data import Data

from edgegnn.errors import DataError, UsageError
from edgegnn.tasks import datasets, digits, splits
from edgegnn.tasks.spec import Task, TaskSpec

__all__ = ["load_task", "names", "restore_task", "task_from_graphs"]

_CITATION = ("cora", "citeseer", "pubmed")
_ALIASES = {"proteins": "tu:PROTEINS", "reddit-binary": "tu:REDDIT-BINARY", "bbbp": "molnet:BBBP"}
_FILE_ENDINGS = (".pt", ".pth")


def names() -> list[str]:
    """Return the names of the data sets, and the forms of those known by prefix."""
    return [*_CITATION, *_ALIASES, "digits", "digits-knn", "tu:NAME", "molnet:NAME"]


def load_task(data: str, *, split: str | None = None, seed: int = 0, root: Path | None = None) -> Task:
    """Load a data set and split it.

    Args:
        data: a name (see `names`), or the path of a .pt file with a PyG `Data` or a list of them.
        split: "public", "full", "stratified", "scaffold", "random", "fold:K" or "given"; None: the data set's own.
        seed: of the split; fixed splits ignore it.
        root: folder with raw files. None: the environment's EDGEGNN_DATA, else the user's cache folder.

    Raises:
        UsageError: unknown data set or split.
        DataError: data that can't be loaded or used.
    """
    return _load(data, split, seed, root, None)


def restore_task(spec: TaskSpec, root: Path | None = None) -> Task:
    """Load the task of a checkpoint again: same data, same split, same feature constants.

    Raises:
        DataError: the data are gone, or are not those the spec describes.
    """
    task = _load(spec.data, spec.split, spec.seed, root, spec.features)
    for key in ("kind", "num_features", "num_classes"):
        if getattr(task.spec, key) != getattr(spec, key):
            raise DataError(
                f"{spec.data} has changed since the model was trained: {key} was {getattr(spec, key)}, is "
                f"{getattr(task.spec, key)}; bring the old data back or train again"
            )
    return dataclasses.replace(task, spec=spec)


def task_from_graphs(graphs: Data | Sequence[Data], *, data: str, split: str | None = None, seed: int = 0) -> Task:
    """Make a task of graphs in memory.

    One graph with a label per node is a node task; graphs with one label each are a graph task. Masks train_mask,
    val_mask and test_mask [N] bool of a single graph are its split ("given").

    Args:
        graphs: a `Data` or a list of them.
        data: what to call the data in the spec: the path they came from.
        split: "given", "stratified", "random" or "fold:K". None: "given" where there are masks, else "stratified".
        seed: of the split.

    Raises:
        UsageError: unknown split.
        DataError: graphs that no model can use.
    """
    return _from_graphs(graphs, data, split, seed, None)


def _load(data: str, split: str | None, seed: int, root: Path | None, features: dict[str, Any] | None) -> Task:
    if data.endswith(_FILE_ENDINGS) or (data not in names() and ":" not in data and Path(data).is_file()):
        from edgegnn.tasks.files import read_graphs

        return _from_graphs(read_graphs(Path(data)), data, split, seed, features)
    name = _ALIASES.get(data.lower(), data.lower() if ":" not in data else data)
    prefix, _, rest = name.partition(":")
    if name in _CITATION:
        graph = datasets.planetoid(name, root)[0]
        return _node_task(graph, data.lower(), split or "public", seed)
    if name == "digits-knn":
        return _node_task(digits.knn_graph(), name, split or "stratified", seed)
    if name == "digits":
        return _graph_task(digits.digit_graphs(), name, split or "stratified", seed, features)
    if prefix.lower() == "tu" and rest:
        return _graph_task(datasets.tu(rest, root), _spelled(data), split or "stratified", seed, features)
    if prefix.lower() == "molnet" and rest:
        graphs = datasets.molecules(rest.lower(), root)
        return _graph_task(graphs, _spelled(data), split or "scaffold", seed, features, metric="roc_auc")
    close = difflib.get_close_matches(data.lower(), names(), 1)
    hint = f" (did you mean {close[0]}?)" if close else ""
    raise UsageError(f"unknown data set {data!r}{hint}: choose one of {', '.join(names())}, or pass --data FILE.pt")


def _spelled(data: str) -> str:
    """Return the one spelling a data set has in specs."""
    return data if ":" in data else data.lower()


def _from_graphs(
    graphs: Data | Sequence[Data], data: str, split: str | None, seed: int, features: dict[str, Any] | None
) -> Task:
    graphs = [graphs] if isinstance(graphs, Data) else list(graphs)
    if len(graphs) == 1 and graphs[0].y is not None and graphs[0].y.numel() == graphs[0].num_nodes:
        given = graphs[0].get("train_mask") is not None
        return _node_task(graphs[0], data, split or ("given" if given else "stratified"), seed)
    return _graph_task(graphs, data, split or "stratified", seed, features)


def _node_task(graph: Data, data: str, split: str, seed: int) -> Task:
    labels = graph.y.numpy()
    if split in ("public", "given"):
        index = {s: graph[f"{s}_mask"].nonzero().view(-1) for s in ("train", "val", "test")}
    elif split == "full":
        index = splits.random(len(labels), seed, 500, 500)
    elif split == "random":
        index = splits.random(len(labels), seed)
    else:
        index = _by_label(labels, split, seed)
    classes = int(graph.y.max()) + 1
    spec = TaskSpec(data, "node", split, seed, "accuracy", graph.num_features, classes, {})
    return Task(spec, [graph], index)


def _graph_task(
    graphs: list[Data], data: str, split: str, seed: int, features: dict[str, Any] | None, metric: str = "accuracy"
) -> Task:
    for graph in graphs:
        graph.y = graph.y.view(-1)[:1].long()
        for key in ("x", "edge_attr"):
            if graph.get(key) is not None:
                graph[key] = graph[key].float()
    labels = np.array([int(g.y) for g in graphs])
    if split == "scaffold":
        from edgegnn.tasks.scaffold import scaffold

        index = scaffold([g.smiles for g in graphs])
    elif split == "random":
        index = splits.random(len(labels), seed)
    else:
        index = _by_label(labels, split, seed)
    features = _add_degree(graphs, index["train"], features or None) if graphs[0].x is None else {}
    spec = TaskSpec(data, "graph", split, seed, metric, graphs[0].num_features, int(labels.max()) + 1, features)
    return Task(spec, graphs, index)


def _by_label(labels: np.ndarray, split: str, seed: int) -> dict[str, Tensor]:
    if split == "stratified":
        return splits.stratified(labels, seed)
    kind, _, k = split.partition(":")
    if kind == "fold" and k.isdigit():
        return splits.fold(labels, int(k))
    raise UsageError(f"unknown split {split!r}: choose public, full, stratified, scaffold, random or fold:0 to fold:9")


def _add_degree(graphs: list[Data], train: Tensor, constants: dict[str, Any] | None) -> dict[str, Any]:
    """Give graphs without features the z-score of the in-degree as x [N, 1]; mean and deviation of training nodes."""
    degrees = [torch.bincount(g.edge_index[1], minlength=int(g.num_nodes)).float() for g in graphs]
    if constants is None:
        of_train = torch.cat([degrees[i] for i in train.tolist()]).double()
        deviation = float(of_train.std(correction=0))
        constants = {"kind": "degree", "mean": float(of_train.mean()), "std": deviation or 1.0}
    for graph, degree in zip(graphs, degrees, strict=True):
        graph.x = ((degree - constants["mean"]) / constants["std"]).view(-1, 1)
    return constants
