"""Voltages of buses from lines with features: TAGConv with weights computed from the lines' impedance, residuals."""

import torch
from gauntlet_case import Case
from gauntlet_data import many_graphs, only
from torch import nn
from torch_geometric.nn import TAGConv


class PowerFlow(nn.Module):
    def __init__(self, width=16):
        super().__init__()
        self.line = nn.Sequential(nn.Linear(3, 8), nn.LeakyReLU(0.2), nn.Linear(8, 1), nn.Softplus())
        self.convs = nn.ModuleList([TAGConv(8, width, K=3), TAGConv(width, width, K=3)])
        self.head = nn.Sequential(nn.Linear(width, width), nn.PReLU(), nn.Linear(width, 2))

    def forward(self, x, edge_index, edge_attr):
        weight = self.line(edge_attr).view(-1)
        for conv in self.convs:
            x = torch.nn.functional.elu(conv(x, edge_index, weight))
        return self.head(x)


def data():
    graphs = only(many_graphs(), "x", "edge_attr")
    for graph in graphs:
        graph.y = graph.x[:, :2].cumsum(1)
    return graphs


CASE = Case(PowerFlow, data, task="node-regression")
