"""Edges are classified by an interaction network: relational and object model by turns, as in charged-particle
tracking (GageDeZoort/interaction_network_paper)."""

import torch
from gauntlet_case import Case
from gauntlet_data import one_graph, only
from torch import nn
from torch_geometric.nn import MessagePassing


class Mlp(nn.Module):
    def __init__(self, given, hidden, out):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(given, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, out)
        )

    def forward(self, x):
        return self.layers(x)


class InteractionNetwork(MessagePassing):
    def __init__(self, hidden=20):
        super().__init__(aggr="add", flow="source_to_target")
        self.R1 = Mlp(19, hidden, 4)
        self.O = Mlp(12, hidden, 8)
        self.R2 = Mlp(20, hidden, 1)
        self.E = None

    def forward(self, x, edge_index, edge_attr):
        x_tilde = self.propagate(edge_index, x=x, edge_attr=edge_attr, size=None)
        m2 = torch.cat([x_tilde[edge_index[1]], x_tilde[edge_index[0]], self.E], dim=1)
        return torch.sigmoid(self.R2(m2))

    def message(self, x_i, x_j, edge_attr):
        self.E = self.R1(torch.cat([x_i, x_j, edge_attr], dim=1))
        return self.E

    def update(self, aggr_out, x):
        return self.O(torch.cat([x, aggr_out], dim=1))


def data():
    graph = only(one_graph(), "x", "edge_attr")
    graph.y = (graph.edge_attr[:, 0] > 0).float().unsqueeze(1)
    for name in ("train_mask", "val_mask", "test_mask"):
        del graph[name]
    return graph


CASE = Case(InteractionNetwork, data, task="edge-regression")
