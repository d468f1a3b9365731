"""Attention over edges that carry a time: cos(w t + b) beside their features, as temporal graph attention
(StatsDLMathsRecomSys/Inductive-representation-learning-on-temporal-graphs).
"""

import torch
from gauntlet_case import Case
from gauntlet_data import one_graph, only
from torch import nn
from torch_geometric.nn import TransformerConv


class TimeEncoder(nn.Module):
    def __init__(self, out):
        super().__init__()
        self.lin = nn.Linear(1, out)

    def forward(self, t):
        return self.lin(t.view(-1, 1)).cos()


class Net(nn.Module):
    def __init__(self, width=16):
        super().__init__()
        self.time = TimeEncoder(8)
        self.conv = TransformerConv(8, width // 2, heads=2, dropout=0.1, edge_dim=11)
        self.head = nn.Linear(width, 3)

    def forward(self, x, last_update, edge_index, t, msg):
        rel_t = last_update[edge_index[0]] - t
        edge_attr = torch.cat([self.time(rel_t.to(x.dtype)), msg], dim=-1)
        return self.head(self.conv(x, edge_index, edge_attr).relu())


def data():
    graph = only(one_graph(), "x", "edge_attr")
    generator = torch.Generator().manual_seed(0)
    graph.msg = graph.edge_attr
    del graph.edge_attr
    graph.last_update = torch.randint(0, 50, (graph.num_nodes,), generator=generator)
    graph.t = torch.randint(0, 50, (graph.num_edges,), generator=generator)
    return graph


CASE = Case(Net, data)
