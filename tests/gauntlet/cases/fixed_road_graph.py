"""Sensors on a graph that never changes: `edge_index` and its weights are buffers, `forward` takes `[N, T]` alone."""

import torch
from gauntlet_case import Case
from gauntlet_data import one_graph
from torch import nn
from torch_geometric.data import Data
from torch_geometric.nn import ChebConv


class Traffic(nn.Module):
    def __init__(self, steps=12, width=16):
        super().__init__()
        graph = one_graph(nodes=30)
        self.register_buffer("edge_index", graph.edge_index)
        self.register_buffer("edge_weight", graph.edge_weight)
        self.time = nn.Conv1d(1, width, 3, padding=1)
        self.space = ChebConv(width, width, K=3)
        self.head = nn.Linear(width, 3)

    def forward(self, x):
        h = self.time(x.unsqueeze(1)).relu().mean(-1)
        return self.head(self.space(h, self.edge_index, self.edge_weight).relu())


def data():
    generator = torch.Generator().manual_seed(0)
    graph = one_graph(nodes=30)
    series = torch.randn(30, 15, generator=generator).cumsum(1)
    return Data(x=series[:, :12], edge_index=graph.edge_index, y=series[:, 12:])


CASE = Case(Traffic, data, task="node-regression")
