"""A model whose outputs are in the units of the data."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

__all__ = ["Scaled"]


class Scaled(nn.Module):
    """A graph model followed by `mean + std * output`, so that what is inside learns standardised values.

    Args:
        model: forward takes x, edge_index and batch, and gives [G, C].
        mean: of each value over the training split.
        std: standard deviation of each value over the training split.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, model: nn.Module, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.model = model
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32))
        self.register_buffer("std", torch.tensor(std, dtype=torch.float32))

    def forward(self, x: Tensor, edge_index: Tensor, batch: Tensor) -> Tensor:
        """Return values [G, C] for `x` [N, F], `edge_index` [2, E] and `batch` [N] int64 (the graph of each node)."""
        return self.model(x, edge_index, batch) * self.std + self.mean
