"""Only marked nodes are read out, a bool for each node; their share is a feature."""

import torch
from gauntlet_case import Case
from gauntlet_data import many_graphs, only
from torch import nn
from torch_geometric.nn import SAGEConv, global_add_pool


class Net(nn.Module):
    def __init__(self, width=16):
        super().__init__()
        self.conv1, self.conv2 = SAGEConv(8, width), SAGEConv(width, width)
        self.head = nn.Linear(width + 1, 3)

    def forward(self, x, edge_index, is_root, batch):
        h = self.conv2(self.conv1(x, edge_index).relu(), edge_index)
        h = torch.where(is_root.unsqueeze(-1), h, torch.zeros_like(h))
        count = global_add_pool(is_root.float().unsqueeze(-1), batch)
        size = global_add_pool(torch.ones_like(is_root, dtype=h.dtype).unsqueeze(-1), batch)
        return self.head(torch.cat([global_add_pool(h, batch) / count.clamp(min=1), count / size], -1))


def data():
    graphs = only(many_graphs(), "x")
    for i, graph in enumerate(graphs):
        graph.is_root = torch.arange(graph.num_nodes) % (2 + i % 3) == 0
    return graphs


CASE = Case(Net, data)
