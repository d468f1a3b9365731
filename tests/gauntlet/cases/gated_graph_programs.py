"""A gated graph network over several types of edges with a GRU that is shared by all steps, as networks for program
graphs write it (JamesChuanggg/ggnn.pytorch, in sparse form)."""

import torch
from gauntlet_case import Case
from gauntlet_data import many_graphs, only
from torch import nn
from torch_geometric.nn import global_max_pool


class Net(nn.Module):
    def __init__(self, width=16, types=4, steps=4):
        super().__init__()
        self.first = nn.Linear(8, width)
        self.weights = nn.Parameter(torch.randn(types, width, width) * 0.2)
        self.cell, self.steps = nn.GRUCell(width, width), steps
        self.gate, self.out = nn.Linear(width + 8, 1), nn.Linear(width, 3)

    def forward(self, x, edge_index, edge_type, batch):
        h = torch.tanh(self.first(x))
        for _ in range(self.steps):
            message = torch.bmm(h[edge_index[0]].unsqueeze(1), self.weights[edge_type]).squeeze(1)
            m = torch.zeros_like(h).index_add_(0, edge_index[1], message)
            h = self.cell(m, h)
        gate = torch.sigmoid(self.gate(torch.cat([h, x], dim=-1)))
        return self.out(global_max_pool(gate * torch.tanh(h), batch))


CASE = Case(Net, lambda: only(many_graphs(), "x", "edge_type"))
