"""Degree-Quant's protection: nodes of high in-degree run in full precision more often while training.

Source: Tailor et al., 2008.05000; the released `dq/transforms.py`.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor
from torch_geometric.data import Data

__all__ = ["add_protection", "protection_probability"]


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


def add_protection(graphs: Iterable[Data], low: float, high: float) -> None:
    """Set `dq_prob` (float32 `[N]`) on every graph; ranks are taken within each graph, never over a batch."""
    for data in graphs:
        data.dq_prob = protection_probability(data.edge_index, data.num_nodes, low, high)
