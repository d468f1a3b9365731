"""Load a task by the name of its data set or from a user's file, split it, and restore it later."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch_geometric.data import Data

from edgegnn.errors import DataError, UsageError
from edgegnn.tasks import check, datasets, digits, splits
from edgegnn.tasks.files import read_graphs
from edgegnn.tasks.scaffold import scaffold
from edgegnn.tasks.spec import Task, TaskSpec

__all__ = ["load_task", "names", "restore_task", "task_from_graphs"]

_ALIASES = {"proteins": "tu:PROTEINS", "reddit-binary": "tu:REDDIT-BINARY", "bbbp": "molnet:BBBP"}
_FILE_ENDINGS = (".pt", ".pth")


def names() -> list[str]:
    """Return the names of the data sets, and the forms of those known by prefix."""
    return [*datasets.CITATION, *_ALIASES, "digits", "digits-knn", "tu:NAME", "molnet:NAME"]


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
    if seed < 0:
        raise UsageError(f"a seed must be 0 or more, not {seed}")
    return _from_graphs(check.as_graphs(graphs, data), data, split, seed, None)


def _load(data: str, split: str | None, seed: int, root: Path | None, features: dict[str, Any] | None) -> Task:
    if seed < 0:
        raise UsageError(f"a seed must be 0 or more, not {seed}")
    if _is_file(data):
        return _from_graphs(read_graphs(Path(data)), data, split, seed, features)
    prefix, _, rest = _ALIASES.get(data.lower(), data).partition(":")
    prefix = prefix.lower()
    if prefix in datasets.CITATION and not rest:
        return _node_task(datasets.planetoid(prefix, root)[0], prefix, split or "public", seed)
    if prefix == "digits-knn":
        return _node_task(digits.knn_graph(), prefix, split or "stratified", seed)
    if prefix == "digits":
        return _graph_task(digits.digit_graphs(), prefix, split or "stratified", seed)
    name = data if ":" in data else data.lower()
    if prefix == "tu" and rest:
        return _graph_task(datasets.tu(rest, root), name, split or "stratified", seed, features)
    if prefix == "molnet" and rest:
        graphs = datasets.molecules(rest.lower(), root)
        return _graph_task(graphs, name, split or "scaffold", seed, features, metric="roc_auc")
    if "/" in data or "\\" in data:
        raise DataError(f"there is no data file {data}: check the path")
    close = difflib.get_close_matches(data.lower(), names(), 1)
    hint = f" (did you mean {close[0]}?)" if close else ""
    raise UsageError(f"unknown data set {data!r}{hint}: choose one of {', '.join(names())}, or pass --data FILE.pt")


def _is_file(data: str) -> bool:
    """Whether a task's data is the path of a user's file rather than a name."""
    known = data.lower() in names() or data.lower().startswith(("tu:", "molnet:"))
    return not known and (data.endswith(_FILE_ENDINGS) or Path(data).is_file())


def _from_graphs(graphs: list[Data], data: str, split: str | None, seed: int, features: dict[str, Any] | None) -> Task:
    first = graphs[0]
    if len(graphs) > 1 or first.get("y") is None or first.y.numel() == 1:
        return _graph_task(graphs, data, split or "stratified", seed, features)
    masked = any(first.get(key) is not None for key in check.MASKS)
    return _node_task(first, data, split or ("given" if masked else "stratified"), seed, features)


def _node_task(graph: Data, data: str, split: str, seed: int, features: dict[str, Any] | None = None) -> Task:
    check.usable([graph], data)
    if split == "given" or (split == "public" and data in datasets.CITATION):
        index = check.given_split(graph, data)
        check.check_split(index, data)
        labels = check.node_labels(graph, torch.cat(list(index.values())), data)
    else:
        labels = check.node_labels(graph, None, data)
        if split == "full" and data in datasets.CITATION:
            index = splits.random(len(labels), seed, 500, 500)
        else:
            index = _by_labels(labels, split, seed)
    graph.y = labels
    return _task([graph], data, "node", split, seed, "accuracy", index, labels, features)


def _graph_task(
    graphs: list[Data],
    data: str,
    split: str,
    seed: int,
    features: dict[str, Any] | None = None,
    metric: str = "accuracy",
) -> Task:
    check.usable(graphs, data)
    labels = check.graph_labels(graphs, data)
    for graph, label in zip(graphs, labels, strict=True):
        graph.y = label.view(1)
    if split == "scaffold":
        if any(graph.get("smiles") is None for graph in graphs):
            raise UsageError(
                f"a scaffold split needs molecules with smiles, {data} has none: choose --split stratified"
            )
        index = scaffold([graph.smiles for graph in graphs])
    else:
        index = _by_labels(labels, split, seed)
    return _task(graphs, data, "graph", split, seed, metric, index, labels, features)


def _task(
    graphs: list[Data],
    data: str,
    kind: str,
    split: str,
    seed: int,
    metric: str,
    index: dict[str, Tensor],
    labels: Tensor,
    features: dict[str, Any] | None,
) -> Task:
    check.check_split(index, data)
    constants: dict[str, Any] = {}
    if graphs[0].get("x") is None:
        constants = _add_degree(graphs, None if kind == "node" else index["train"], features or None)
    classes = int(labels.max()) + 1
    return Task(TaskSpec(data, kind, split, seed, metric, graphs[0].x.size(1), classes, constants), graphs, index)


def _by_labels(labels: Tensor, split: str, seed: int) -> dict[str, Tensor]:
    if split == "stratified":
        return splits.stratified(labels.numpy(), seed)
    if split == "random":
        return splits.random(len(labels), seed)
    kind, _, k = split.partition(":")
    if kind == "fold" and k.isdecimal():
        return splits.fold(labels.numpy(), int(k))
    if split in ("public", "full", "scaffold", "given"):
        raise UsageError(f"these data have no {split} split: choose stratified, random or fold:0 to fold:9")
    raise UsageError(f"unknown split {split!r}: choose public, full, stratified, scaffold, random or fold:0 to fold:9")


def _add_degree(graphs: list[Data], train: Tensor | None, constants: dict[str, Any] | None) -> dict[str, Any]:
    """Give graphs without features the z-score of the in-degree as x [N, 1].

    The mean and deviation are over the nodes of training graphs (`train` None: of all graphs), or those of a spec.
    """
    degrees = [torch.bincount(g.edge_index[1], minlength=g.num_nodes).double() for g in graphs]
    if constants is None:
        ids = range(len(graphs)) if train is None else train.tolist()
        of_train = torch.cat([degrees[i] for i in ids])
        deviation = float(of_train.std(correction=0))
        constants = {"kind": "degree", "mean": float(of_train.mean()), "std": deviation or 1.0}
    for graph, degree in zip(graphs, degrees, strict=True):
        graph.x = ((degree - constants["mean"]) / constants["std"]).float().view(-1, 1)
    return constants
