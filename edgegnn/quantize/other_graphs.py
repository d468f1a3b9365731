"""Other graphs for a model than its example: with fewer edges, with random edges and features, or one of a batch."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from edgegnn.runtime.roles import BATCH, EDGE, EDGES, GRAPH, NODE, PAIRS, Role, usual_role

__all__ = ["fewer_edges", "first_graph", "is_edges", "number_of_graphs", "random_graphs"]

Roles = Mapping[str, Role]


def is_edges(value: Tensor) -> bool:
    """Whether an argument of a model is a list of pairs of nodes."""
    return value.dtype == torch.int64 and value.dim() == 2 and value.shape[0] == 2


def fewer_edges(args: Mapping[str, Tensor], roles: Roles) -> dict[str, Tensor]:
    """The same graph with two thirds of its edges (of one relation), so that degrees differ.

    Args:
        args: forward arguments by name.
        roles: what they belong to; the usual ones of their names where that isn't said.
    """
    lists = [name for name in args if _role(name, args, roles).is_a(EDGES)]
    if not lists or _of_items(args, roles):
        return dict(args)
    edges, size = args[lists[0]].shape[1], _role(lists[0], args, roles).size
    keep = torch.arange(edges) % 3 > 0

    def fewer(name: str, value: Tensor) -> Tensor:
        role = _role(name, args, roles)
        if role.size != size or value.dim() <= role.axis or value.shape[role.axis] != edges:
            return value
        return value[:, keep] if role.axis == 1 else value[keep]

    return {name: fewer(name, value) for name, value in args.items()}


def first_graph(args: Mapping[str, Tensor], roles: Roles) -> dict[str, Tensor] | None:
    """The first graph of a batch alone; None where there is one, nodes are of several types, or edges are numbered."""
    if any("." in name for name in args) or _of_items(args, roles) or number_of_graphs(args, roles) < 2:
        return None
    graph = _graph_of(args, roles)
    by_role = {name: _role(name, args, roles) for name in args}
    lists = {role.size: args[name] for name, role in by_role.items() if role.is_a(EDGES)}

    def part(role: Role, value: Tensor) -> Tensor:
        if role.numbers_nodes:
            return value[:, graph[value[0]] == 0]
        if role.is_a(EDGE) and role.size in lists:
            return value[graph[lists[role.size][0]] == 0]
        if role.is_a(GRAPH):
            return value[:1]
        return value[graph == 0] if role.is_a(NODE) or role.is_a(BATCH) else value

    return {name: part(by_role[name], value) for name, value in args.items()}


def random_graphs(args: Mapping[str, Tensor], roles: Roles) -> list[dict[str, Tensor]]:
    """Two graphs of the size of the example, with other edges and other features.

    Both have repeated edges, self loops, edges in one direction, and nodes that only send or have no edge at all; in
    the second, half of the edges end in one node. Floats lie in the range of the example's; what is constant there is
    not here. Other integers stay as they are.

    Args:
        args: forward arguments by name.
        roles: what they belong to.
    """
    generator = torch.Generator().manual_seed(0)
    typed = any("." in name for name in args)

    def other(name: str, value: Tensor, *, hub: bool) -> Tensor:
        role = _role(name, args, roles)
        if role.is_a(EDGES) or role.is_a(PAIRS):
            if typed:
                return _other_relation(value, generator, hub=hub)
            return _other_edges(value, _graph_of(args, roles), generator, hub=hub)
        return _other(value, generator)

    return [{name: other(name, value, hub=hub) for name, value in args.items()} for hub in (False, True)]


def _of_items(args: Mapping[str, Tensor], roles: Roles) -> bool:
    return any(_role(name, args, roles).of_items for name in args)


def number_of_graphs(args: Mapping[str, Tensor], roles: Roles) -> int:
    """How many graphs the example holds; 0 where each has one node, and rows don't tell graphs from nodes."""
    graph = _graph_of(args, roles)
    count = int(graph.max()) + 1 if len(graph) else 0
    return count if count < len(graph) else 0


def _role(name: str, args: Mapping[str, Tensor], roles: Roles) -> Role:
    """The role that is known; else told by the shape of a list of pairs, or the usual one of the name."""
    return roles.get(name) or (EDGES if is_edges(args[name]) and "label" not in name else usual_role(name))


def _other_relation(edges: Tensor, generator: torch.Generator, *, hub: bool) -> Tensor:
    """The same number of random edges between nodes of two types that have edges, some of them twice."""
    if not edges.shape[1]:
        return edges
    ends = [torch.randint(int(row.max()) + 1, row.shape, generator=generator) for row in edges]
    if hub:
        ends[1][::2] = 0
    out = torch.stack(ends)
    if out.shape[1] > 3:
        out[:, 1] = out[:, 0]
    return out


def _other(value: Tensor, generator: torch.Generator) -> Tensor:
    if not value.is_floating_point() or not value.numel():
        return value
    low, high = torch.aminmax(value)
    share = torch.rand(value.shape, generator=generator, dtype=value.dtype)
    if low == high:
        return (value + (value == 0)) * (0.5 + share)
    return low + (high - low) * share


def _other_edges(edges: Tensor, graph: Tensor, generator: torch.Generator, *, hub: bool) -> Tensor:
    """The same number of random edges, each inside one graph of the batch.

    In a graph of several nodes the last one only sends.
    """
    sizes = torch.bincount(graph)
    first = sizes.cumsum(0) - sizes
    source = torch.randint(len(graph), (edges.shape[1],), generator=generator)
    own = graph[source]
    share = torch.rand(edges.shape[1], generator=generator, dtype=torch.float64)
    if hub:
        share[::2] = 0
    target = first[own] + (share * (sizes[own] - 1).clamp(min=1)).long()
    out = torch.stack([source, target])
    if out.shape[1] > 3:
        out[:, 1] = out[:, 0]
        out[0, 2] = out[1, 2]
    return out


def _graph_of(args: Mapping[str, Tensor], roles: Roles) -> Tensor:
    """The graph of each node; all are in one where no input says."""
    by_role = {name: _role(name, args, roles) for name in args}
    batch = next((args[name] for name, role in by_role.items() if role.is_a(BATCH)), None)
    if batch is not None:
        return batch
    rows = [args[name].shape[0] for name, role in by_role.items() if role.is_a(NODE) and args[name].dim()]
    numbers = [int(args[name].max()) + 1 for name, role in by_role.items() if role.numbers_nodes and args[name].numel()]
    return torch.zeros(max([*rows[:1], *numbers], default=0), dtype=torch.int64)
