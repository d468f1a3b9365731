"""Degree-Quant's protection: nodes of high in-degree run in full precision more often while training.

Source: Tailor et al., 2008.05000; the released `dq/transforms.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch_geometric.data import Data

from edgegnn.runtime.roles import type_name
from edgegnn.signature import TypedGraph

__all__ = ["TypedProtection", "add_protection", "protection_probability"]


def protection_probability(edge_index: Tensor, num_nodes: int, low: float, high: float) -> Tensor:
    """Probability that each node is protected in a training forward.

    `p_i = low + (high - low) * F(d_i)` with F the empirical distribution function of the in-degrees, so that equal
    degrees share one probability and the largest gets exactly `high`.

    Args:
        edge_index: int64 `[2, E]`; targets in row 1, self loops as the data set has them.
        num_nodes: N.
        low: probability limit for the lowest ranks, in [0, 1].
        high: probability of the highest in-degree, in [low, 1].

    Returns:
        float32 `[N]`.
    """
    degree = torch.zeros(num_nodes, dtype=torch.int64)
    degree.scatter_add_(0, edge_index[1], torch.ones_like(edge_index[1]))
    at_most = torch.searchsorted(degree.sort().values, degree, right=True)
    return low + (high - low) * at_most.to(torch.float32) / num_nodes


@dataclass(frozen=True)
class TypedProtection:
    """The probabilities of the nodes of each type, of a graph with several.

    Attributes:
        of_type: type -> float32 `[N]`.
        ends: name of an input of edges -> the types of their sources and targets.
    """

    of_type: Mapping[str, Tensor]
    ends: Mapping[str, tuple[str, str]]

    def draw(self) -> dict[str, tuple[Tensor, Tensor]]:
        """Draw who is protected: name of an input of edges -> bool `[N]` of the sources' type and of the targets'."""
        drawn = {kind: torch.bernoulli(probability).bool() for kind, probability in self.of_type.items()}
        return {name: (drawn[source], drawn[target]) for name, (source, target) in self.ends.items()}

    def joined(self, every: Sequence[TypedProtection]) -> TypedProtection:
        """Those of graphs side by side."""
        return TypedProtection({k: torch.cat([each.of_type[k] for each in every]) for k in self.of_type}, self.ends)


def _of_types(graph: TypedGraph, low: float, high: float) -> TypedProtection:
    """By the in-degree over all relations that end in a type."""
    names = {f"edge_index.{type_name(relation)}": relation for relation in graph.schema.relations}
    found = {}
    for kind, count in graph.counts.items():
        into = [graph[name] for name, (_, _, target) in names.items() if target == kind]
        edges = torch.cat(into, dim=1) if into else torch.zeros((2, 0), dtype=torch.int64)
        found[kind] = protection_probability(edges, count, low, high)
    return TypedProtection(found, {name: (source, target) for name, (source, _, target) in names.items()})


def add_protection(graphs: Iterable[Data], low: float, high: float) -> None:
    """Set `dq_prob` on every graph: float32 `[N]`, of several types of nodes `TypedProtection`.

    Ranks are taken within each graph, never over a batch.
    """
    for data in graphs:
        if isinstance(data, TypedGraph):
            data.dq_prob = _of_types(data, low, high)
            continue
        data.dq_prob = protection_probability(data.edge_index, data.num_nodes, low, high)
