"""Inputs about rows of a further kind, "items": triplets of atoms, pairs of edges (a line graph), faces of a mesh.

Whole numbers `[T]` or `[k, T]` with a size T of their own number the nodes or the edges that each item is about. PyG
learns which from `__inc__` of the user's class of graphs; where the graphs are plain, it is told from the values: what
is never as large as the number of nodes numbers nodes, what is sometimes larger, but never as large as the number of
edges, numbers edges. Numbers that stay small in large graphs are categories.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch_geometric.data import Data

from edgegnn.runtime.roles import EDGE_NUMBERS, ITEM, NODE_NUMBERS, Role, typed_size

__all__ = ["ANSWERED_AS_ONE", "item_roles", "items_of", "remember_items"]

_ITEMS = "_edgegnn_items"
ANSWERED_AS_ONE = "_edgegnn_answered_as_one"  # of a graph: a model gives one answer for all of it
_REACHED = 0.5  # of the nodes, by the largest number in half of the graphs; categories don't grow with graphs
_MOST_ROWS = 4  # of numbers: the corners of a face, the atoms of a torsion


def remember_items(graphs: Sequence[Data], roles: Mapping[str, Role]) -> None:
    """Let graphs know which of their attributes are about items: putting them side by side needs it."""
    found = {name: role for name, role in roles.items() if role.of_items}
    for graph in graphs if found else ():
        graph.__dict__[_ITEMS] = found


def items_of(graph: Data) -> Mapping[str, Role]:
    """What `remember_items` was told; copies of a graph know it, too."""
    known: Mapping[str, Role] = graph.__dict__.get(_ITEMS, {})
    return known


def item_roles(graphs: Sequence[Data], names: Collection[str], told: Mapping[str, Role]) -> dict[str, Role]:
    """The roles of those attributes that are about items.

    Args:
        graphs: with `edge_index`.
        names: tensors of every graph that belong neither to nodes, edges nor graphs.
        told: what the user says of them.
    """
    numbers: dict[str, Role] = {}
    for name in names:
        role = told.get(name) or _numbered(name, graphs)
        if role is not None and role.of_items and role.ends:
            numbers[name] = role.of_rank(graphs[0][name].shape)
    groups: dict[tuple[int, ...], str] = {}
    found: dict[str, Role] = {}
    for name, role in numbers.items():
        first = groups.setdefault(tuple(graph[name].shape[role.axis] for graph in graphs), name)
        found[name] = role.sized(typed_size(role.size, first))
    for name in names:
        first = groups.get(tuple(len(graph[name]) if graph[name].dim() else -1 for graph in graphs), "")
        if name not in found and first:
            found[name] = ITEM.sized(typed_size(ITEM.size, first))
    return found


def _numbered(name: str, graphs: Sequence[Data]) -> Role | None:
    values = [graph[name] for graph in graphs]
    if any(v.dtype != torch.int64 or v.dim() not in (1, 2) or v.dim() != values[0].dim() for v in values):
        return None
    if values[0].dim() == 2 and any(len(v) != len(values[0]) or len(v) > _MOST_ROWS for v in values):
        return None
    if any(v.numel() and int(v.min()) < 0 for v in values):
        return None
    pairs = [(int(v.max()), graph) for v, graph in zip(values, graphs, strict=True) if v.numel()]
    of_nodes, of_edges = (all(most < count(graph) for most, graph in pairs) for count in (_nodes, _edges))
    own = _own_rule(name, graphs[0], values[0])
    if own is not None:
        return own if (of_nodes if own == NODE_NUMBERS else of_edges) else None
    reached = sorted((most + 1) / max(1, _nodes(graph)) for most, graph in pairs)
    if not reached or ("index" not in name and reached[len(reached) // 2] < _REACHED):
        return None
    # As many nodes as edges, or more, and small numbers: either could be meant.
    clear = any(_edges(graph) > _nodes(graph) for graph in graphs) or "index" in name or name == "face"
    if of_nodes:
        return NODE_NUMBERS if clear else None
    return EDGE_NUMBERS if of_edges else None


def _own_rule(name: str, graph: Data, value: Tensor) -> Role | None:
    """What `__inc__` of the user's own class of graphs says."""
    if type(graph).__inc__ is Data.__inc__:
        return None
    step: Any = graph.__inc__(name, value)
    step = int(step.reshape(-1)[0]) if isinstance(step, Tensor) and step.numel() else step
    nodes, edges = _nodes(graph), _edges(graph)
    if nodes == edges:
        return None
    return {nodes: NODE_NUMBERS, edges: EDGE_NUMBERS}.get(step)


def _nodes(graph: Data) -> int:
    return int(graph.num_nodes or 0)


def _edges(graph: Data) -> int:
    return int(graph.edge_index.shape[1]) if graph.get("edge_index") is not None else 0
