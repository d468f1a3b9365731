"""GraphConv and TopKPooling by turns, mean and largest of each stage added (examples/proteins_topk_pool.py of PyG)."""

import torch
from gauntlet_case import Case
from gauntlet_data import many_graphs, only
from torch import nn
from torch_geometric.nn import GraphConv, TopKPooling, global_max_pool, global_mean_pool


class Net(nn.Module):
    def __init__(self, width=16):
        super().__init__()
        self.convs = nn.ModuleList([GraphConv(8, width), GraphConv(width, width)])
        self.pools = nn.ModuleList([TopKPooling(width, ratio=0.8), TopKPooling(width, ratio=0.8)])
        self.lin1, self.lin2 = nn.Linear(2 * width, width), nn.Linear(width, 3)

    def forward(self, data):
        x, edge_index, batch = data.x, data.edge_index, data.batch
        total = 0
        for conv, pool in zip(self.convs, self.pools, strict=True):
            x = conv(x, edge_index).relu()
            x, edge_index, _, batch, _, _ = pool(x, edge_index, None, batch)
            total = total + torch.cat([global_max_pool(x, batch), global_mean_pool(x, batch)], dim=1)
        return self.lin2(self.lin1(total).relu()).log_softmax(dim=-1)


CASE = Case(Net, lambda: only(many_graphs(smallest=10), "x"), decibels=0)
