"""A number for each node without an axis of its own, `x` of shape `[N]`, and a number for each edge."""

import torch
from gauntlet_case import Case
from gauntlet_data import one_graph
from torch import nn
from torch_geometric.data import Data
from torch_geometric.nn import GATv2Conv


class Net(nn.Module):
    def __init__(self, width=8):
        super().__init__()
        self.lift = nn.Linear(1, width)
        self.conv1 = GATv2Conv(width, width, heads=2, edge_dim=1)
        self.conv2 = GATv2Conv(2 * width, 2, heads=1, concat=False, edge_dim=1, share_weights=True)

    def forward(self, x, edge_index, weight):
        h = torch.tanh(self.lift(x[:, None]))
        h = self.conv1(h, edge_index, weight[:, None]).relu()
        return self.conv2(h, edge_index, weight[:, None])


def data():
    graph = one_graph()
    return Data(x=graph.x[:, 0], edge_index=graph.edge_index, weight=graph.edge_weight, y=(graph.x[:, 0] > 0).long())


CASE = Case(Net, data)
