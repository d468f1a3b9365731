"""Tasks about the rows of one graph: classes and values of edges, values and labels of nodes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from gauntlet import run_gauntlet
from torch import Tensor, nn
from torch_geometric.data import Data
from torch_geometric.nn import SAGEConv

from edgegnn.errors import DataError
from edgegnn.tasks import load_task, task_from_graphs

NODES, EDGES = 40, 150


def traffic() -> Data:
    """A graph whose edges and nodes have features that tell their labels."""
    generator = torch.Generator().manual_seed(0)
    edges = torch.randint(NODES, (2, EDGES), generator=generator)
    x, attr = torch.randn(NODES, 4, generator=generator), torch.randn(EDGES, 2, generator=generator)
    return Data(x=x, edge_index=edges, edge_attr=attr)


class OfEdges(nn.Module):
    """As networks for intrusion detection and tracking: both ends and the edge's own features."""

    def __init__(self, columns: int) -> None:
        super().__init__()
        self.conv, self.head = SAGEConv(4, 8), nn.Linear(18, columns)

    def forward(self, x: Tensor, edge_index: Tensor, edge_attr: Tensor) -> Tensor:
        h = self.conv(x, edge_index).relu()
        return self.head(torch.cat([h[edge_index[0]], h[edge_index[1]], edge_attr], dim=1))


class OfNodes(nn.Module):
    def __init__(self, columns: int) -> None:
        super().__init__()
        self.conv, self.head = SAGEConv(4, 8), nn.Linear(8, columns)

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        return self.head(self.conv(x, edge_index).relu())


def _of_edges(model: nn.Module, data: Data) -> Tensor:
    out: Tensor = model(data.x, data.edge_index, data.edge_attr)
    return out


def _of_nodes(model: nn.Module, data: Data) -> Tensor:
    out: Tensor = model(data.x, data.edge_index)
    return out


@pytest.mark.slow
def test_classes_of_edges(tmp_path: Path) -> None:
    torch.manual_seed(0)
    data = traffic()
    data.y = (data.edge_attr[:, 0] > 0).long()
    manifests = run_gauntlet(OfEdges(2), data, tmp_path, _of_edges)
    assert {manifest.kind for manifest in manifests.values()} == {"edge"}
    assert manifests["none"].outputs[0].shape == ("num_edges", 2)


@pytest.mark.slow
def test_values_of_edges(tmp_path: Path) -> None:
    torch.manual_seed(0)
    data = traffic()
    data.edge_y = data.edge_attr.sum(dim=1)
    made = run_gauntlet(OfEdges(1), data, tmp_path, _of_edges, recipes=("none", "dq-int8"), task="edge-regression")
    assert {(manifest.kind, manifest.target) for manifest in made.values()} == {("edge", "values")}
    assert {manifest.outputs[0].shape for manifest in made.values()} == {("num_edges", 1)}


@pytest.mark.slow
@pytest.mark.parametrize(("task", "columns"), [("node-regression", 2), ("node-multilabel", 3)])
def test_values_and_labels_of_nodes(task: str, columns: int, tmp_path: Path) -> None:
    torch.manual_seed(0)
    data = traffic()
    data.y = data.x[:, :columns] if task == "node-regression" else (data.x[:, :columns] > 0).float()
    made = run_gauntlet(OfNodes(columns), data, tmp_path, _of_nodes, recipes=("none", "dq-int8"), task=task)
    target = "values" if task == "node-regression" else "labels"
    assert {(manifest.kind, manifest.target) for manifest in made.values()} == {("node", target)}
    assert {manifest.outputs[0].shape for manifest in made.values()} == {("num_nodes", columns)}


def test_masks_of_edges(tmp_path: Path) -> None:
    data = traffic()
    data.y = (data.edge_attr[:, 0] > 0).long()
    part = torch.arange(EDGES) % 3
    data.train_mask, data.val_mask, data.test_mask = part == 0, part == 1, part == 2
    torch.save(data, tmp_path / "data.pt")
    task = load_task(str(tmp_path / "data.pt"))
    assert (task.spec.name, task.spec.split, len(task.index["test"])) == ("edge", "given", EDGES // 3)
    data.test_mask = torch.ones(NODES, dtype=torch.bool)
    with pytest.raises(DataError, match=r"test_mask has shape \[40\], it must be \[150\]: a bool for each edge"):
        task_from_graphs(data, data="g")


def test_labels_at_the_wrong_level() -> None:
    data = traffic()
    data.y = torch.arange(NODES) % 2
    with pytest.raises(DataError, match="an edge task needs a label for each of the 150 edges, the graph has 40"):
        task_from_graphs(data, data="g", task="edge")
    data.y = torch.randn(NODES - 1)
    with pytest.raises(DataError, match=r"y has \[39\], values of nodes need a row for each of the 40 nodes"):
        task_from_graphs(data, data="g", task="node-regression")
