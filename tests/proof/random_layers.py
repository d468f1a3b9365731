"""The layers that `random_models` draws from: PyG's convolutions, norms and readouts, and messages written by hand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch_geometric.nn as gnn
from torch import nn
from torch_geometric.utils import degree, scatter, softmax

EDGE_FEATURES = 3
DEGREES = torch.tensor([6, 20, 30, 20, 10, 4])


@dataclass(frozen=True)
class Ingredient:
    """How to build a layer of a width, and which input of edges it takes: "edge_attr", "edge_weight" or "" for none."""

    build: Callable[[int], nn.Module]
    takes: str = ""


def mlp(wide: int, out: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(wide, out), nn.ReLU(), nn.Linear(out, out))


# Messages as people write them ------------------------------------------------------------


class Message(gnn.MessagePassing):
    """Base of what follows: a linear map, then messages."""

    def __init__(self, width, aggr="add", extra=0):
        super().__init__(aggr=aggr)
        self.lin = nn.Linear(width, width)
        self.edge = nn.Linear(extra, width, bias=False) if extra else None

    def forward(self, x, edge_index, **edges):
        return self.propagate(edge_index, x=self.lin(x), **edges)


class EdgeTerm(Message):
    """A symmetric norm times neighbour plus edge."""

    def __init__(self, width):
        super().__init__(width, extra=EDGE_FEATURES)

    def forward(self, x, edge_index, edge_attr):
        deg = degree(edge_index[0], x.size(0), dtype=x.dtype) + 1
        norm = deg.pow(-0.5)[edge_index[0]] * deg.pow(-0.5)[edge_index[1]]
        return self.propagate(edge_index, x=self.lin(x), norm=norm, edge_attr=edge_attr)

    def message(self, x_j, norm, edge_attr):
        return norm.view(-1, 1) * (x_j + self.edge(edge_attr))


class ReluEdge(Message):
    def __init__(self, width):
        super().__init__(width, "mean", EDGE_FEATURES)

    def message(self, x_j, edge_attr):
        return (x_j + self.edge(edge_attr)).relu() + 1e-7


class Gate(Message):
    def __init__(self, width):
        super().__init__(width)
        self.gate = nn.Linear(2 * width, width)

    def message(self, x_i, x_j):
        return self.gate(torch.cat([x_i, x_j], dim=1)).sigmoid() * x_j


class EdgeGate(Message):
    def __init__(self, width):
        super().__init__(width, "add", EDGE_FEATURES)

    def forward(self, x, edge_index, edge_attr):
        return x + super().forward(x, edge_index, edge_attr=edge_attr)

    def message(self, x_j, edge_attr):
        return x_j * self.edge(edge_attr).tanh()


class Weighted(Message):
    def message(self, x_j, edge_weight):
        return edge_weight.view(-1, 1) * x_j


class WeightedMean(Message):
    """A mean by weights, with an eps against division by zero."""

    def forward(self, x, edge_index, edge_weight):
        total = scatter(edge_weight, edge_index[1], 0, x.size(0), reduce="sum")
        out = self.propagate(edge_index, x=self.lin(x), edge_weight=edge_weight)
        return out / (total.view(-1, 1) + 1e-8)

    def message(self, x_j, edge_weight):
        return x_j * edge_weight.view(-1, 1)


class Difference(Message):
    def __init__(self, width):
        super().__init__(width, "max")

    def message(self, x_i, x_j):
        return x_j - x_i


class Attention(Message):
    """Scaled dot products of normalised rows, softmax over the neighbours."""

    def message(self, x_i, x_j, index, ptr, size_i):
        a, b = (v / (v.norm(dim=1, keepdim=True) + 1e-12) for v in (x_i, x_j))
        return softmax((a * b).sum(1), index, ptr, size_i).view(-1, 1) * x_j


class Distance(Message):
    """As E(n)-equivariant networks: messages know the squared distance of the first three columns."""

    def __init__(self, width):
        super().__init__(width)
        self.mlp = mlp(2 * width + 1, width)

    def forward(self, x, edge_index):
        return x + self.propagate(edge_index, x=self.lin(x), pos=x[:, :3])

    def message(self, x_i, x_j, pos_i, pos_j):
        return self.mlp(torch.cat([x_i, x_j, ((pos_i - pos_j) ** 2).sum(1, keepdim=True)], dim=1))


class Several(Message):
    def __init__(self, width):
        super().__init__(width, ["mean", "max", "std"])
        self.out = nn.Linear(3 * width, width)

    def forward(self, x, edge_index):
        return self.out(super().forward(x, edge_index))

    def message(self, x_j):
        return x_j


class ByHand(nn.Module):
    """Without MessagePassing: index_add, and a mean by degree."""

    def __init__(self, width):
        super().__init__()
        self.own, self.other = nn.Linear(width, width), nn.Linear(width, width, bias=False)
        self.scale = nn.Parameter(torch.ones(1))

    def forward(self, x, edge_index):
        source, target = edge_index
        total = torch.zeros_like(x).index_add(0, target, x[source])
        count = torch.zeros_like(x[:, :1]).index_add(0, target, torch.ones_like(x[source, :1]))
        return self.own(x) + self.scale * self.other(total / count.clamp(min=1))


class Recurrent(Message):
    """A GRU cell takes the sums."""

    def __init__(self, width):
        super().__init__(width)
        self.cell = nn.GRUCell(width, width)

    def forward(self, x, edge_index):
        return self.cell(super().forward(x, edge_index), x)

    def message(self, x_j):
        return x_j


class Twice(nn.Module):
    """One convolution, run twice."""

    def __init__(self, conv):
        super().__init__()
        self.convs = nn.ModuleList([conv, conv])

    def forward(self, x, edge_index):
        for conv in self.convs:
            x = conv(x, edge_index).tanh()
        return x


class Flat(nn.Module):
    """A convolution that gives or takes what the others don't."""

    def __init__(self, conv, take=None, out=None):
        super().__init__()
        self.conv, self.take, self.out = conv, take, out

    def forward(self, x, edge_index, **edges):
        if self.take == "x_0":
            return self.conv(x, x, edge_index)
        if self.take == "type":
            edges = {"edge_type": (edges.pop("edge_attr")[:, 0] > 0).long()}
        if self.take == "pos":
            return self.conv(x, x[:, :3], edge_index)
        out = self.conv(x, edge_index, **edges)
        return out if self.out is None else self.out(out)
