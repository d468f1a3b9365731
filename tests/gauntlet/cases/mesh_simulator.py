"""Encode, process, decode with edge features that are updated by each layer, LayerNorm and residuals, as MeshGraphNets
in PyG (echowve/meshGraphNets_pytorch): values of nodes."""

import torch
from gauntlet_case import Case
from gauntlet_data import many_graphs, only
from torch import nn
from torch_geometric.utils import scatter


def mlp(given, hidden, out, norm=True):
    layers = [nn.Linear(given, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, out)]
    return nn.Sequential(*layers, *([nn.LayerNorm(out)] if norm else []))


class Block(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.edge, self.node = mlp(3 * width, width, width), mlp(2 * width, width, width)

    def forward(self, x, edge_attr, edge_index):
        senders, receivers = edge_index
        edge = self.edge(torch.cat([x[senders], x[receivers], edge_attr], dim=-1))
        gathered = scatter(edge, receivers, dim=0, dim_size=x.size(0), reduce="sum")
        return x + self.node(torch.cat([x, gathered], dim=-1)), edge_attr + edge


class Simulator(nn.Module):
    def __init__(self, width=16, layers=3):
        super().__init__()
        self.node, self.edge = mlp(8, width, width), mlp(4, width, width)
        self.blocks = nn.ModuleList([Block(width) for _ in range(layers)])
        self.decoder = mlp(width, width, 2, norm=False)

    def forward(self, graph):
        x, pos, edge_index = graph.x, graph.pos, graph.edge_index
        between = pos[edge_index[0]] - pos[edge_index[1]]
        edge = self.edge(torch.cat([between, between.norm(dim=1, keepdim=True)], dim=1))
        h = self.node(x)
        for block in self.blocks:
            h, edge = block(h, edge, edge_index)
        return self.decoder(h)


def data():
    graphs = only(many_graphs(), "x", "pos")
    for graph in graphs:
        graph.y = graph.x[:, :2] * 3 + graph.pos[:, :2]
    return graphs


CASE = Case(Simulator, data, task="node-regression")
