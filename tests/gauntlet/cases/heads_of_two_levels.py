"""Bonds and molecules are predicted together: a head of edges, one of graphs and one of nodes, each with labels."""

import torch
from gauntlet_case import Case
from gauntlet_data import many_graphs, only
from torch import nn
from torch_geometric.nn import SAGEConv, global_mean_pool


class Net(nn.Module):
    def __init__(self, width=16):
        super().__init__()
        self.conv, self.edge = SAGEConv(8, width), nn.Linear(2 * width, 2)
        self.graph, self.node = nn.Linear(width, 3), nn.Linear(width, 1)

    def forward(self, x, edge_index, batch):
        h = self.conv(x, edge_index).relu()
        ends = torch.cat([h[edge_index[0]], h[edge_index[1]]], dim=1)
        return {"edge": self.edge(ends), "graph": self.graph(global_mean_pool(h, batch)), "node": self.node(h)}


def data():
    graphs = only(many_graphs(), "x")
    for graph in graphs:
        graph.bond, graph.charge = (graph.x[graph.edge_index[0], 0] > 0).long(), graph.x[:, 1]
    return graphs


CASE = Case(Net, data, options={"targets": ["edge=bond", "graph=y", "node=charge"]})
