"""Small models and tasks for A2Q: nodes of one graph, and graphs of several sizes."""

import torch
from torch import nn
from torch_geometric.data import Data
from torch_geometric.nn import GATConv, GCNConv, GINConv, SAGEConv, global_add_pool

from edgegnn.tasks import Task, TaskSpec


class Gcn(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = GCNConv(8, 16), GCNConv(16, 3)

    def forward(self, x, edge_index):
        return self.second(self.first(x, edge_index).relu(), edge_index)


class Gin(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = GINConv(nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 16)))
        self.head = nn.Linear(16, 3)

    def forward(self, x, edge_index, batch):
        return self.head(global_add_pool(self.conv(x, edge_index), batch))


def spec(kind):
    return TaskSpec("mine", kind, "given", 0, "accuracy", 8, 3, {})


def node_task(nodes=90):
    g = torch.Generator().manual_seed(0)
    y = torch.arange(nodes) % 3
    x = torch.randn(nodes, 8, generator=g) + 2 * torch.eye(3, 8)[y]
    source = torch.randint(0, nodes, (4 * nodes,), generator=g)
    target = (source + 3 * torch.randint(1, 9, source.shape, generator=g)) % nodes
    index = {"train": torch.arange(30), "val": torch.arange(30, 60), "test": torch.arange(60, nodes)}
    return Task(spec("node"), [Data(x=x, edge_index=torch.stack([source, target]), y=y)], index)


def graph_task(count=30):
    g = torch.Generator().manual_seed(0)
    graphs = []
    for i in range(count):
        n = 4 + i % 5
        x = torch.randn(n, 8, generator=g) + 2 * torch.eye(3, 8)[i % 3]
        graphs.append(Data(x=x, edge_index=torch.randint(0, n, (2, 3 * n), generator=g), y=torch.tensor([i % 3])))
    index = {"train": torch.arange(18), "val": torch.arange(18, 24), "test": torch.arange(24, count)}
    return Task(spec("graph"), graphs, index)


class Gat(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = GATConv(8, 4, heads=2), GATConv(8, 3)

    def forward(self, x, edge_index):
        return self.second(self.first(x, edge_index).relu(), edge_index)


class Sage(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = SAGEConv(8, 16), SAGEConv(16, 3)

    def forward(self, x, edge_index):
        return self.second(self.first(x, edge_index).relu(), edge_index)
