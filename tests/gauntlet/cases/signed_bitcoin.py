"""Two groups of edges, trusted and not, told from the sign of a feature inside the model."""

import torch
from gauntlet_case import Case
from gauntlet_data import one_graph, only
from torch import nn
from torch_geometric.utils import degree


class Net(nn.Module):
    def __init__(self, width=16):
        super().__init__()
        self.own, self.good, self.bad = (
            nn.Linear(8, width),
            nn.Linear(8, width, bias=False),
            nn.Linear(8, width, bias=False),
        )
        self.head = nn.Linear(width, 3)

    def mean(self, x, edges):
        total = torch.zeros_like(x).index_add(0, edges[1], x[edges[0]])
        return total / degree(edges[1], x.size(0)).clamp(min=1).unsqueeze(1)

    def forward(self, x, edge_index, edge_weight):
        positive = edge_weight > 0.6
        good, bad = edge_index[:, positive], edge_index[:, ~positive]
        h = self.own(x) + self.good(self.mean(x, good)) - self.bad(self.mean(x, bad))
        return self.head(torch.tanh(h))


CASE = Case(Net, lambda: only(one_graph(), "x", "edge_weight"))
