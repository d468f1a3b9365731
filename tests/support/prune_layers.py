"""Modules that edgegnn has never seen, for the tests of structured pruning."""

from __future__ import annotations

import torch
import torch.nn.functional as F
import torch_geometric.nn as pyg
from torch import nn

FEATURES, EDGE_FEATURES, CLASSES, HIDDEN = 12, 6, 5, 32


class Two(nn.Module):
    """Two layers, a norm and an edge encoder."""

    def __init__(self, first, second, norm=None, edge=None):
        super().__init__()
        self.first, self.second, self.norm, self.edge = first, second, norm, edge

    def forward(self, x, edge_index):
        h = self.first(x, edge_index)
        if self.norm is not None:
            h = self.norm(h)
        return self.second(h.relu(), edge_index)


class WithEdges(Two):
    def forward(self, x, edge_index, edge_attr):
        edge_attr = edge_attr if self.edge is None else self.edge(edge_attr)
        return self.second(self.first(x, edge_index, edge_attr=edge_attr).relu(), edge_index, edge_attr=edge_attr)


class Skip(nn.Module):
    """Skip connections over layers with different heads, and three kinds of norm."""

    def __init__(self):
        super().__init__()
        self.lift = pyg.Linear(FEATURES, 64)
        self.convs = nn.ModuleList([pyg.GATConv(64, 8, heads=8), pyg.GATConv(64, 16, heads=4), pyg.GCNConv(64, 64)])
        self.norms = nn.ModuleList([pyg.BatchNorm(64), pyg.LayerNorm(64), pyg.GraphNorm(64)])
        self.head = nn.Linear(64, CLASSES)

    def forward(self, x, edge_index):
        x = self.lift(x).relu()
        for conv, norm in zip(self.convs, self.norms, strict=True):
            x = x + F.elu(norm(conv(x, edge_index)))
        return self.head(x)


class Jump(nn.Module):
    def __init__(self, mode):
        super().__init__()
        width = 48 if mode == "cat" else HIDDEN
        self.conv1, self.conv2 = pyg.SAGEConv(FEATURES, HIDDEN), pyg.GCNConv(HIDDEN, width)
        self.jump = pyg.JumpingKnowledge(mode)
        self.head = nn.Linear(HIDDEN + width if mode == "cat" else HIDDEN, CLASSES)

    def forward(self, x, edge_index):
        a = self.conv1(x, edge_index).relu()
        return self.head(self.jump([a, self.conv2(a, edge_index).relu()]))


class BesideInput(nn.Module):
    """The input features stand beside hidden channels."""

    def __init__(self):
        super().__init__()
        self.conv, self.head = pyg.GCNConv(FEATURES, HIDDEN), pyg.GraphConv(FEATURES + HIDDEN, CLASSES)

    def forward(self, x, edge_index):
        return self.head(torch.cat([self.conv(x, edge_index).relu(), x], dim=-1), edge_index)


class Halves(nn.Module):
    """One layer's channels are split between two."""

    def __init__(self):
        super().__init__()
        self.lift = nn.Linear(FEATURES, 2 * HIDDEN)
        self.left, self.right = pyg.GCNConv(HIDDEN, CLASSES), pyg.GCNConv(HIDDEN, CLASSES)

    def forward(self, x, edge_index):
        left, right = self.lift(x).chunk(2, dim=-1)
        return self.left(left.relu(), edge_index) + self.right(right.relu(), edge_index)


class Shared(nn.Module):
    """One layer three times, a vector of its own, and fewer rows at the end."""

    def __init__(self):
        super().__init__()
        self.lift, self.conv, self.head = nn.Linear(FEATURES, HIDDEN), pyg.GCNConv(HIDDEN, HIDDEN), nn.Linear(HIDDEN, 5)
        self.scale = nn.Parameter(torch.rand(HIDDEN))

    def forward(self, x, edge_index):
        x = self.lift(x)
        for _ in range(3):
            x = self.conv(x, edge_index).relu()
        return self.head((x * self.scale)[:3])


class Pooled(nn.Module):
    """Nodes are chosen by a learned score, graphs are pooled by a gate."""

    def __init__(self):
        super().__init__()
        self.conv, self.pool = pyg.GCNConv(FEATURES, HIDDEN), pyg.TopKPooling(HIDDEN)
        gate = nn.Sequential(nn.Linear(HIDDEN, 16), nn.ReLU(), nn.Linear(16, 1))
        self.readout = pyg.AttentionalAggregation(gate, nn.Linear(HIDDEN, 24))
        self.head = nn.Linear(24, CLASSES)

    def forward(self, x, edge_index, batch):
        x, _, _, batch, _, _ = self.pool(self.conv(x, edge_index).relu(), edge_index, batch=batch)
        return self.head(self.readout(x, batch))


class OwnWeight(pyg.MessagePassing):
    """A layer with a matrix that is no Linear."""

    def __init__(self, inputs, outputs):
        super().__init__(aggr="add")
        self.weight = nn.Parameter(torch.randn(inputs, outputs))

    def forward(self, x, edge_index):
        return self.propagate(edge_index, x=x @ self.weight)


class FixedWidth(nn.Module):
    """The width is written down in the forward."""

    def __init__(self):
        super().__init__()
        self.conv, self.head = pyg.GCNConv(FEATURES, HIDDEN), nn.Linear(HIDDEN, CLASSES)

    def forward(self, x, edge_index):
        return self.head(self.conv(x, edge_index).view(-1, 4, 8).transpose(1, 2).reshape(-1, HIDDEN))


class Gated(nn.Module):
    """Two halves of one layer's channels multiply each other: they can only go in pairs."""

    def __init__(self):
        super().__init__()
        self.lift, self.head = nn.Linear(FEATURES, 2 * HIDDEN), pyg.GCNConv(HIDDEN, CLASSES)

    def forward(self, x, edge_index):
        value, gate = self.lift(x).chunk(2, dim=-1)
        return self.head(value * gate.sigmoid(), edge_index)


def mlp(inputs, outputs):
    return nn.Sequential(nn.Linear(inputs, outputs), nn.BatchNorm1d(outputs), nn.ReLU(), nn.Linear(outputs, outputs))


def modules():
    """Name -> a module that can be pruned by half."""
    f, h, c, e = FEATURES, HIDDEN, CLASSES, EDGE_FEATURES
    gat, v2, tr = pyg.GATConv, pyg.GATv2Conv, pyg.TransformerConv
    return {
        "gcn": Two(pyg.GCNConv(f, h), pyg.GCNConv(h, c), nn.BatchNorm1d(h)),
        "sage": Two(pyg.SAGEConv(f, h, project=True), pyg.SAGEConv(h, c, aggr="max", project=True), nn.PReLU(h)),
        "sage-several": Two(pyg.SAGEConv(f, h, aggr=["mean", "max"]), pyg.SAGEConv(h, c, aggr=["mean", "std"])),
        "graph": Two(pyg.GraphConv(f, h), pyg.GraphConv(h, c, aggr="mean"), pyg.InstanceNorm(h, affine=True)),
        "gin": Two(pyg.GINConv(mlp(f, h), train_eps=True), pyg.GINConv(mlp(h, 8))),
        "gat": Two(gat(f, 16, heads=4), gat(64, c, heads=2, concat=False)),
        "gat-mean": Two(gat(f, 16, heads=4, concat=False, residual=True), gat(16, c)),
        "gat-edges": WithEdges(gat(f, 16, heads=4, edge_dim=e), gat(64, c, edge_dim=e)),
        "gat-encoder": WithEdges(gat(f, 16, heads=4, edge_dim=10), gat(64, c, edge_dim=10), edge=nn.Linear(e, 10)),
        "gatv2": Two(v2(f, 16, heads=4), v2(64, c, heads=2, concat=False, share_weights=True), nn.LayerNorm(64)),
        "gatv2-shared": Two(v2(f, 16, heads=4, share_weights=True, residual=True), v2(64, c)),
        "transformer": Two(tr(f, 16, heads=4, beta=True), tr(64, c, heads=2, concat=False)),
        "transformer-mean": WithEdges(
            tr(f, 16, heads=4, concat=False, beta=True, edge_dim=10), tr(16, c, edge_dim=10), edge=nn.Linear(e, 10)
        ),
        "gine": WithEdges(
            pyg.GINEConv(mlp(f, h), edge_dim=10), pyg.GINEConv(mlp(h, 6), edge_dim=10), edge=nn.Linear(e, 10)
        ),
        "tag": Two(pyg.TAGConv(f, h), pyg.ChebConv(h, c, 3)),
        "edge": Two(pyg.EdgeConv(mlp(2 * f, h)), pyg.EdgeConv(nn.Linear(2 * h, c))),
        "skip": Skip(),
        "jump-cat": Jump("cat"),
        "jump-max": Jump("max"),
        "beside-input": BesideInput(),
        "halves": Halves(),
        "gated": Gated(),
        "shared": Shared(),
        "pooled": Pooled(),
        "pyg-gcn": pyg.GCN(f, h, 3, c, jk="cat", norm="BatchNorm"),
        "pyg-gat": pyg.GAT(f, h, 3, c, heads=4, v2=True),
        "pyg-gin": pyg.GIN(f, h, 3, c),
    }


def graph(model, nodes=40, edges=160, seed=0):
    """Arguments of a module's forward."""
    generator = torch.Generator().manual_seed(seed)
    given = {
        "x": torch.randn(nodes, FEATURES, generator=generator),
        "edge_index": torch.randint(nodes, (2, edges), generator=generator),
    }
    if isinstance(model, WithEdges):
        given["edge_attr"] = torch.randn(edges, EDGE_FEATURES, generator=generator)
    if isinstance(model, Pooled):
        given["batch"] = torch.arange(nodes) * 4 // nodes
    return given
