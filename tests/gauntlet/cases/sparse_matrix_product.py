"""The adjacency is a `torch.sparse` matrix made of `edge_index` inside, normalised by its row sums (tkipf/pygcn)."""

import torch
from gauntlet_case import Case
from gauntlet_data import one_graph, only
from torch import nn


class GraphConvolution(nn.Module):
    def __init__(self, given, out):
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.randn(given, out) * 0.3), nn.Parameter(torch.zeros(out))

    def forward(self, x, adj):
        return torch.spmm(adj, torch.mm(x, self.weight)) + self.bias


class GCN(nn.Module):
    def __init__(self, width=16):
        super().__init__()
        self.gc1, self.gc2 = GraphConvolution(8, width), GraphConvolution(width, 3)

    def forward(self, x, edge_index, edge_weight):
        n = x.size(0)
        adj = torch.sparse_coo_tensor(edge_index, edge_weight, (n, n))
        h = torch.relu(self.gc1(x, adj))
        return torch.log_softmax(self.gc2(h, adj), dim=1)


CASE = Case(GCN, lambda: only(one_graph(), "x", "edge_weight"), decibels=8)
