"""A layer that a batch calls once for each group of graphs of similar size: the exported graph has one call."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch_geometric.data import Data
from torch_geometric.nn import GCNConv, global_add_pool

from edgegnn.quantize import prepare, recipe


class BySize(nn.Module):
    """Runs a head once for graphs of up to five nodes, and once for larger ones; and another head twice for all."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = GCNConv(4, 8)
        self.head = nn.Linear(8, 2)
        self.twice = nn.Linear(8, 8)

    def forward(self, x: Tensor, edge_index: Tensor, batch: Tensor) -> Tensor:
        x = self.twice(self.twice(self.conv(x, edge_index).relu()).relu()).relu()
        sizes = torch.bincount(batch)
        out = x.new_zeros(len(sizes), 2)
        for large in (False, True):
            chosen = (sizes > 5) == large
            if chosen.any():
                nodes = chosen[batch]
                out = out + global_add_pool(self.head(x[nodes]), batch[nodes], len(sizes))
        return out


def batch_of(sizes: list[int]) -> dict[str, Tensor]:
    torch.manual_seed(0)
    edges, first = [], 0
    for size in sizes:
        edges.append(first + torch.randint(0, size, (2, 3 * size)))
        first += size
    return {
        "x": torch.randn(first, 4),
        "edge_index": torch.cat(edges, dim=1),
        "batch": torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes)),
    }


@pytest.mark.parametrize("method", ["dq-int8", "qat-int8"])
def test_calls_that_depend_on_the_batch_share_a_point(method: str) -> None:
    quantized = prepare(BySize(), recipe(method), batch_of([4, 9, 5, 12]))
    names = quantized.structure()["points"]
    assert "head.input" in names
    assert "head.input.1" not in names
    # Two calls that every graph makes have a range each.
    assert {"twice.input", "twice.input.1"} <= set(names)


def test_one_graph_keeps_what_it_calls() -> None:
    quantized = prepare(BySize(), recipe("dq-int8"), batch_of([4]))
    assert {"twice.input", "twice.input.1"} <= set(quantized.structure()["points"])


@pytest.mark.slow
def test_pooling_network_trained_on_graphs_of_several_sizes_is_exported(tmp_path: Path) -> None:
    import edgegnn

    generator = torch.Generator().manual_seed(0)
    graphs = []
    for i in range(24):
        nodes = 5 + i % 9
        x = torch.randn(nodes, 4, generator=generator)
        edges = torch.randint(0, nodes, (2, 3 * nodes), generator=generator)
        graphs.append(Data(x=x, edge_index=edges, y=torch.tensor([i % 2])))
    torch.save(graphs, tmp_path / "graphs.pt")
    settings = {"epochs": 2}
    edgegnn.train("hgpsl", str(tmp_path / "graphs.pt"), output=tmp_path / "model.pt", settings=settings)
    made = edgegnn.export(
        tmp_path / "model.pt", quant="dq-int8", output=tmp_path / "a", settings=settings, max_accuracy_drop=100.0
    )
    assert made.manifest["quantized_points"] > 10
