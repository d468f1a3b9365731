"""A GAT that returns its attention beside the logits: rows for the edges and the self-loops, which no level has."""

from gauntlet_case import Case
from gauntlet_data import one_graph, only
from torch import nn
from torch_geometric.nn import GATConv, GATv2Conv


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = GATConv(8, 8, heads=2, edge_dim=3), GATv2Conv(16, 3, edge_dim=3)

    def forward(self, x, edge_index, edge_attr):
        x, (_, attention) = self.first(x, edge_index, edge_attr, return_attention_weights=True)
        return self.second(x.relu(), edge_index, edge_attr), attention


CASE = Case(Net, lambda: only(one_graph(), "x", "edge_attr"))
