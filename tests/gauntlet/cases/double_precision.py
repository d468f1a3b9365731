"""A model that was trained and saved in float64."""

from gauntlet_case import Case
from gauntlet_data import one_graph, only
from torch import nn
from torch_geometric.nn import GATConv


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1, self.conv2 = GATConv(8, 8, heads=2), GATConv(16, 3)
        self.double()

    def forward(self, x, edge_index):
        return self.conv2(self.conv1(x, edge_index).relu(), edge_index)


def data():
    graph = only(one_graph(), "x")
    graph.x = graph.x.double()
    return graph


CASE = Case(Net, data)
