"""Models of data without labels: embeddings of nodes and of graphs are exported, calibrated and compared."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from gauntlet import UNLABELLED, run_gauntlet
from torch import Tensor, nn
from torch_geometric.data import Data
from torch_geometric.nn import SAGEConv, global_mean_pool

import edgegnn
from edgegnn.errors import UsageError


class OfNodes(nn.Module):
    """A self-supervised encoder."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = SAGEConv(6, 16), SAGEConv(16, 8)

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        return self.second(self.first(x, edge_index).relu(), edge_index)


class OfGraphs(OfNodes):
    """One vector for each graph."""

    def forward(self, x: Tensor, edge_index: Tensor, batch: Tensor) -> Tensor:  # type: ignore[override]
        return global_mean_pool(super().forward(x, edge_index), batch)


def graphs(count: int) -> list[Data]:
    """Graphs without labels; the first one has as many edges as nodes."""
    generator = torch.Generator().manual_seed(0)
    made = []
    for i in range(count):
        nodes = 12 + i % 7
        edges = nodes if i == 0 else 3 * nodes
        made.append(
            Data(
                x=torch.randn(nodes, 6, generator=generator),
                edge_index=torch.randint(nodes, (2, edges), generator=generator),
            )
        )
    return made


def eager(model: nn.Module, graph: Data) -> Tensor:
    batch = [torch.zeros(int(graph.num_nodes or 0), dtype=torch.int64)] * isinstance(model, OfGraphs)
    out: Tensor = model(graph.x, graph.edge_index, *batch)
    return out


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "count", "kind"), [(OfNodes, 1, "node"), (OfNodes, 12, "node"), (OfGraphs, 12, "graph")]
)
def test_embeddings(model: Any, count: int, kind: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    made = graphs(count)
    found = run_gauntlet(model(), made if count > 1 else made[0], tmp_path, eager, recipes=UNLABELLED, task="none")
    for manifest in found.values():
        assert (manifest.kind, manifest.target, manifest.samples_metric) == (kind, "none", None)
    said = edgegnn.inspect(tmp_path / "static-int8")
    assert said["metric"] == "no accuracy is claimed: exported without labels (--task none)"


def test_recipes_that_train_are_refused(tmp_path: Path) -> None:
    torch.save(graphs(1)[0], tmp_path / "data.pt")
    torch.save(OfNodes().state_dict(), tmp_path / "m.pt")
    with pytest.raises(UsageError, match="dq-int8 trains, and --task none has no labels to train with: choose --quant"):
        edgegnn.export(
            tmp_path / "m.pt", quant="dq-int8", data=str(tmp_path / "data.pt"), task="none", factory="gauntlet:build"
        )
    with pytest.raises(UsageError, match="no labels to train with: name a task"):
        edgegnn.train("gcn", "cora", task="none")
