"""A small graph whose links follow communities, and modules with an encoder and a decoder that the zoo doesn't have."""

from __future__ import annotations

import torch
from torch import nn
from torch_geometric.data import Data
from torch_geometric.nn import SAGEConv

MODULE = """
import torch
from torch_geometric.nn import SAGEConv

class Recommender(torch.nn.Module):
    "An encoder with a skip connection; a decoder with weights of its own that cares for the order of a pair."
    def __init__(self, in_channels, hidden=16):
        super().__init__()
        self.inside, self.conv = torch.nn.Linear(in_channels, hidden), SAGEConv(hidden, hidden)
        self.one, self.two = torch.nn.Linear(2 * hidden, hidden), torch.nn.Linear(hidden, 1)
    def encode(self, x, edge_index):
        x = self.inside(x).relu()
        return x + self.conv(x, edge_index).relu()
    def decode(self, z, edge_label_index):
        pair = torch.cat([z[edge_label_index[0]], z[edge_label_index[1]]], dim=1)
        return self.two(self.one(pair).relu())

def build(in_channels, hidden=16): return Recommender(in_channels, hidden)

class Pooled(torch.nn.Module):
    def __init__(self, in_channels):
        super().__init__()
        self.lin = torch.nn.Linear(in_channels, 4)
    def forward(self, x, edge_index): return self.lin(x).mean(0, keepdim=True)

class Two(Pooled):
    def forward(self, x, edge_index): return self.lin(x)
    def decode(self, z, edge_label_index): return z[edge_label_index[0]] * z[edge_label_index[1]]

def pooled(in_channels): return Pooled(in_channels)
def two(in_channels): return Two(in_channels)
"""


class Recommender(nn.Module):
    """The same as above, for tests that need no file."""

    def __init__(self, in_channels: int, hidden: int = 16) -> None:
        super().__init__()
        self.inside, self.conv = nn.Linear(in_channels, hidden), SAGEConv(hidden, hidden)
        self.one, self.two = nn.Linear(2 * hidden, hidden), nn.Linear(hidden, 1)

    def encode(self, x: torch.Tensor, edge_index: torch.Tensor) -> torch.Tensor:
        x = self.inside(x).relu()
        return x + self.conv(x, edge_index).relu()

    def decode(self, z: torch.Tensor, edge_label_index: torch.Tensor) -> torch.Tensor:
        pair = torch.cat([z[edge_label_index[0]], z[edge_label_index[1]]], dim=1)
        return self.two(self.one(pair).relu())


def social_graph(nodes: int = 60, links: int = 240, seed: int = 0, directed: bool = False) -> Data:
    """Four communities; most links stay in one. No labels: a link task needs none."""
    g = torch.Generator().manual_seed(seed)
    group = torch.arange(nodes) % 4
    x = torch.nn.functional.one_hot(group, 4).float().repeat(1, 2) + 0.3 * torch.randn(nodes, 8, generator=g)
    source = torch.randint(nodes, (links,), generator=g)
    target = (source + 4 * torch.randint(1, nodes // 4, (links,), generator=g)) % nodes
    astray = torch.rand(links, generator=g) < 0.1
    target = torch.where(astray, (target + 1) % nodes, target)
    edges = torch.stack([source, target])
    edges = edges[:, source != target]
    if not directed:
        edges = torch.cat([edges, edges.flip(0)], dim=1)
    return Data(x=x, edge_index=edges)
