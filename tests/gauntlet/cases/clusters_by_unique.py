"""Nodes fall into clusters by a sign, which `unique` numbers; clusters are pooled and joined by edges between them."""

import torch
from gauntlet_case import Case
from gauntlet_data import many_graphs, only
from torch import nn
from torch_geometric.nn import SAGEConv, global_mean_pool
from torch_geometric.utils import coalesce, scatter


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.head = SAGEConv(8, 16), nn.Linear(16, 3)

    def forward(self, x, edge_index, batch):
        h = self.conv(x, edge_index).relu()
        key = batch * 2 + (x[:, 0] > x[:, 1]).long()
        clusters, of = torch.unique(key, return_inverse=True)
        pooled = scatter(h, of, dim=0, dim_size=clusters.size(0), reduce="max")
        source, target = coalesce(of[edge_index], num_nodes=clusters.size(0))
        pooled = pooled + scatter(pooled[source], target, dim=0, dim_size=clusters.size(0), reduce="mean")
        return self.head(global_mean_pool(pooled, clusters // 2))


CASE = Case(Net, lambda: only(many_graphs(), "x"))
