"""SortPooling with one-dimensional convolutions over the sorted rows (muhanzhang/pytorch_DGCNN)."""

import torch
from gauntlet_case import Case
from gauntlet_data import many_graphs, only
from torch import nn
from torch_geometric.nn import GCNConv, SortAggregation


class Net(nn.Module):
    def __init__(self, width=8, k=10):
        super().__init__()
        self.convs = nn.ModuleList([GCNConv(8, width), GCNConv(width, width), GCNConv(width, 1)])
        total = 2 * width + 1
        self.sort = SortAggregation(k)
        self.conv1, self.conv2 = nn.Conv1d(1, 8, total, total), nn.Conv1d(8, 16, 3, 1)
        self.pool = nn.MaxPool1d(2, 2)
        self.mlp = nn.Sequential(nn.Linear(16 * ((k // 2) - 2), 16), nn.ReLU(), nn.Dropout(0.5), nn.Linear(16, 3))

    def forward(self, x, edge_index, batch):
        states = [x]
        for conv in self.convs:
            states.append(conv(states[-1], edge_index).tanh())
        h = self.sort(torch.cat(states[1:], dim=-1), batch).unsqueeze(1)
        h = self.conv2(self.pool(self.conv1(h).relu())).relu()
        return self.mlp(h.view(h.size(0), -1))


CASE = Case(Net, lambda: only(many_graphs(), "x"))
