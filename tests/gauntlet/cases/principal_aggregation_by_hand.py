"""Mean, deviation, largest and smallest of the neighbours times three scalers of the degree (lukecavabarrett/pna)."""

import torch
from gauntlet_case import Case
from gauntlet_data import one_graph, only
from torch import nn
from torch_geometric.utils import degree, scatter


class Layer(nn.Module):
    def __init__(self, width, average):
        super().__init__()
        self.average = average
        self.pre, self.post = nn.Linear(2 * width, width), nn.Linear(13 * width, width)

    def forward(self, x, edge_index):
        j, i = edge_index
        m = self.pre(torch.cat([x[i], x[j]], -1))
        n = x.size(0)
        mean = scatter(m, i, 0, n, "mean")
        square = scatter(m * m, i, 0, n, "mean")
        std = torch.sqrt(torch.relu(square - mean * mean) + 1e-5)
        gathered = torch.cat([mean, std, scatter(m, i, 0, n, "max"), scatter(m, i, 0, n, "min")], -1)
        deg = torch.log(degree(i, n) + 1).unsqueeze(-1)
        up = gathered * (deg / self.average)
        down = gathered * (self.average / deg.clamp(min=1e-2))
        return self.post(torch.cat([x, gathered, up, down], -1))


class Net(nn.Module):
    def __init__(self, width=12):
        super().__init__()
        self.first = nn.Linear(8, width)
        self.layers = nn.ModuleList([Layer(width, 1.5) for _ in range(2)])
        self.norms = nn.ModuleList([nn.BatchNorm1d(width) for _ in range(2)])
        self.head = nn.Linear(width, 3)

    def forward(self, x, edge_index):
        h = self.first(x)
        for layer, norm in zip(self.layers, self.norms, strict=True):
            h = h + norm(layer(h, edge_index)).relu()
        return self.head(h)


CASE = Case(Net, lambda: only(one_graph(), "x"), decibels=8)
