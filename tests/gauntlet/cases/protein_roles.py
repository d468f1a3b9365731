"""Several labels of each node in two dozen graphs, as PPI: GAT layers with linear skips (examples/ppi.py of PyG)."""

from gauntlet_case import Case
from gauntlet_data import many_graphs, only
from torch import nn
from torch.nn import functional as F
from torch_geometric.nn import GATConv


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1, self.lin1 = GATConv(8, 8, heads=4), nn.Linear(8, 32)
        self.conv2, self.lin2 = GATConv(32, 8, heads=4), nn.Linear(32, 32)
        self.conv3, self.lin3 = GATConv(32, 5, heads=6, concat=False), nn.Linear(32, 5)

    def forward(self, x, edge_index):
        x = F.elu(self.conv1(x, edge_index) + self.lin1(x))
        x = F.elu(self.conv2(x, edge_index) + self.lin2(x))
        return self.conv3(x, edge_index) + self.lin3(x)


def data():
    graphs = only(many_graphs(24), "x")
    for graph in graphs:
        graph.y = (graph.x[:, :5] > 0.5).float()
    return graphs


CASE = Case(Net, data)
