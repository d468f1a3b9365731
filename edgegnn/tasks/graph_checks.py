"""Look at graphs before a model does, and say in one line what is wrong with them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch_geometric.data import Data

from edgegnn.errors import DataError
from edgegnn.signature import MATRIX_NAMES, TypedGraph, is_input
from edgegnn.tasks.given import INDICES, MASKS
from edgegnn.tasks.hetero import hetero_graphs, typed_graphs, usable_typed
from edgegnn.tasks.layouts import graphs_in
from edgegnn.tasks.notes import note

__all__ = [
    "as_graphs",
    "check_graph",
    "check_split",
    "counted_nodes",
    "graph_labels",
    "node_labels",
    "number_of_nodes",
    "one_hot_graphs",
    "usable",
]

_FEATURES = ("x", "edge_attr", "edge_weight")
_IGNORED = -100  # torch's cross entropy ignores this label
_EXACT = 2**24  # float32 has every whole number up to here
_KEPT = (
    "x",
    "edge_index",
    "edge_attr",
    "edge_weight",
    "y",
    "edge_y",
    "edge_label",
    "smiles",
    "dq_prob",
    "split",
    *MASKS,
    *INDICES,
)
_PER_NODE = ("pos", "z", "h", "feat", "node_attr", "node_type")  # what says how many nodes there are, without x
_ANY_TYPE = ("smiles", "split", *INDICES)


def as_graphs(content: Any, where: str) -> list[Data]:
    """Return the graphs of what a file or caller gave, in one of the layouts of `edgegnn.tasks.layouts`.

    Every graph is a new `Data` with the attributes that edgegnn knows, and others that a model may take; the tensors
    are shared.

    Args:
        content: what was given.
        where: what to call it in a message.

    Raises:
        DataError: another layout, no graph, or attributes that are no tensors.
    """
    typed = hetero_graphs(content)
    if typed is not None:
        return [*typed_graphs(typed, where)]
    graphs = []
    for i, values in enumerate(graphs_in(content, where)):
        values = _with_edges_of_matrix(values, where if i == 0 else "")
        kept = {k: values[k] for k in _KEPT if values.get(k) is not None}
        kept |= {k: torch.as_tensor(v) for k, v in values.items() if k not in kept and _may_be_taken(k, v)}
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


def _with_edges_of_matrix(values: dict[str, Any], where: str) -> dict[str, Any]:
    """The attributes of a graph; where it has a matrix [N, N] of its edges, sparse or dense, with the edges of it.

    Row i of a product with the matrix is what arrives at node i, so that columns are sources and rows targets.
    """
    square = [k for k, v in values.items() if isinstance(v, Tensor) and v.dim() == 2 and v.shape[0] == v.shape[1]]
    name = next((k for k in square if k != "x" and (values[k].layout != torch.strided or k in MATRIX_NAMES)), None)
    rows = values.get("x")
    if name is None or (isinstance(rows, Tensor) and len(rows) != len(values[name])):
        return values
    if values[name].layout != torch.strided and values.get("edge_index") is not None:
        return values
    matrix = values[name].to_sparse_coo().coalesce()
    edges, weight = matrix.indices().flip(0).contiguous(), matrix.values()
    given = values.get("edge_index")
    if given is not None:  # the matrix beside its edges
        return _without_matrix(values, name, matrix)
    if where:
        how = "dense" if values[name].layout == torch.strided else "sparse"
        note(f"{where}: {name} is a {how} matrix: read as edge_index, with its entries as edge_weight")
    rest = {key: value for key, value in values.items() if key != name or value.layout != torch.strided}
    return {**rest, "edge_index": edges, "edge_weight": weight.float() if weight.dtype == torch.bool else weight}


def _without_matrix(values: dict[str, Any], name: str, matrix: Tensor) -> dict[str, Any]:
    """The attributes without a dense matrix that says the same as `edge_index`; its entries are `edge_weight`."""
    edges, same = values["edge_index"], matrix.indices().flip(0)
    rest = {key: value for key, value in values.items() if key != name}
    if not isinstance(edges, Tensor) or {*zip(*edges.tolist(), strict=True)} != {*zip(*same.tolist(), strict=True)}:
        return values
    weight = values[name][edges[1], edges[0]]
    return rest if bool((weight == 1).all()) or "edge_weight" in rest else {**rest, "edge_weight": weight}


def _may_be_taken(name: Any, value: Any) -> bool:
    """Whether a further attribute can be an input of a model."""
    if not isinstance(name, str) or not is_input(name) or name == "batch":
        return False
    numbers = isinstance(value, Tensor) and value.layout == torch.strided and not value.is_complex()
    return numbers or isinstance(value, (bool, int, float))


def usable(graphs: Sequence[Data], where: str) -> tuple[str, ...]:
    """Check every graph, and bring its features to float32 and its edges to int64, in place.

    Returns:
        The names of the features that were whole numbers in every graph.

    Raises:
        DataError: the first thing found that no model can use, with the graph's number and the cure.
    """
    typed = [graph for graph in graphs if isinstance(graph, TypedGraph)]
    if typed:
        return usable_typed(typed, where)
    without = _without_edges(graphs)
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
    if all(g.edge_index.size(1) == 0 for g in graphs) and not without:
        raise DataError(f"{where}: the edge index is empty: a graph network needs edges")
    _say_converted(types, where)
    return tuple(key for key in _FEATURES if types[key] and all(map(_is_whole, types[key])))


def _without_edges(graphs: Sequence[Data]) -> bool:
    """Give graphs of points, none of which has edges, an empty `edge_index`, in place: their model makes its own."""
    if any("edge_index" in graph for graph in graphs) or not all(map(_has_nodes, graphs)):
        return False
    for graph in graphs:
        graph.edge_index = torch.zeros((2, 0), dtype=torch.int64)
    return True


def _has_nodes(graph: Data) -> bool:
    """Whether a graph says without its edges how many nodes it has."""
    return "pos" in graph or "x" in graph or "num_nodes" in graph._store


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
    nodes = counted_nodes(graph)
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
    if value.dim() == 0:
        raise DataError(f"{where}: {key} has shape [], it must have a row for each node or edge")
    if value.is_complex():
        raise DataError(f"{where}: {key} is complex: use real numbers")
    if value.dim() > 1 and value[:1].numel() < len(value[:1]):
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


def number_of_nodes(graph: Data, where: str) -> int:
    """How many nodes a graph has, once it is checked.

    Raises:
        DataError: as `check_graph`.
    """
    check_graph(graph, where)
    return int(graph.num_nodes or 0)


def counted_nodes(graph: Data) -> int:
    """Return the number of nodes without PyG's guess, which warns; 0 where nothing tells it."""
    if isinstance(graph.get("x"), Tensor) and graph.x.dim() > 0:
        return graph.x.size(0)
    if "num_nodes" in graph._store:
        return int(graph._store["num_nodes"])
    for key in _PER_NODE:
        if isinstance(graph.get(key), Tensor) and graph[key].dim() > 0:
            return len(graph[key])
    edges = graph.get("edge_index")
    return int(edges.max()) + 1 if isinstance(edges, Tensor) and edges.numel() else 0


def graph_labels(graphs: Sequence[Data], where: str) -> Tensor:
    """Return the labels [G] int64 of a graph task; -1 where one is not known.

    Args:
        graphs: the graphs; y is one class, or [C] or [1, C] one-hot.
        where: what to call the data in a message.

    Raises:
        DataError: labels that are missing, NaN, no integers, several per graph, or of one class only.
    """
    labels, one_hot = [], one_hot_graphs(graphs)
    for i, graph in enumerate(graphs):
        y = graph.get("y")
        if not isinstance(y, Tensor) or y.numel() == 0:
            raise DataError(f"{where}: graph {i} has no label: set y to its class")
        if one_hot:
            y = y.reshape(-1).int().argmax()
        if y.numel() > 1:
            what = (
                "one per node: a node task is a single graph"
                if y.numel() == graph.num_nodes
                else "several labels or values: the same number for each graph"
            )
            raise DataError(f"{where}: graph {i} has {y.numel()} labels, a graph needs one class ({what})")
        labels.append(y.reshape(1))
    if one_hot:
        note(f"{where}: y is one-hot: read as one class a graph (several labels: --task graph-multilabel)")
    return _classes(torch.cat(labels), where, "graph")


def node_labels(graph: Data, used: Tensor | None, where: str, what: str = "node", count: int | None = None) -> Tensor:
    """Return the labels [N] int64 of a node (or edge) task; -1 where one is not known.

    Args:
        graph: the graph; y is [N] or [N, 1], or [N, C] one-hot.
        used: indices of the nodes in a split; the labels of others may be anything. None: all.
        where: what to call the data in a message.
        what: what has a label, "node" or "edge".
        count: how many there are; None: the nodes.

    Raises:
        DataError: labels that are missing, NaN, no integers, or of one class only.
    """
    rows = graph.num_nodes if count is None else count
    y = graph.get("y")
    if not isinstance(y, Tensor) or y.numel() == 0:
        raise DataError(f"{where}: there are no labels: set y to the class of each {what}")
    if y.dim() == 2 and y.shape[0] == rows and y.shape[1] > 1 and _is_one_hot(y):
        note(f"{where}: y is one-hot: read as one class a {what}")
        y = y.int().argmax(dim=1)
    if y.numel() != rows:
        other = "edge" if len(y) == graph.num_edges else "node" if len(y) == graph.num_nodes else ""
        cure = f"; as many as {other}s: say --task {other}" if other and other != what else ""
        raise DataError(f"{where}: {y.numel()} labels for {rows} {what}s: set y to one class per {what}{cure}")
    if y.dim() > 1:
        note(f"{where}: y is {list(y.shape)}: read as one class a {what}")
    y = y.reshape(-1)
    if used is None:
        return _classes(y, where, what)
    classes = _classes(y[used], where, what)
    labels = y.nan_to_num(nan=-1).to(torch.int64)
    labels[(labels > classes.max()) | (labels < 0)] = -1  # nodes in no split may carry any mark
    labels[used] = classes
    return labels


def one_hot_graphs(graphs: Sequence[Data]) -> bool:
    """Whether y of every graph has a single 1 among as many zeros, and is not one label for each of its nodes."""
    first = graphs[0].get("y")
    if not isinstance(first, Tensor) or first.numel() < 2:
        return False
    same = all(isinstance(g.get("y"), Tensor) and g.y.shape == first.shape for g in graphs)
    of_nodes = first.dim() == 1 and all(g.y.numel() == g.num_nodes for g in graphs if g.get("y") is not None)
    return same and not of_nodes and _is_one_hot(torch.stack([g.y.reshape(-1) for g in graphs]))


def _is_one_hot(y: Tensor) -> bool:
    """Whether each row of y [n, C] has a single 1, and is 0 elsewhere."""
    return not y.is_complex() and bool(((y == 0) | (y == 1)).all()) and bool((y.sum(dim=1) == 1).all())


def _classes(labels: Tensor, where: str, what: str) -> Tensor:
    """Return labels as int64 when they are classes 0, 1, 2 ...; -1 where they say that one is not known."""
    if labels.dtype.is_complex or (labels.dtype.is_floating_point and not bool(torch.isfinite(labels).all())):
        raise DataError(f"{where}: a label is NaN or infinite: leave out what has no label")
    whole = labels.to(torch.int64)
    if labels.dtype.is_floating_point and not torch.equal(whole.to(labels.dtype), labels):
        value = float(labels[whole != labels][0])
        raise DataError(f"{where}: labels are not integers ({value:g}): for values say --task {what}-regression")
    known = (whole != -1) & (whole != _IGNORED)
    unknown = f" (label {int(whole[~known][0])} is negative: read as unknown)" if not bool(known.all()) else ""
    if not bool(known.any()):
        raise DataError(f"{where}: no {what} has a label{unknown}: number the classes from 0")
    low, high = int(whole[known].min()), int(whole[known].max())
    if low < 0:
        raise DataError(f"{where}: label {low} is negative: number the classes from 0, and give what has none -1")
    if low == high:
        raise DataError(f"{where}: every {what} has the same label {low}{unknown}: there is nothing to learn")
    if high >= len(whole):
        raise DataError(f"{where}: label {high} for {len(whole)} {what}s: number the classes from 0")
    return whole.where(known, -1)


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
