"""Other graphs for a model to run on, made from one example."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

__all__ = ["fewer_edges", "first_graph", "is_edges", "number_of_graphs", "random_graphs"]


def is_edges(value: Tensor) -> bool:
    """Whether an argument of a model is a list of pairs of nodes."""
    return value.dtype == torch.int64 and value.dim() == 2 and value.shape[0] == 2


def fewer_edges(args: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same graph with two thirds of its edges, so that degrees differ.

    Args:
        args: forward arguments by name; a row for each edge have `edge_index` and those of a name that begins like it.
    """
    edges = next((a.shape[1] for a in args.values() if is_edges(a)), 0)
    keep = torch.arange(edges) % 3 > 0

    def fewer(name: str, value: Tensor) -> Tensor:
        if is_edges(value) and value.shape[1] == edges:
            return value[:, keep]
        of_edges = edges and name.startswith("edge_") and value.dim() and value.shape[0] == edges
        return value[keep] if of_edges else value

    return {name: fewer(name, value) for name, value in args.items()}


def first_graph(args: Sequence[Tensor]) -> list[Tensor] | None:
    """The first graph of a batch alone; None where there is one, or rows of nodes and edges can't be told apart."""
    graph = _graph_of(args)
    if sum(map(is_edges, args)) > 1:  # several types of nodes
        return None
    edges = next((a for a in args if is_edges(a)), None)
    if edges is None or number_of_graphs(args) < 2 or edges.shape[1] == len(graph):
        return None
    nodes, kept = graph == 0, graph[edges[0]] == 0

    def part(value: Tensor) -> Tensor:
        if is_edges(value) and value.shape[1] == len(kept):
            return value[:, kept]
        rows = value.shape[0] if value.dim() else 0
        return value[nodes] if rows == len(nodes) else value[kept] if rows == len(kept) else value

    return [part(value) for value in args]


def random_graphs(args: Mapping[str, Tensor]) -> list[dict[str, Tensor]]:
    """Two graphs of the size of the example, with other edges and other features.

    Both have repeated edges, self loops, edges in one direction, and nodes that only send or have no edge at all; in
    the second, half of the edges end in one node. Floats lie in the range of the example's; what is constant there is
    not here. Other integers stay as they are.

    Args:
        args: forward arguments by name; the first has a row for each node (of one type).
    """
    generator = torch.Generator().manual_seed(0)
    every = list(args.values())
    typed = any("." in name for name in args)

    def other(value: Tensor, *, hub: bool) -> Tensor:
        if typed and is_edges(value):
            return _other_relation(value, generator, hub=hub)
        return _other(value, every, generator, hub=hub)

    return [{name: other(value, hub=hub) for name, value in args.items()} for hub in (False, True)]


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


def _other(value: Tensor, args: Sequence[Tensor], generator: torch.Generator, *, hub: bool) -> Tensor:
    if is_edges(value):
        return _other_edges(value, args, generator, hub=hub)
    if not value.is_floating_point() or not value.numel():
        return value
    low, high = torch.aminmax(value)
    share = torch.rand(value.shape, generator=generator, dtype=value.dtype)
    if low == high:
        return (value + (value == 0)) * (0.5 + share)
    return low + (high - low) * share


def _other_edges(edges: Tensor, args: Sequence[Tensor], generator: torch.Generator, *, hub: bool) -> Tensor:
    """The same number of random edges, each inside one graph of the batch.

    In a graph of several nodes the last one only sends.
    """
    graph = _graph_of(args)
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


def number_of_graphs(args: Sequence[Tensor]) -> int:
    """How many graphs the example holds; 0 where each has one node, and rows don't tell graphs from nodes."""
    graph = _graph_of(args)
    count = int(graph.max()) + 1 if len(graph) else 0
    return count if count < len(graph) else 0


def _graph_of(args: Sequence[Tensor]) -> Tensor:
    """The graph of each node: an argument of one integer a node that counts up from 0; else all are in one."""
    nodes = args[0].shape[0]
    for value in args[1:]:
        if value.dtype == torch.int64 and value.shape == (nodes,) and nodes and int(value[0]) == 0:
            steps = value[1:] - value[:-1]
            if bool(((steps == 0) | (steps == 1)).all()):
                return value
    return torch.zeros(nodes, dtype=torch.int64)
