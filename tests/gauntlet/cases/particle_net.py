"""ParticleNet: EdgeConv over the nearest neighbours in feature space with BatchNorm and shortcut, by hand with
`cdist` and `topk` on a dense batch (hqucms/ParticleNet), here for one jet a graph."""

import torch
from gauntlet_case import Case
from gauntlet_data import many_graphs, only
from torch import nn
from torch_geometric.nn import global_mean_pool, knn_graph


class EdgeBlock(nn.Module):
    def __init__(self, given, width, k=4):
        super().__init__()
        self.k = k
        self.mlp = nn.Sequential(
            nn.Linear(2 * given, width, bias=False),
            nn.BatchNorm1d(width),
            nn.ReLU(),
            nn.Linear(width, width, bias=False),
            nn.BatchNorm1d(width),
            nn.ReLU(),
        )
        self.shortcut = nn.Sequential(nn.Linear(given, width, bias=False), nn.BatchNorm1d(width))

    def forward(self, points, features, batch):
        neighbour, centre = knn_graph(points, self.k, batch)
        edges = torch.cat([features[centre], features[neighbour] - features[centre]], dim=1)
        messages = self.mlp(edges)
        count = torch.zeros(len(features), 1).index_add(0, centre, torch.ones(len(centre), 1))
        mean = torch.zeros(len(features), messages.shape[1]).index_add(0, centre, messages) / count.clamp(min=1)
        return torch.relu(mean + self.shortcut(features))


class ParticleNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm1d(8)
        self.blocks = nn.ModuleList([EdgeBlock(8, 16), EdgeBlock(16, 24)])
        self.head = nn.Sequential(nn.Linear(24, 16), nn.ReLU(), nn.Dropout(0.1), nn.Linear(16, 3))

    def forward(self, pos, x, batch):
        h = self.norm(x)
        for i, block in enumerate(self.blocks):
            h = block(pos[:, :2] if i == 0 else h, h, batch)
        return self.head(global_mean_pool(h, batch))


def data():
    graphs = only(many_graphs(smallest=8), "x", "pos")
    for graph in graphs:
        del graph.edge_index
    return graphs


CASE = Case(ParticleNet, data)
