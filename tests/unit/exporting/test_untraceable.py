"""Layers that can't be traced by their nature are refused in one line, with what to take instead."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch_geometric.nn import EdgePooling, global_mean_pool

from edgegnn.errors import ExportError
from edgegnn.exporting.capture import capture


class _Pooled(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.pool, self.head = EdgePooling(4), nn.Linear(4, 2)

    def forward(self, x, edge_index, batch):
        x, _, batch, _ = self.pool(x, edge_index, batch)
        return self.head(global_mean_pool(x, batch))


@pytest.mark.slow
def test_edge_pooling():
    edges = torch.tensor([[0, 1, 2, 3], [1, 2, 3, 4]])
    given = {"x": torch.randn(5, 4), "edge_index": edges, "batch": torch.tensor([0, 0, 0, 1, 1])}
    with pytest.raises(ExportError, match=r"^pool \(EdgePooling\) can't be exported: it joins nodes .* TopKPooling"):
        capture(_Pooled(), given, kind="graph")
