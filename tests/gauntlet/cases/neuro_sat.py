"""Literals and clauses pass messages by turns through LSTMs (dselsam/neurosat, ryanzhangfan/NeuroSAT): a sparse
bipartite matrix from an edge list, `flip` of literals left out."""

import torch
from gauntlet_case import Case
from gauntlet_data import many_graphs, only
from torch import nn
from torch_geometric.nn import global_mean_pool


class Net(nn.Module):
    def __init__(self, width=16, rounds=3):
        super().__init__()
        self.rounds, self.first = rounds, nn.Parameter(torch.randn(1, width))
        self.in_msg, self.out_msg = nn.Linear(width, width), nn.Linear(width, width)
        self.clause, self.back = nn.LSTMCell(width, width), nn.LSTMCell(width, width)
        self.features, self.vote = nn.Linear(8, width), nn.Linear(width, 3)

    def forward(self, x, edge_index, batch):
        row, col = edge_index
        h = self.features(x) + self.first.repeat(x.size(0), 1)
        c, g, d = torch.zeros_like(h), torch.zeros_like(h), torch.zeros_like(h)
        for _ in range(self.rounds):
            gathered = torch.zeros_like(h).index_add(0, col, self.out_msg(h)[row])
            g, d = self.clause(gathered, (g, d))
            returned = torch.zeros_like(h).index_add(0, row, self.in_msg(g)[col])
            h, c = self.back(returned, (h, c))
        return self.vote(global_mean_pool(h, batch))


CASE = Case(Net, lambda: only(many_graphs(), "x"))
