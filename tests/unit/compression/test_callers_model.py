"""The model that a program hands over stays as it was: its forward, and the precision of its weights."""

from __future__ import annotations

from pathlib import Path

import torch
from gauntlet_data import one_graph, only
from torch import Tensor, nn
from torch_geometric.data import Data
from torch_geometric.nn import SAGEConv

import edgegnn
from edgegnn.checkpoint import Checkpoint


class OfData(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = SAGEConv(8, 3)

    def forward(self, data: Data) -> Tensor:
        out: Tensor = self.conv(data.x, data.edge_index)
        return out


def test_an_export_changes_nothing(tmp_path: Path) -> None:
    graph, model = only(one_graph(), "x"), OfData().eval().half()
    torch.save(graph, tmp_path / "data.pt")
    result = edgegnn.export(
        Checkpoint(model, {"factory": "mine:build", "args": {}}),
        quant="none",
        data=str(tmp_path / "data.pt"),
        output=tmp_path / "artifact",
    )
    assert model.conv.lin_l.weight.dtype == torch.float16
    half = model(Data(x=graph.x.half(), edge_index=graph.edge_index))  # its forward still takes a graph
    got = edgegnn.runtime.open(result.path)(x=graph.x.numpy(), edge_index=graph.edge_index.numpy())
    assert torch.allclose(torch.from_numpy(got), half.float(), atol=0.02)
