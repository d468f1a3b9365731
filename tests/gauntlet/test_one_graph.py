"""Models of one graph at a time, with a dense adjacency in the data, or with no `batch`, as before PyG."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from gauntlet_data import many_graphs, one_graph
from torch import Tensor, nn
from torch_geometric.data import Data
from torch_geometric.nn import DenseGCNConv, GCNConv

import edgegnn
from edgegnn.checkpoint import Checkpoint


def matrix(graph: Data) -> Tensor:
    adj = torch.zeros(graph.num_nodes, graph.num_nodes)
    adj[graph.edge_index[1], graph.edge_index[0]] = 1.0
    return adj


def citations() -> Data:
    """One graph by its normalised matrix, with the identity in it."""
    graph = one_graph()
    adj = matrix(graph) + torch.eye(graph.num_nodes)
    masks = {f"{part}_mask": graph[f"{part}_mask"] for part in ("train", "val", "test")}
    return Data(x=graph.x, adj=adj / adj.sum(1, keepdim=True), y=graph.y, **masks)


def molecules() -> list[Data]:
    return [Data(x=graph.x, adj=matrix(graph), y=graph.y) for graph in many_graphs()]


def plain() -> list[Data]:
    return [Data(x=graph.x, edge_index=graph.edge_index, y=graph.y) for graph in many_graphs()]


class Products(nn.Module):
    """tkipf/pygcn with a dense matrix."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(8, 16), nn.Linear(16, 3)

    def forward(self, x: Tensor, adj: Tensor) -> Tensor:
        return torch.mm(adj, self.second(torch.mm(adj, self.first(x)).relu())).log_softmax(1)


class Attention(nn.Module):
    """Diego999/pyGAT: scores of all pairs, those without an edge masked."""

    def __init__(self) -> None:
        super().__init__()
        self.lin, self.out = nn.Linear(8, 16), nn.Linear(16, 3)
        self.here, self.there = nn.Linear(16, 1), nn.Linear(16, 1)

    def forward(self, x: Tensor, adj: Tensor) -> Tensor:
        h = self.lin(x)
        score = F.leaky_relu(self.here(h) + self.there(h).T, 0.2)
        share = torch.where(adj > 0, score, -9e15 * torch.ones_like(score)).softmax(dim=1)
        return self.out(F.elu(share @ h))


class Dense(nn.Module):
    """Dense layers of PyG, one graph at a time."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.head = DenseGCNConv(8, 16), nn.Linear(16, 3)

    def forward(self, x: Tensor, adj: Tensor) -> Tensor:
        return self.head(self.conv(x, adj).relu().mean(dim=1))


class Vector(nn.Module):
    """A mean over all nodes, and a vector of logits."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.head = GCNConv(8, 16), nn.Linear(16, 3)

    def forward(self, data: Data) -> Tensor:
        return self.head(self.conv(data.x, data.edge_index).relu().mean(0))


CASES: dict[str, tuple[type[nn.Module], Any, tuple[str, ...], bool]] = {
    "products": (Products, citations, ("x", "edge_index", "edge_weight"), True),
    "attention": (Attention, citations, ("x", "edge_index", "edge_weight"), False),
    "dense": (Dense, molecules, ("x", "edge_index", "edge_weight"), False),
    "vector": (Vector, plain, ("x", "edge_index"), True),
}


@pytest.mark.slow
@pytest.mark.parametrize("recipe", ["none", "static-int8", "dq-int8"])
@pytest.mark.parametrize("name", CASES)
def test_one_graph_at_a_time(name: str, recipe: str, tmp_path: Path) -> None:
    build, data, takes, native = CASES[name]
    torch.manual_seed(0)
    model, graphs = build().eval(), data()
    torch.save(graphs, tmp_path / "data.pt")
    graph = graphs[1] if isinstance(graphs, list) else graphs
    with torch.no_grad():
        want = (model(graph) if name == "vector" else model(graph.x, graph.adj)).numpy().reshape(-1, 3)
    result = edgegnn.export(
        Checkpoint(model, {"factory": "gauntlet:build", "args": {}}),
        quant=recipe,
        data=str(tmp_path / "data.pt"),
        output=tmp_path / "artifact",
        settings={"epochs": 2, "seed": 0, "lr": 1e-4} if recipe == "dq-int8" else None,
        max_accuracy_drop=100.0,
        min_agreement=0.0,
    )
    assert edgegnn.verify(result.path).ok
    assert tuple(spec.name for spec in result.manifest.inputs) == takes
    edges = graph.edge_index if name == "vector" else graph.adj.nonzero().T.flip(0)
    inputs = {"x": graph.x.numpy(), "edge_index": edges.numpy()}
    if "edge_weight" in takes:
        inputs["edge_weight"] = graph.adj[edges[1], edges[0]].numpy()
    got = edgegnn.runtime.open(result.path)(**inputs)
    assert got.shape == want.shape
    assert np.abs(got - want).max() < (1e-5 if recipe == "none" else 0.2) * max(1.0, np.abs(want).max())
    if native:
        assert any(found["rule"] for found in result.manifest["aggregations"])
