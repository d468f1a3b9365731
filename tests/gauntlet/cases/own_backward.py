"""A product with a sparse matrix that writes its own backward (Diego999/pyGAT's `SpecialSpmm`)."""

import torch
import torch.nn.functional as F
from gauntlet_case import Case
from gauntlet_data import one_graph, only
from torch import nn


class SpecialSpmm(torch.autograd.Function):
    @staticmethod
    def forward(ctx, indices, values, shape, b):
        a = torch.sparse_coo_tensor(indices, values, shape)
        ctx.save_for_backward(a, b)
        ctx.rows = shape[0]
        return torch.matmul(a, b)

    @staticmethod
    def backward(ctx, grad):
        a, b = ctx.saved_tensors
        values = dense = None
        if ctx.needs_input_grad[1]:
            every = grad.matmul(b.t())
            values = every.view(-1)[a._indices()[0] * every.shape[1] + a._indices()[1]]
        if ctx.needs_input_grad[3]:
            dense = a.t().matmul(grad)
        return None, values, None, dense


class Net(nn.Module):
    def __init__(self, width=16):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(8, width) / 3)
        self.a = nn.Parameter(torch.randn(1, 2 * width) / 3)
        self.out = nn.Linear(width, 3)

    def forward(self, x, edge_index):
        h, n = x @ self.weight, x.size(0)
        ends = torch.cat((h[edge_index[0]], h[edge_index[1]]), dim=1).t()
        e = torch.exp(-F.leaky_relu(self.a.mm(ends).squeeze(), 0.2))
        total = SpecialSpmm.apply(edge_index, e, torch.Size([n, n]), torch.ones(n, 1))
        return self.out(F.elu(SpecialSpmm.apply(edge_index, e, torch.Size([n, n]), h) / (total + 1e-9)))


CASE = Case(Net, lambda: only(one_graph(), "x"), native=0)
