"""Degrees are counted inside and looked up, as models for graphs without features do; `x` is a constant."""

import torch
from gauntlet_case import Case
from gauntlet_data import many_graphs, only
from torch import nn
from torch_geometric.nn import GINConv, global_add_pool
from torch_geometric.utils import degree


class Net(nn.Module):
    def __init__(self, width=16, most=20):
        super().__init__()
        self.most, self.table = most, nn.Embedding(most + 1, width)
        self.convs = nn.ModuleList(
            [
                GINConv(nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width)), train_eps=True)
                for _ in range(3)
            ]
        )
        self.head = nn.Linear(width, 3)

    def forward(self, data):
        d = degree(data.edge_index[1], data.num_nodes, dtype=torch.long).clamp(max=self.most)
        h = self.table(d)
        for conv in self.convs:
            h = conv(h, data.edge_index).relu()
        return self.head(global_add_pool(h, data.batch))


def data():
    graphs = only(many_graphs())
    for graph in graphs:
        graph.num_nodes = int(graph.edge_index.max()) + 1
    return graphs


CASE = Case(Net, data)
