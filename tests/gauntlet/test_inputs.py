"""Inputs of any name, order, rank and type, and forwards that take a graph."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from gauntlet import LABELLED, run_gauntlet
from torch import Tensor, nn
from torch_geometric.data import Data
from torch_geometric.nn import GCNConv, NNConv, RGCNConv, SAGEConv, global_add_pool, global_mean_pool

CLASSES = 3


def molecules(count: int = 24, seed: int = 0) -> list[Data]:
    """Graphs with positions, atomic numbers, types of edges, and a vector for each graph."""
    generator = torch.Generator().manual_seed(seed)
    graphs = []
    for i in range(count):
        nodes = 5 + i % 4
        edges = torch.randint(nodes, (2, 3 * nodes), generator=generator)
        z = torch.randint(1, 6, (nodes,), generator=generator)
        pos = torch.randn(nodes, 3, generator=generator, dtype=torch.float64)
        graphs.append(
            Data(
                z=z,
                pos=pos,
                edge_index=edges,
                edge_type=torch.randint(3, (edges.shape[1],), generator=generator),
                u=torch.randn(1, 4, generator=generator),
                y=torch.tensor([i % CLASSES]),
            )
        )
    return graphs


class Molecular(nn.Module):
    """Atomic numbers are looked up, distances come from positions, a vector of the graph joins before the head."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(8, 8)
        self.conv = NNConv(8, 8, nn.Linear(1, 64), aggr="mean")
        self.head = nn.Linear(12, CLASSES)

    def forward(
        self, z: Tensor, pos: Tensor, batch: Tensor, u: Tensor, edge_index: Tensor, scale: float = 1.0
    ) -> Tensor:
        distance = (pos[edge_index[0]] - pos[edge_index[1]]).norm(dim=-1, keepdim=True) * scale
        h = self.conv(self.embed(z), edge_index, distance).relu()
        return self.head(torch.cat([global_mean_pool(h, batch), u], dim=1))


class Relational(nn.Module):
    """Types of edges choose the weights."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.conv = nn.Embedding(8, 8), RGCNConv(8, 8, num_relations=3)
        self.head = nn.Linear(8, CLASSES)

    def forward(self, z: Tensor, edge_index: Tensor, edge_type: Tensor, batch: Tensor) -> Tensor:
        return self.head(global_add_pool(self.conv(self.embed(z), edge_index, edge_type).relu(), batch))


class OfData(nn.Module):
    """As most examples of PyG are written: the forward takes the batch."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.conv = nn.Embedding(8, 8), SAGEConv(11, 8)
        self.head = nn.Linear(12, CLASSES)

    def forward(self, data: Data) -> Tensor:
        h = torch.cat([self.embed(data.z), data.pos], dim=1)
        h = self.conv(h, data.edge_index).relu()
        pooled = global_mean_pool(h, data.batch, size=data.num_graphs)
        return self.head(torch.cat([pooled, data.u], dim=-1))


class Traffic(nn.Module):
    """Features of several times for each node, `[N, T, F]`, under names of the user's own."""

    def __init__(self) -> None:
        super().__init__()
        self.time, self.conv = nn.GRU(2, 8, batch_first=True), GCNConv(8, CLASSES)

    def forward(self, features: Tensor, edges: Tensor, w: Tensor) -> Tensor:
        return self.conv(self.time(features)[0][:, -1], edges, w)


def _arguments(graph: Data, *names: str) -> list[Tensor]:
    given = {"batch": torch.zeros(graph.num_nodes, dtype=torch.int64), "pos": graph.pos.float()}
    return [given.get(name, graph.get(name)) for name in names]


def _floats(graph: Data) -> Data:
    copy = graph.clone()
    copy.pos, copy.batch, copy.num_graphs = graph.pos.float(), torch.zeros(graph.num_nodes, dtype=torch.int64), 1
    return copy


@pytest.mark.slow
@pytest.mark.parametrize("model", [Molecular, Relational, OfData])
def test_inputs_of_graphs(model: Any, tmp_path: Path) -> None:
    torch.manual_seed(0)
    module = model()
    names = {
        Molecular: ("z", "pos", "batch", "u", "edge_index"),
        Relational: ("z", "edge_index", "edge_type", "batch"),
    }.get(model)

    def eager(own: nn.Module, graph: Data) -> Tensor:
        out: Tensor = type(own).forward(own, _floats(graph)) if names is None else own(*_arguments(graph, *names))
        return out

    found = run_gauntlet(module, molecules(), tmp_path, eager, recipes=LABELLED)
    wanted = set(names or ("z", "pos", "edge_index", "batch", "u"))
    for manifest in found.values():
        assert {spec.name for spec in manifest.inputs} == wanted


@pytest.mark.slow
def test_features_of_several_times_under_other_names(tmp_path: Path) -> None:
    torch.manual_seed(0)
    nodes = 40
    data = Data(
        x=torch.randn(nodes, 6, 2),
        edge_index=torch.randint(nodes, (2, 120)),
        edge_weight=torch.rand(120),
        y=torch.arange(nodes) % CLASSES,
    )
    names = {"features": "x", "edges": "edge_index", "w": "edge_weight"}

    def eager(model: nn.Module, graph: Data) -> Tensor:
        out: Tensor = model(graph.x, graph.edge_index, graph.edge_weight)
        return out

    renamed = data.clone()
    for name, usual in names.items():
        renamed[name] = data[usual]
    made = run_gauntlet(Traffic(), renamed, tmp_path, eager, recipes=("none", "static-int8"))
    for manifest in made.values():
        assert [spec.name for spec in manifest.inputs] == list(names)
        assert manifest.inputs[0].shape == ("num_nodes", 6, 2)
