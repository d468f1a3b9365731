"""True and false segments of tracks in many events: a label for each edge of each graph (exatrkx/Tracking-ML-Exa.TrkX):
residual node and edge networks, logits of the pair and its edge."""

import torch
from gauntlet_case import Case
from gauntlet_data import many_graphs, only
from torch import nn


def mlp(given, width=16):
    return nn.Sequential(nn.Linear(given, width), nn.LayerNorm(width), nn.Tanh(), nn.Linear(width, width), nn.Tanh())


class Net(nn.Module):
    def __init__(self, width=16, steps=3):
        super().__init__()
        self.steps, self.nodes, self.edges = steps, mlp(8), mlp(2 * width)
        self.edge_network, self.node_network = mlp(3 * width), mlp(3 * width)
        self.classify = nn.Linear(3 * width, 1)

    def forward(self, data):
        start, end = data.edge_index
        x = self.nodes(data.x)
        e = self.edges(torch.cat([x[start], x[end]], dim=1))
        for _ in range(self.steps):
            x0 = x
            into = torch.zeros_like(x).scatter_add_(0, end[:, None].expand(-1, x.shape[1]), e)
            out = torch.zeros_like(x).scatter_add_(0, start[:, None].expand(-1, x.shape[1]), e)
            x = self.node_network(torch.cat([x, into, out], dim=1)) + x0
            e = self.edge_network(torch.cat([x[start], x[end], e], dim=1)) + e
        return self.classify(torch.cat([x[start], x[end], e], dim=1)).squeeze(-1)


def data():
    graphs = only(many_graphs(), "x")
    for graph in graphs:
        start, end = graph.edge_index
        graph.y = (graph.x[start, 0] > graph.x[end, 0]).long()
    return graphs


CASE = Case(Net, data, task="edge")
