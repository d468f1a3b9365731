"""Graphs with several types of nodes (`HeteroData`), read, checked and given the labels of one type.

What a graph of a list lacks (a relation, a type of nodes) is there without edges or nodes, as PyG's own batches have
it. The type whose nodes get labels is the one that has `y`, or the one in `--task node:TYPE`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch_geometric.data import HeteroData
from torch_geometric.data.separate import separate

from edgegnn.errors import DataError, UsageError
from edgegnn.runtime.roles import type_name, typed_size
from edgegnn.signature import Schema, TypedGraph, is_input
from edgegnn.signature.typed import Relation, flat_name, schema_of
from edgegnn.tasks.given import INDICES, MASKS, PARTS, part_of
from edgegnn.tasks.notes import note

__all__ = ["hetero_graphs", "labelled_type", "typed_graphs", "usable_typed", "with_labels"]

_EDGES = "edge_index"
_LABELS = ("y", "split", *MASKS, *INDICES)
_OF_EDGES = ("y", "edge_label", "edge_y")
_EXACT = 2**24  # float32 has every whole number up to here


def hetero_graphs(content: Any) -> list[HeteroData] | None:
    """The graphs of a file, each perhaps with its part as `split`; None where they are no `HeteroData`.

    Args:
        content: a HeteroData, a dictionary by type of dictionaries, a list of them, a dictionary of lists by part, or
            what a PyG data set saves: (graphs in one, where each begins, class).
    """
    if isinstance(content, tuple) and len(content) in (2, 3):
        data, slices, *kind = content
        if isinstance(data, HeteroData) or _is_by_type(data) or HeteroData in kind:
            whole = _graph(data)
            return [whole] if not slices else _separated(whole, slices)
    if isinstance(content, HeteroData) or _is_by_type(content):
        return [_graph(content)]
    if isinstance(content, Mapping) and content and all(isinstance(v, (list, tuple)) for v in content.values()):
        parts = {key: hetero_graphs(list(graphs)) for key, graphs in content.items()}
        if not all(parts.values()) or any(part_of(key) is None for key in parts):
            return None
        for key, graphs in parts.items():
            for graph in graphs or []:
                graph.split = PARTS[part_of(key) or 0]
        return [graph for graphs in parts.values() for graph in graphs or []]
    if (
        isinstance(content, (list, tuple))
        and content
        and all(isinstance(g, HeteroData) or _is_by_type(g) for g in content)
    ):
        return [_graph(graph) for graph in content]
    return None


def _is_by_type(content: Any) -> bool:
    """Whether a dictionary has a dictionary for each type, and relations are named by three texts."""
    if not isinstance(content, Mapping) or not all(isinstance(value, Mapping) for value in content.values()):
        return False
    return any(isinstance(key, tuple) and len(key) == 3 for key in content)


def _graph(content: Any) -> HeteroData:
    return content if isinstance(content, HeteroData) else HeteroData.from_dict(dict(content))


def _separated(whole: HeteroData, slices: Any) -> list[HeteroData]:
    first = next(slices[kind][_EDGES] for kind in whole.edge_types)
    return [separate(HeteroData, whole, idx=i, slice_dict=slices, decrement=False) for i in range(len(first) - 1)]


def typed_graphs(graphs: Sequence[HeteroData], where: str) -> list[TypedGraph]:
    """The graphs with named tensors.

    Args:
        graphs: of a user.
        where: what to call the data in a message.

    Raises:
        DataError: a relation without `edge_index`, or a type of nodes whose number nobody can tell.
    """
    schema = schema_of(graphs, where)
    if not schema.relations:
        raise DataError(f"{where}: the graphs have no relation between types of nodes: add edge_index to one")
    lacks: dict[str, int] = {}
    found = [
        _typed(graph, schema, graphs, lacks, f"{where}: graph {i}" if len(graphs) > 1 else where)
        for i, graph in enumerate(graphs)
    ]
    for name, count in lacks.items():
        note(f"{where}: {count} of {len(graphs)} graphs have no {name}: read as graphs with none")
    return found


def _typed(
    graph: HeteroData, schema: Schema, graphs: Sequence[HeteroData], lacks: dict[str, int], where: str
) -> TypedGraph:
    attributes: dict[str, Any] = {k: v for k, v in graph._global_store.items() if _is_value(k, v)}
    every: list[str | Relation] = [*schema.nodes, *schema.relations]
    for key in every:
        stores = graph.node_types if isinstance(key, str) else graph.edge_types
        values = dict(graph[key].items()) if key in stores else {}
        if isinstance(key, tuple) and not isinstance(values.get(_EDGES), Tensor):
            if values:
                raise DataError(f"{where}: the relation {type_name(key)} has no edge_index: add it as int64 [2, E]")
            values[_EDGES] = torch.zeros((2, 0), dtype=torch.int64)
        if key not in stores and any(key in (other.node_types + other.edge_types) for other in graphs):
            lacks[type_name(key)] = lacks.get(type_name(key), 0) + 1
            values |= _empty(key, graphs)
        attributes |= {flat_name(name, key): value for name, value in values.items() if _is_value(name, value)}
    counts = {kind: _count(graph, kind, schema, attributes, where) for kind in schema.nodes}
    return TypedGraph(schema, counts, attributes)


def _is_value(name: Any, value: Any) -> bool:
    if not isinstance(name, str) or name in ("num_nodes", "batch", "ptr"):
        return False
    numbers = isinstance(value, Tensor) and value.layout == torch.strided and not value.is_complex()
    return numbers or (name in (*_LABELS, *_OF_EDGES) and value is not None)


def _empty(key: str | Relation, graphs: Sequence[HeteroData]) -> dict[str, Tensor]:
    """Attributes without rows, as the first graph with this type has them."""
    stores = next(dict(g[key].items()) for g in graphs if key in (g.node_types + g.edge_types))
    tensors = {k: v for k, v in stores.items() if isinstance(v, Tensor) and v.dim() and k != _EDGES}
    return {name: value[:0] for name, value in tensors.items()}


def _count(graph: HeteroData, kind: str, schema: Schema, attributes: Mapping[str, Any], where: str) -> int:
    """How many nodes of a type there are: rows of x, `num_nodes`, rows of another attribute, the largest number."""
    if isinstance(attributes.get(flat_name("x", kind)), Tensor):
        return len(attributes[flat_name("x", kind)])
    if kind in graph.node_types:
        own = graph[kind]
        if isinstance(own.get("num_nodes"), int):
            return int(own["num_nodes"])
        rows = [
            value for name, value in own.items() if isinstance(value, Tensor) and value.dim() and name not in INDICES
        ]
        if rows:
            return len(rows[0])
    largest = -1
    for relation in schema.relations:
        edges = attributes.get(flat_name(_EDGES, relation))
        for row, end in enumerate((relation[0], relation[2])):
            if end == kind and isinstance(edges, Tensor) and edges.dim() == 2 and edges.shape[1]:
                largest = max(largest, int(edges[row].max()))
    if largest < 0 and kind in graph.node_types:
        raise DataError(f"{where}: how many nodes of type {kind} there are can't be told: set num_nodes")
    return largest + 1


# Checks ------------------------------------------------------------


def usable_typed(graphs: Sequence[TypedGraph], where: str) -> tuple[str, ...]:
    """Check every graph, and bring features to float32 and edges to int64, in place.

    Returns:
        The names of the features that were whole numbers in every graph.

    Raises:
        DataError: the first thing found that no model can use.
    """
    whole: dict[str, bool] = {}
    for i, graph in enumerate(graphs):
        place = f"{where}: graph {i}" if len(graphs) > 1 else where
        for relation in graph.schema.relations:
            name = flat_name(_EDGES, relation)
            graph[name] = _edges(graph[name], relation, graph.counts, place)
        for name in graph.names:
            split = graph.schema.split(name)
            attribute = split[0] if split else name
            if attribute in ("x", "edge_attr", "edge_weight"):
                whole[name] = whole.get(name, True) and not graph[name].is_floating_point()
                graph[name] = _feature(graph[name], name, place)
    _check_same(graphs, where)
    if all(graph.num_edges == 0 for graph in graphs):
        raise DataError(f"{where}: no relation has an edge: a graph network needs edges")
    if any(graph.num_nodes == 0 for graph in graphs):
        raise DataError(f"{where}: a graph has no nodes: leave it out")
    return tuple(name for name, integers in whole.items() if integers)


def _edges(edges: Tensor, relation: Relation, counts: Mapping[str, int], where: str) -> Tensor:
    name = type_name(relation)
    if edges.dim() != 2 or edges.shape[0] != 2:
        cure = ": transpose it with .t().contiguous()" if edges.dim() == 2 and edges.shape[1] == 2 else ""
        raise DataError(f"{where}: edge_index of {name} has shape {list(edges.shape)}, it must be [2, E]{cure}")
    if edges.is_floating_point() or edges.dtype == torch.bool:
        raise DataError(f"{where}: edge_index of {name} is {edges.dtype}, it must be int64: convert it with .long()")
    for row, end in enumerate((relation[0], relation[2])):
        if edges.shape[1] and not 0 <= int(edges[row].min()) <= int(edges[row].max()) < counts[end]:
            low, high = int(edges[row].min()), int(edges[row].max())
            raise DataError(
                f"{where}: edge_index of {name} names node {low if low < 0 else high} of type {end}, which has nodes "
                f"0 to {counts[end] - 1}: correct the edges, or set num_nodes"
            )
    return edges.long().contiguous()


def _feature(value: Tensor, name: str, where: str) -> Tensor:
    if not value.is_floating_point() and value.numel() and max(-int(value.min()), int(value.max())) > _EXACT:
        raise DataError(f"{where}: {name} holds whole numbers beyond {_EXACT}, which float32 rounds: number from 0")
    value = value.detach().to(torch.float32).contiguous()
    bad = (~torch.isfinite(value)).flatten(1 if value.dim() > 1 else 0)
    bad = (bad.any(dim=1) if bad.dim() > 1 else bad).nonzero()
    if len(bad):
        raise DataError(f"{where}: {name} is NaN or infinite in row {int(bad[0])}: clean the features")
    return value


def _check_same(graphs: Sequence[TypedGraph], where: str) -> None:
    """Every graph has the same features of each type, in as many columns."""
    names = [n for n in graphs[0].names if is_input(n.partition(".")[0])]
    for i, graph in enumerate(graphs[1:], 1):
        for name in dict.fromkeys([*names, *(n for n in graph.names if n.startswith(("x.", "edge_attr.")))]):
            one, other = graphs[0].get(name), graph.get(name)
            if isinstance(one, Tensor) and isinstance(other, Tensor):
                same = one.shape[1:] == other.shape[1:] or name.startswith(_EDGES)
            else:
                same = one is None and other is None
            if not same:
                raise DataError(f"{where}: {name} of graph {i} has another shape than in graph 0: give all the same")


# Labels ------------------------------------------------------------


def labelled_type(graph: TypedGraph, level: str | None, wanted: str, where: str) -> str | Relation:
    """The type of nodes, or the relation, that gets labels; "" where labels belong to the graph.

    Args:
        graph: the graph.
        level: "node", "edge" or None, for what has labels: nodes before edges.
        wanted: the type that the user names, or "".
        where: what to call the data in a message.

    Raises:
        UsageError: no such type, or several types have labels and nobody says which.
        DataError: no type has labels.
    """
    nodes, relations = list(graph.schema.nodes), list(graph.schema.relations)
    types: list[str | Relation] = [*(nodes if level != "edge" else ()), *(relations if level != "node" else ())]
    if wanted:
        named = [
            kind for kind in types if wanted in (type_name(kind), kind) or (kind in relations and wanted == kind[1])
        ]
        if len(named) != 1:
            known = ", ".join(map(type_name, types))
            raise UsageError(f"--task {level}:{wanted}: {where} has no such type of {level}s: choose one of {known}")
        return named[0]
    if graph.get("y") is not None and level is None:
        return ""
    having = [kind for kind in types if _labels_of(graph, kind) is not None]
    having = [kind for kind in having if isinstance(kind, str)] or having
    if len(having) > 1:
        masked = [kind for kind in having if graph.get(flat_name(MASKS[0], kind)) is not None]
        having = masked if len(masked) == 1 else having
    what = "relation" if level == "edge" else "type of nodes"
    if len(having) > 1:
        known, first = " and ".join(map(type_name, having)), having[0]
        kind = "node" if isinstance(first, str) else "edge"
        raise UsageError(f"{where}: {known} have labels: say which with --task {kind}:{type_name(first)}")
    if not having:
        raise DataError(f"{where}: no {what} has labels: set y of one of {', '.join(map(type_name, types))}")
    return having[0]


def _labels_of(graph: TypedGraph, kind: str | Relation) -> Tensor | None:
    """The labels of a type: a row for each of its nodes or edges."""
    for name in ("y",) if isinstance(kind, str) else _OF_EDGES:
        found = graph.get(flat_name(name, kind))
        size = "num_nodes" if isinstance(kind, str) else "num_edges"
        if isinstance(found, Tensor) and found.dim() and len(found) == graph.rows(typed_size(size, kind)):
            return found
    return None


def with_labels(graph: TypedGraph, kind: str | Relation, where: str) -> int:
    """Give the graph the labels and the split of one type, in place; return how many nodes or edges the type has.

    Raises:
        DataError: the type has no labels.
    """
    found = _labels_of(graph, kind)
    if found is None:
        what = f"nodes of type {kind}" if isinstance(kind, str) else f"edges of the relation {type_name(kind)}"
        raise DataError(f"{where}: {what} have no labels, one for each: set y")
    for name in _LABELS:
        value = graph.get(flat_name(name, kind))
        if value is not None:
            graph[name] = value
    graph.y = found
    return len(found)
