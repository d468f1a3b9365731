"""Continuous filters over distances with a smooth cutoff, shifted softplus (atomistic-machine-learning/schnetpack
style), edges by radius inside the model."""

import math

import torch
from gauntlet_case import Case
from gauntlet_data import many_graphs, only
from torch import nn
from torch_geometric.nn import radius_graph
from torch_geometric.nn.pool import global_add_pool


class ShiftedSoftplus(nn.Module):
    def __init__(self):
        super().__init__()
        self.shift = torch.log(torch.tensor(2.0)).item()

    def forward(self, x):
        return nn.functional.softplus(x) - self.shift


class Interaction(nn.Module):
    def __init__(self, width, gaussians, cutoff):
        super().__init__()
        self.cutoff = cutoff
        self.filter = nn.Sequential(nn.Linear(gaussians, width), ShiftedSoftplus(), nn.Linear(width, width))
        self.inside, self.outside = (
            nn.Linear(width, width, bias=False),
            nn.Sequential(nn.Linear(width, width), ShiftedSoftplus(), nn.Linear(width, width)),
        )

    def forward(self, h, edge_index, weight, attr):
        cut = 0.5 * (torch.cos(weight * math.pi / self.cutoff) + 1.0)
        filters = self.filter(attr) * cut.view(-1, 1)
        j, i = edge_index
        message = self.inside(h)[j] * filters
        out = torch.zeros_like(h).index_add(0, i, message)
        return h + self.outside(out)


class SchNet(nn.Module):
    def __init__(self, width=16, gaussians=12, cutoff=2.5):
        super().__init__()
        self.cutoff = cutoff
        self.embedding = nn.Embedding(20, width, padding_idx=0)
        self.register_buffer("offset", torch.linspace(0, cutoff, gaussians))
        self.coeff = -0.5 / (self.offset[1] - self.offset[0]).item() ** 2
        self.blocks = nn.ModuleList([Interaction(width, gaussians, cutoff) for _ in range(2)])
        self.out = nn.Sequential(nn.Linear(width, width // 2), ShiftedSoftplus(), nn.Linear(width // 2, 1))

    def forward(self, z, pos, batch=None):
        batch = torch.zeros_like(z) if batch is None else batch
        h = self.embedding(z)
        edge_index = radius_graph(pos, r=self.cutoff, batch=batch)
        row, col = edge_index
        weight = (pos[row] - pos[col]).norm(dim=-1)
        attr = torch.exp(self.coeff * torch.pow(weight.view(-1, 1) - self.offset.view(1, -1), 2))
        for block in self.blocks:
            h = block(h, edge_index, weight, attr)
        return global_add_pool(self.out(h), batch)


def data():
    graphs = only(many_graphs(), "z", "pos")
    for graph in graphs:
        del graph.edge_index
        graph.y = graph.z.float().mean().view(1, 1)
    return graphs


CASE = Case(SchNet, data, task="graph-regression")
