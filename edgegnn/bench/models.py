"""The benchmark's models that the zoo doesn't have, as their users write them: plain PyTorch Geometric."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch_geometric.nn import (
    MLP,
    DynamicEdgeConv,
    GCNConv,
    GINEConv,
    HGTConv,
    Linear,
    SAGEConv,
    global_max_pool,
    global_mean_pool,
)

import edgegnn.utils.pyg_sources  # noqa: F401 - before PyG's convolutions

__all__ = ["dgcnn", "edge_classifier", "gine", "hgt", "traffic"]


class MoleculeGine(nn.Module):
    """GINE: sums over neighbours of node features plus bond features.

    Args:
        atom: features of an atom.
        bond: features of a bond.
        hidden: width.
        layers: convolutions.
        outputs: columns of the output.
    """

    def __init__(self, atom: int, bond: int, hidden: int, layers: int, outputs: int) -> None:
        super().__init__()
        self.atom, self.bond = nn.Linear(atom, hidden), nn.Linear(bond, hidden)
        self.convs = nn.ModuleList(
            GINEConv(
                nn.Sequential(
                    nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU(), nn.BatchNorm1d(hidden)
                ),
                train_eps=True,
            )
            for _ in range(layers)
        )
        self.hidden, self.head = nn.Linear(hidden, hidden), nn.Linear(hidden, outputs)

    def forward(self, x: Tensor, edge_index: Tensor, edge_attr: Tensor, batch: Tensor) -> Tensor:
        """Return logits `[num_graphs, outputs]`."""
        x, edge_attr = self.atom(x.float()), self.bond(edge_attr.float())
        for conv in self.convs:
            x = conv(x, edge_index, edge_attr)
        return self.head(self.hidden(global_mean_pool(x, batch)).relu())


class EdgeClassifier(nn.Module):
    """Two rounds of GraphSAGE, then a class for each edge from both of its ends and its own features.

    Args:
        node: features of a node.
        edge: features of an edge.
        hidden: width.
        classes: columns of the output.
    """

    def __init__(self, node: int, edge: int, hidden: int, classes: int) -> None:
        super().__init__()
        self.first, self.second = SAGEConv(node, hidden), SAGEConv(hidden, hidden)
        self.source, self.target = nn.Linear(hidden, hidden), nn.Linear(hidden, hidden)
        self.edge, self.head = nn.Linear(edge, hidden), nn.Linear(hidden, classes)

    def forward(self, x: Tensor, edge_index: Tensor, edge_attr: Tensor) -> Tensor:
        """Return logits `[num_edges, classes]`."""
        x = self.first(x, edge_index).relu()
        x = self.second(x, edge_index).relu()
        ends = self.source(x)[edge_index[0]] + self.target(x)[edge_index[1]]
        return self.head((ends + self.edge(edge_attr)).relu())


class Dgcnn(nn.Module):
    """DGCNN: every layer looks for the nearest neighbours among the features of the one before.

    Args:
        neighbours: of each point.
        hidden: width of the first layer; the second has twice as much.
        classes: columns of the output.
    """

    def __init__(self, neighbours: int, hidden: int, classes: int) -> None:
        super().__init__()
        self.first = DynamicEdgeConv(MLP([6, hidden, hidden]), k=neighbours)
        self.second = DynamicEdgeConv(MLP([2 * hidden, 2 * hidden]), k=neighbours)
        self.wide, self.head = nn.Linear(3 * hidden, 4 * hidden), nn.Linear(4 * hidden, classes)

    def forward(self, x: Tensor, batch: Tensor) -> Tensor:
        """Return logits `[num_graphs, classes]` of points `x` [num_nodes, 3]."""
        near = self.first(x, batch)
        far = self.second(near, batch)
        return self.head(global_max_pool(self.wide(torch.cat([near, far], dim=1)).relu(), batch))


class HeteroTransformer(nn.Module):
    """HGT, as in PyTorch Geometric's example: attention with weights of their own for each type and relation.

    Args:
        sizes: type of nodes -> its features.
        relations: of the graph, as (source, name, target).
        kind: the type of nodes that gets classes.
        hidden: width.
        heads: of attention.
        classes: columns of the output.
    """

    def __init__(
        self,
        sizes: dict[str, int],
        relations: list[tuple[str, str, str]],
        kind: str,
        hidden: int,
        heads: int,
        classes: int,
    ) -> None:
        super().__init__()
        metadata = (list(sizes), relations)
        self.kind = kind
        self.into = nn.ModuleDict({name: Linear(size, hidden) for name, size in sizes.items()})
        self.convs = nn.ModuleList(HGTConv(hidden, hidden, metadata, heads=heads) for _ in range(2))
        self.head = nn.Linear(hidden, classes)

    def forward(self, x_dict: dict[str, Tensor], edge_index_dict: dict[tuple[str, str, str], Tensor]) -> Tensor:
        """Return logits `[nodes of the type, classes]`."""
        h = {name: self.into[name](x).relu() for name, x in x_dict.items()}
        for conv in self.convs:
            h = conv(h, edge_index_dict)
        return self.head(h[self.kind])


class TrafficGru(nn.Module):
    """A GRU whose products are graph convolutions, over a window of readings; then the network's mean, ahead in time.

    Args:
        steps: readings of each sensor in a window, the oldest first.
        hidden: width of the state.
        horizons: columns of the output.
    """

    def __init__(self, steps: int, hidden: int, horizons: int) -> None:
        super().__init__()
        self.steps, self.width = steps, hidden
        self.gates, self.states = GCNConv(1, 3 * hidden), GCNConv(hidden, 2 * hidden)
        self.candidate, self.head = GCNConv(hidden, hidden), nn.Linear(hidden, horizons)

    def forward(self, x: Tensor, edge_index: Tensor, batch: Tensor) -> Tensor:
        """Return speeds `[num_graphs, horizons]` of readings `x` [num_nodes, steps]."""
        width = self.width
        h = x[:, :1] * torch.zeros(1, width)
        for step in range(self.steps):
            of_x, of_h = self.gates(x[:, step : step + 1], edge_index), self.states(h, edge_index)
            update = torch.sigmoid(of_x[:, :width] + of_h[:, :width])
            reset = torch.sigmoid(of_x[:, width : 2 * width] + of_h[:, width:])
            new = torch.tanh(of_x[:, 2 * width :] + self.candidate(h * reset, edge_index))
            h = update * h + (1 - update) * new
        return self.head(global_mean_pool(h, batch))


def gine(in_channels: int, out_channels: int, bond: int = 3, hidden: int = 64, layers: int = 4) -> nn.Module:
    """Build the model of molecules."""
    return MoleculeGine(in_channels, bond, hidden, layers, out_channels)


def edge_classifier(in_channels: int, out_channels: int, edge: int = 4, hidden: int = 32) -> nn.Module:
    """Build the model of edges."""
    return EdgeClassifier(in_channels, edge, hidden, out_channels)


def dgcnn(out_channels: int, neighbours: int = 8, hidden: int = 24) -> nn.Module:
    """Build the model of point clouds."""
    return Dgcnn(neighbours, hidden, out_channels)


def hgt(out_channels: int, hidden: int = 32, heads: int = 4) -> nn.Module:
    """Build the model of several types of nodes."""
    from edgegnn.bench.generated import RELATIONS, TYPES

    return HeteroTransformer(dict(TYPES), list(RELATIONS), "paper", hidden, heads, out_channels)


def traffic(out_channels: int, steps: int = 6, hidden: int = 16) -> nn.Module:
    """Build the model of traffic."""
    return TrafficGru(steps, hidden, out_channels)
