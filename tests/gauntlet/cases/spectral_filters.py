"""Polynomial filters with learnt coefficients by hand (ivam-he/BernNet): loops over powers of two propagations."""

from math import comb

import torch
from gauntlet_case import Case
from gauntlet_data import one_graph, only
from torch import nn
from torch_geometric.nn import MessagePassing
from torch_geometric.utils import add_self_loops, get_laplacian


class BernProp(MessagePassing):
    def __init__(self, K=3):
        super().__init__(aggr="add")
        self.K, self.temp = K, nn.Parameter(torch.rand(K + 1))

    def forward(self, x, edge_index):
        TEMP = torch.relu(self.temp)
        e1, n1 = get_laplacian(edge_index, None, normalization="sym", dtype=x.dtype, num_nodes=x.size(0))
        e2, n2 = add_self_loops(e1, -n1, fill_value=2.0, num_nodes=x.size(0))
        tmp = [x]
        for _ in range(self.K):
            x = self.propagate(e2, x=x, norm=n2)
            tmp.append(x)
        out = (comb(self.K, 0) / 2**self.K) * TEMP[0] * tmp[self.K]
        for i in range(self.K):
            x = tmp[self.K - i - 1]
            x = self.propagate(e1, x=x, norm=n1)
            for _ in range(i):
                x = self.propagate(e1, x=x, norm=n1)
            out = out + (comb(self.K, i + 1) / 2**self.K) * TEMP[i + 1] * x
        return out

    def message(self, x_j, norm):
        return norm.view(-1, 1) * x_j


class Net(nn.Module):
    def __init__(self, width=16):
        super().__init__()
        self.lin1, self.lin2, self.prop = nn.Linear(8, width), nn.Linear(width, 3), BernProp()

    def forward(self, data):
        return self.prop(self.lin2(self.lin1(data.x).relu()), data.edge_index).log_softmax(dim=1)


CASE = Case(Net, lambda: only(one_graph(), "x"))
