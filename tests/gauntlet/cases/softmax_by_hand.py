"""Attention with the softmax over neighbours written out: the largest by `scatter_reduce`, exp, sum, quotient."""

import torch
from gauntlet_case import Case
from gauntlet_data import one_graph, only
from torch import nn


class Layer(nn.Module):
    def __init__(self, given, out, slope=0.2):
        super().__init__()
        self.W, self.a_src, self.a_dst = nn.Linear(given, out, bias=False), nn.Linear(out, 1), nn.Linear(out, 1)
        self.act = nn.LeakyReLU(slope)

    def forward(self, x, edge_index):
        src, dst = edge_index[0], edge_index[1]
        h = self.W(x)
        e = self.act(self.a_src(h)[src] + self.a_dst(h)[dst]).squeeze(-1)
        top = torch.full((x.size(0),), float("-inf")).scatter_reduce(0, dst, e, reduce="amax", include_self=False)
        e = torch.exp(e - top[dst])
        total = torch.zeros(x.size(0)).scatter_add(0, dst, e)
        alpha = e / (total[dst] + 1e-16)
        return torch.zeros_like(h).index_add(0, dst, alpha.unsqueeze(-1) * h[src])


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.heads = nn.ModuleList([Layer(8, 8) for _ in range(3)])
        self.out = Layer(24, 3)

    def forward(self, x, edge_index):
        x = torch.cat([head(x, edge_index) for head in self.heads], dim=1)
        return self.out(nn.functional.elu(x), edge_index).log_softmax(1)


CASE = Case(Net, lambda: only(one_graph(), "x"))
