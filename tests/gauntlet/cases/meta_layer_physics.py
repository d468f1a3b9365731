"""MetaLayer with models of edges, nodes and the whole graph, whose vector `u` is an input
(pyg-team/pytorch_geometric, docs of MetaLayer)."""

import torch
from gauntlet_case import Case
from gauntlet_data import many_graphs, only
from torch import nn
from torch_geometric.nn import MetaLayer
from torch_geometric.utils import scatter


class EdgeModel(nn.Module):
    def __init__(self):
        super().__init__()
        self.edge_mlp = nn.Sequential(nn.Linear(8 + 8 + 3 + 4, 12), nn.ReLU(), nn.Linear(12, 8))

    def forward(self, src, dst, edge_attr, u, batch):
        return self.edge_mlp(torch.cat([src, dst, edge_attr, u[batch]], 1))


class NodeModel(nn.Module):
    def __init__(self):
        super().__init__()
        self.node_mlp_1 = nn.Sequential(nn.Linear(16, 12), nn.ReLU())
        self.node_mlp_2 = nn.Sequential(nn.Linear(8 + 12 + 4, 8), nn.ReLU())

    def forward(self, x, edge_index, edge_attr, u, batch):
        row, col = edge_index
        out = self.node_mlp_1(torch.cat([x[row], edge_attr], dim=1))
        out = scatter(out, col, dim=0, dim_size=x.size(0), reduce="mean")
        return self.node_mlp_2(torch.cat([x, out, u[batch]], dim=1))


class GlobalModel(nn.Module):
    def __init__(self):
        super().__init__()
        self.global_mlp = nn.Sequential(nn.Linear(12, 12), nn.ReLU(), nn.Linear(12, 3))

    def forward(self, x, edge_index, edge_attr, u, batch):
        return self.global_mlp(torch.cat([u, scatter(x, batch, dim=0, reduce="mean")], dim=1))


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.op = MetaLayer(EdgeModel(), NodeModel(), GlobalModel())

    def forward(self, x, edge_index, edge_attr, u, batch):
        return self.op(x, edge_index, edge_attr, u, batch)[2]


def data():
    graphs = only(many_graphs(), "x", "edge_attr")
    for i, graph in enumerate(graphs):
        graph.u = torch.randn(1, 4, generator=torch.Generator().manual_seed(i))
    return graphs


CASE = Case(Net, data)
