"""Small models of many kinds, for benchmarks: two layers of 64 channels, node by node."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch_geometric.nn as gnn
from torch import Tensor, nn
from torch_geometric.data import Data

__all__ = ["CLASSES", "FEATURES", "MODELS", "EdgeModel", "inputs_of", "make_graph"]

FEATURES, EDGE_FEATURES, HIDDEN, CLASSES, RELATIONS = 64, 8, 64, 16, 4


class Layers(nn.Module):
    """Two layers of a kind, and a classifier of nodes."""

    def __init__(self, layer: Callable[[int], nn.Module], wide: int = HIDDEN) -> None:
        super().__init__()
        self.first, self.second, self.head = layer(FEATURES), layer(wide), nn.Linear(wide, CLASSES)


class Plain(Layers):
    def forward(self, x: Tensor, edge_index: Tensor) -> Any:
        return self.head(self.second(self.first(x, edge_index).relu(), edge_index).relu())


class WithEdges(Layers):
    def forward(self, x: Tensor, edge_index: Tensor, edge_attr: Tensor) -> Any:
        return self.head(self.second(self.first(x, edge_index, edge_attr).relu(), edge_index, edge_attr).relu())


class Typed(Layers):
    def forward(self, x: Tensor, edge_index: Tensor, edge_type: Tensor) -> Any:
        return self.head(self.second(self.first(x, edge_index, edge_type).relu(), edge_index, edge_type).relu())


class EquivariantLayer(gnn.MessagePassing):
    """EGNN's messages: an MLP of both ends and of their squared distance."""

    def __init__(self, channels: int) -> None:
        super().__init__(aggr="add")
        self.edge = nn.Sequential(nn.Linear(2 * channels + 1, HIDDEN), nn.SiLU(), nn.Linear(HIDDEN, HIDDEN), nn.SiLU())
        self.node = nn.Sequential(nn.Linear(channels + HIDDEN, HIDDEN), nn.SiLU(), nn.Linear(HIDDEN, HIDDEN))

    def forward(self, x: Tensor, edge_index: Tensor, pos: Tensor) -> Tensor:
        return self.node(torch.cat([x, self.propagate(edge_index, x=x, pos=pos)], dim=1))

    def message(self, x_i: Tensor, x_j: Tensor, pos_i: Tensor, pos_j: Tensor) -> Any:
        distance = (pos_i - pos_j).square().sum(dim=1, keepdim=True)
        return self.edge(torch.cat([x_i, x_j, distance], dim=1))


class WithPositions(Layers):
    def forward(self, x: Tensor, edge_index: Tensor, pos: Tensor) -> Any:
        return self.head(self.second(self.first(x, edge_index, pos).relu(), edge_index, pos).relu())


class VirtualNode(nn.Module):
    """GIN with one more node in each graph, which all others talk to."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = gnn.GINConv(_mlp(FEATURES)), gnn.GINConv(_mlp(HIDDEN))
        self.between, self.head = _mlp(HIDDEN), nn.Linear(HIDDEN, CLASSES)

    def forward(self, x: Tensor, edge_index: Tensor, batch: Tensor) -> Any:
        x = self.first(x, edge_index).relu()
        virtual = self.between(gnn.global_add_pool(x, batch)).relu()
        x = self.second(x + virtual[batch], edge_index).relu()
        return self.head(gnn.global_mean_pool(x, batch))


@dataclass(frozen=True)
class EdgeModel:
    """A model for a benchmark.

    Attributes:
        name: of its layer.
        build: makes the model.
        more: what it takes beside x and edge_index.
    """

    name: str
    build: Callable[[], nn.Module]
    more: tuple[str, ...] = ()

    @property
    def task(self) -> str:
        return "graph" if "batch" in self.more else "node"


def _mlp(channels: int, out: int = HIDDEN) -> nn.Module:
    return nn.Sequential(nn.Linear(channels, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, out))


def _pna(channels: int) -> nn.Module:
    scalers = ["identity", "amplification", "attenuation"]
    return gnn.PNAConv(channels, HIDDEN, ["mean", "min", "max", "std"], scalers, torch.bincount(torch.arange(20)))


_HEADS = 4
MODELS = {
    model.name: model
    for model in (
        EdgeModel("GCN", lambda: Plain(lambda c: gnn.GCNConv(c, HIDDEN))),
        EdgeModel("SAGE", lambda: Plain(lambda c: gnn.SAGEConv(c, HIDDEN))),
        EdgeModel("GIN", lambda: Plain(lambda c: gnn.GINConv(_mlp(c)))),
        EdgeModel("GAT", lambda: Plain(lambda c: gnn.GATConv(c, HIDDEN // _HEADS, _HEADS))),
        EdgeModel("GATv2", lambda: Plain(lambda c: gnn.GATv2Conv(c, HIDDEN // _HEADS, _HEADS))),
        EdgeModel("EdgeConv", lambda: Plain(lambda c: gnn.EdgeConv(_mlp(2 * c)))),
        EdgeModel("ResGated", lambda: Plain(lambda c: gnn.ResGatedGraphConv(c, HIDDEN))),
        EdgeModel("PNA", lambda: Plain(_pna)),
        EdgeModel(
            "Transformer",
            lambda: WithEdges(lambda c: gnn.TransformerConv(c, HIDDEN // _HEADS, _HEADS, edge_dim=EDGE_FEATURES)),
            ("edge_attr",),
        ),
        EdgeModel("GINE", lambda: WithEdges(lambda c: gnn.GINEConv(_mlp(c), edge_dim=EDGE_FEATURES)), ("edge_attr",)),
        EdgeModel("CGConv", lambda: WithEdges(lambda c: gnn.CGConv(c, EDGE_FEATURES)), ("edge_attr",)),
        EdgeModel("RGCN", lambda: Typed(lambda c: gnn.RGCNConv(c, HIDDEN, RELATIONS)), ("edge_type",)),
        EdgeModel("EGNN", lambda: WithPositions(EquivariantLayer), ("pos",)),
        EdgeModel("virtual node", VirtualNode, ("batch",)),
    )
}


def make_graph(nodes: int, edges: int, seed: int, model: EdgeModel, graphs: int = 1) -> Data:
    """A random graph, or several side by side, with everything that `model` takes."""
    random = torch.Generator().manual_seed(seed)
    each, offsets = nodes // graphs, torch.arange(graphs).repeat_interleave(edges // graphs) * (nodes // graphs)
    ends = torch.randint(each, (2, len(offsets)), generator=random) + offsets
    data = Data(x=torch.randn(each * graphs, FEATURES, generator=random), edge_index=ends)
    more = {
        "edge_attr": lambda: torch.rand(len(offsets), EDGE_FEATURES, generator=random),
        "edge_type": lambda: torch.randint(RELATIONS, (len(offsets),), generator=random),
        "pos": lambda: torch.randn(each * graphs, 3, generator=random),
        "batch": lambda: torch.arange(graphs).repeat_interleave(each),
    }
    for name in model.more:
        data[name] = more[name]()
    return data


def inputs_of(data: Data, model: EdgeModel) -> dict[str, Tensor]:
    """The arguments of the model's forward."""
    return {name: data[name] for name in ("x", "edge_index", *model.more)}
