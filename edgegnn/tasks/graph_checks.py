"""Look at graphs before a model does, and say in one line what is wrong with them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch_geometric.data import Data

from edgegnn.errors import DataError
from edgegnn.tasks.given import INDICES, MASKS
from edgegnn.tasks.notes import note

__all__ = ["as_graphs", "check_graph", "check_split", "graph_labels", "node_labels", "usable"]

_FEATURES = ("x", "edge_attr", "edge_weight")
_EXACT = 2**24  # float32 has every whole number up to here
_KEPT = ("x", "edge_index", "edge_attr", "edge_weight", "y", "smiles", "dq_prob", "split", *MASKS, *INDICES)
_ANY_TYPE = ("smiles", "split", *INDICES)


def as_graphs(content: Any, where: str) -> list[Data]:
    """Return the graphs of what a file or caller gave: a `Data`, a dict of tensors, or a list of these.

    Every graph is a new `Data` with the attributes that edgegnn knows; the tensors are shared.

    Args:
        content: what was given.
        where: what to call it in a message.

    Raises:
        DataError: something else, or an empty list.
    """
    items = [content] if isinstance(content, (Data, dict)) else content
    if not isinstance(items, (list, tuple)):
        raise DataError(f"{where} holds a {type(content).__name__}: save one PyG Data, or a list of them")
    if not items:
        raise DataError(f"{where} holds an empty list: save at least one graph")
    graphs = []
    for i, item in enumerate(items):
        if not isinstance(item, (Data, dict)):
            raise DataError(f"{where}: item {i} is a {type(item).__name__}: save PyG Data objects, or dicts of tensors")
        values = item.to_dict() if isinstance(item, Data) else item
        kept = {k: values[k] for k in _KEPT if values.get(k) is not None}
        strange = [k for k, v in kept.items() if k not in _ANY_TYPE and not isinstance(v, (Tensor, int, float))]
        if strange:
            raise DataError(f"{where}: graph {i}: {strange[0]} is no tensor: convert it with torch.as_tensor")
        graph = Data(**kept)
        if "y" in kept and not isinstance(kept["y"], Tensor):
            graph.y = torch.tensor([kept["y"]])
        nodes = values.get("num_nodes")
        if isinstance(nodes, int) and "x" not in kept:
            graph.num_nodes = nodes
        graphs.append(graph)
    return graphs


def usable(graphs: Sequence[Data], where: str) -> tuple[str, ...]:
    """Check every graph, and bring its features to float32 and its edges to int64, in place.

    Returns:
        The names of the features that were whole numbers in every graph.

    Raises:
        DataError: the first thing found that no model can use, with the graph's number and the cure.
    """
    types = {
        key: {g[key].dtype for g in graphs if isinstance(g.get(key), Tensor)} for key in (*_FEATURES, "edge_index")
    }
    for i, graph in enumerate(graphs):
        check_graph(graph, f"{where}: graph {i}" if len(graphs) > 1 else where)
    for key, cure in (
        ("x", "give all graphs the same features"),
        ("edge_attr", "give all graphs the same edge features"),
    ):
        shapes = [None if g.get(key) is None else tuple(g[key].shape[1:]) for g in graphs]
        for i, shape in enumerate(shapes):
            if shape != shapes[0]:
                raise DataError(
                    f"{where}: graph {i}: {key} has {_columns(shape)}, graph 0 has {_columns(shapes[0])}: {cure}"
                )
    if all(g.edge_index.size(1) == 0 for g in graphs):
        raise DataError(f"{where}: the edge index is empty: a graph network needs edges")
    _say_converted(types, where)
    return tuple(key for key in _FEATURES if types[key] and all(map(_is_whole, types[key])))


def _say_converted(types: Mapping[str, Iterable[torch.dtype]], where: str) -> None:
    for key, found in types.items():
        for dtype in found:
            if key == "edge_index" and dtype != torch.int64:
                note(f"{where}: edge_index is {_name(dtype)}: read as int64")
            elif _is_whole(dtype) and dtype != torch.int64:
                note(f"{where}: {key} is {_name(dtype)}: read as float32, or as int64 if the model looks up rows by it")
            elif not _is_whole(dtype) and dtype != torch.float32:
                note(f"{where}: {key} is {_name(dtype)}: read as float32")


def check_graph(graph: Data, where: str) -> None:
    """Check one graph; bring its features to float32 and its edges to int64, in place.

    Raises:
        DataError: what is wrong and how to cure it.
    """
    edges = graph.get("edge_index")
    if not isinstance(edges, Tensor) or edges.layout != torch.strided:
        raise DataError(f"{where}: there is no edge_index: add it as an int64 tensor of shape [2, E]")
    if edges.dim() != 2 or edges.size(0) != 2:
        cure = ": transpose it with .t().contiguous()" if edges.dim() == 2 and edges.size(1) == 2 else ""
        raise DataError(f"{where}: edge_index has shape {list(edges.shape)}, it must be [2, E]{cure}")
    if not _is_whole(edges.dtype) or edges.dtype == torch.bool:
        raise DataError(f"{where}: edge_index is {_name(edges.dtype)}, it must be int64: convert it with .long()")
    graph.edge_index = edges = edges.long()
    if graph.get("x") is not None:
        _check_features(graph, "x", where)
    nodes = _num_nodes(graph)
    if nodes == 0:
        raise DataError(f"{where}: the graph has no nodes: leave it out")
    if edges.numel() and (int(edges.min()) < 0 or int(edges.max()) >= nodes):
        bad = int(edges.min()) if int(edges.min()) < 0 else int(edges.max())
        raise DataError(
            f"{where}: edge_index names node {bad}, the graph has nodes 0 to {nodes - 1}: correct the edges"
        )
    graph.num_nodes = nodes
    for key in ("edge_attr", "edge_weight"):
        if graph.get(key) is not None:
            _check_features(graph, key, where)
            if graph[key].size(0) != edges.size(1):
                raise DataError(
                    f"{where}: {key} has {graph[key].size(0)} rows for {edges.size(1)} edges: give one row per edge"
                )


def _check_features(graph: Data, key: str, where: str) -> None:
    value = graph[key]
    if not isinstance(value, Tensor) or value.layout != torch.strided:
        raise DataError(f"{where}: {key} is no dense tensor: convert it with .to_dense()")
    names = isinstance(value, Tensor) and _is_whole(value.dtype)  # one number may name what a node is: its element
    if value.dim() not in ((2,) if key == "x" and not names else (1, 2)):
        raise DataError(
            f"{where}: {key} has shape {list(value.shape)}, it must be [N, F]: reshape it with .view(-1, 1)"
        )
    if value.is_complex():
        raise DataError(f"{where}: {key} is complex: use real numbers")
    if value.dim() == 2 and value.size(1) == 0:
        raise DataError(f"{where}: {key} has no columns: leave it out, or add features")
    if _is_whole(value.dtype) and value.numel() and max(-int(value.min()), int(value.max())) > _EXACT:
        raise DataError(
            f"{where}: {key} holds whole numbers beyond {_EXACT}, which float32 rounds: number what they name from 0, "
            "or convert them with .float() if rounding is meant"
        )
    value = value.detach().to(torch.float32).contiguous()
    finite = torch.isfinite(value)
    if not finite.all():
        row = int((~finite).reshape(len(value), -1).any(dim=1).nonzero()[0])
        raise DataError(f"{where}: {key} is NaN or infinite in row {row}: clean the features")
    graph[key] = value


def _num_nodes(graph: Data) -> int:
    """Return the number of nodes without PyG's guess, which warns."""
    if graph.get("x") is not None:
        return graph.x.size(0)
    if "num_nodes" in graph._store:
        return int(graph._store["num_nodes"])
    return int(graph.edge_index.max()) + 1 if graph.edge_index.numel() else 0


def graph_labels(graphs: Sequence[Data], where: str) -> Tensor:
    """Return the labels [G] int64 of a graph task, and set each graph's y to its label [1].

    Raises:
        DataError: labels that are missing, NaN, no integers, several per graph, or of one class only.
    """
    labels = []
    for i, graph in enumerate(graphs):
        y = graph.get("y")
        if not isinstance(y, Tensor) or y.numel() == 0:
            raise DataError(f"{where}: graph {i} has no label: set y to its class")
        if y.numel() > 1:
            what = (
                "one per node: a node task is a single graph"
                if y.numel() == graph.num_nodes
                else "several labels or values: the same number for each graph"
            )
            raise DataError(f"{where}: graph {i} has {y.numel()} labels, a graph needs one class ({what})")
        labels.append(y.reshape(1))
    return _whole(torch.cat(labels), where, "graph")


def node_labels(graph: Data, used: Tensor | None, where: str) -> Tensor:
    """Return the labels [N] int64 of a node task.

    Args:
        graph: the graph; y is [N] or [N, 1].
        used: indices of the nodes that need a label; others may have -1 or NaN. None: all need one.
        where: what to call the data in a message.

    Raises:
        DataError: labels that are missing, NaN, no integers, or of one class only.
    """
    y = graph.get("y")
    if not isinstance(y, Tensor) or y.numel() == 0:
        raise DataError(f"{where}: there are no labels: set y to the class of each node")
    if y.numel() != graph.num_nodes:
        raise DataError(f"{where}: {y.numel()} labels for {graph.num_nodes} nodes: set y to one class per node")
    y = y.reshape(-1)
    if used is None:
        return _whole(y, where, "node")
    whole = _whole(y[used], where, "node")
    labels = y.nan_to_num(nan=-1).to(torch.int64)
    labels[labels > whole.max()] = -1  # nodes in no split may carry any mark
    labels[used] = whole
    return labels


def _whole(labels: Tensor, where: str, what: str) -> Tensor:
    """Return labels as int64 when they are classes 0, 1, 2 ..."""
    if labels.dtype.is_complex or (labels.dtype.is_floating_point and not bool(torch.isfinite(labels).all())):
        raise DataError(f"{where}: a label is NaN or infinite: leave out what has no label")
    whole = labels.to(torch.int64)
    if labels.dtype.is_floating_point and not torch.equal(whole.to(labels.dtype), labels):
        value = float(labels[whole != labels][0])
        raise DataError(f"{where}: labels are not integers ({value:g}): only graphs can have values")
    low, high = int(whole.min()), int(whole.max())
    if low < 0:
        raise DataError(f"{where}: label {low} is negative: number the classes from 0, and mask what has no label")
    if low == high:
        raise DataError(f"{where}: every {what} has the same label {low}: there is nothing to learn")
    if high >= len(whole):
        raise DataError(f"{where}: label {high} for {len(whole)} {what}s: number the classes from 0")
    return whole


def check_split(index: dict[str, Tensor], where: str) -> None:
    """Raise a DataError for a split with an empty part."""
    for part, ids in index.items():
        if ids.numel() == 0:
            raise DataError(f"{where}: the {part} split is empty: bring more data, or choose another split")


def _is_whole(dtype: torch.dtype) -> bool:
    return not dtype.is_floating_point and not dtype.is_complex


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _columns(shape: Iterable[int] | None) -> str:
    if shape is None:
        return "no values"
    sizes = list(shape)
    return f"{sizes[0]} columns" if sizes else "one value per row"
