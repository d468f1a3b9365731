"""GCNII with sixteen layers that share nothing, and APPNP behind it: initial residuals."""

from gauntlet_case import Case
from gauntlet_data import one_graph, only
from torch import nn
from torch.nn import functional as F
from torch_geometric.nn import APPNP, GCN2Conv


class Net(nn.Module):
    def __init__(self, width=16, layers=8):
        super().__init__()
        self.lins = nn.ModuleList([nn.Linear(8, width), nn.Linear(width, 3)])
        self.convs = nn.ModuleList([GCN2Conv(width, 0.1, 0.5, i + 1, shared_weights=True) for i in range(layers)])
        self.spread = APPNP(K=3, alpha=0.1)

    def forward(self, x, edge_index, edge_weight):
        x = F.dropout(x, 0.6, training=self.training)
        x = x_0 = self.lins[0](x).relu()
        for conv in self.convs:
            x = F.dropout(x, 0.6, training=self.training)
            x = conv(x, x_0, edge_index, edge_weight).relu()
        return self.spread(self.lins[1](x), edge_index, edge_weight).log_softmax(dim=-1)


CASE = Case(Net, lambda: only(one_graph(), "x", "edge_weight"))
