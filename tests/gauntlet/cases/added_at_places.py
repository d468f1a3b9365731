"""Weights are added up at the places of a dense matrix by `index_put_`, and multiplied."""

import torch
from gauntlet_case import Case
from gauntlet_data import one_graph, only
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(8, 16), nn.Linear(16, 3)

    def forward(self, x, edge_index, edge_weight):
        n = x.size(0)
        adj = torch.zeros(n, n)
        adj.index_put_((edge_index[1], edge_index[0]), edge_weight, accumulate=True)
        degree = torch.ones(n).index_put((edge_index[1],), torch.tensor(1.0), accumulate=True)
        h = (adj @ self.first(x) / degree[:, None]).relu()
        return self.second(h)


CASE = Case(Net, lambda: only(one_graph(), "x", "edge_weight"), native=0)
