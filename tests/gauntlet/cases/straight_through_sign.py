"""Hidden units are signs with a straight-through gradient, a `torch.autograd.Function` (binary graph networks)."""

import torch
from gauntlet_case import Case
from gauntlet_data import one_graph, only
from torch import nn
from torch_geometric.nn import SAGEConv


class Sign(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return torch.where(x >= 0, 1.0, -1.0)

    @staticmethod
    def backward(ctx, gradient):
        (x,) = ctx.saved_tensors
        return gradient * (x.abs() <= 1)


class Net(nn.Module):
    def __init__(self, width=32):
        super().__init__()
        self.conv1, self.conv2 = SAGEConv(8, width), SAGEConv(width, 3)

    def forward(self, x, edge_index):
        return self.conv2(Sign.apply(self.conv1(x, edge_index)), edge_index)


CASE = Case(Net, lambda: only(one_graph(), "x"), decibels=3)
