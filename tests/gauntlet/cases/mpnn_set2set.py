"""Neural message passing for molecules: NNConv whose weights come from edges, a GRU shared by steps, Set2Set
(pyg-team/pytorch_geometric, examples/qm9_nn_conv.py)."""

from gauntlet_case import Case
from gauntlet_data import many_graphs, only
from torch import nn
from torch_geometric.nn import NNConv, Set2Set


class Net(nn.Module):
    def __init__(self, dim=12):
        super().__init__()
        self.lin0 = nn.Linear(8, dim)
        self.conv = NNConv(dim, dim, nn.Sequential(nn.Linear(3, 16), nn.ReLU(), nn.Linear(16, dim * dim)), aggr="mean")
        self.gru = nn.GRU(dim, dim)
        self.set2set = Set2Set(dim, processing_steps=3)
        self.lin1, self.lin2 = nn.Linear(2 * dim, dim), nn.Linear(dim, 1)

    def forward(self, data):
        out = self.lin0(data.x).relu()
        h = out.unsqueeze(0)
        for _ in range(3):
            m = self.conv(out, data.edge_index, data.edge_attr).relu()
            out, h = self.gru(m.unsqueeze(0), h)
            out = out.squeeze(0)
        out = self.set2set(out, data.batch)
        return self.lin2(self.lin1(out).relu()).view(-1)


def data():
    graphs = only(many_graphs(), "x", "edge_attr")
    for graph in graphs:
        graph.y = graph.x[:, :3].sum().view(1)
    return graphs


CASE = Case(Net, data, task="graph-regression")
