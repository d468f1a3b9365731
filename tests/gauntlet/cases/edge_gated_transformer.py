"""Graph transformer over edges with features of nodes and edges, both updated (graphdeeplearning/graphtransformer),
rewritten from DGL to index_add."""

import torch
from gauntlet_case import Case
from gauntlet_data import many_graphs, only
from torch import nn
from torch_geometric.nn import global_mean_pool


class Layer(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads, self.size = heads, width // heads
        self.Q, self.K, self.V, self.E = (nn.Linear(width, width) for _ in range(4))
        self.O_h, self.O_e = nn.Linear(width, width), nn.Linear(width, width)
        self.norm_h, self.norm_e = nn.LayerNorm(width), nn.LayerNorm(width)
        self.ffn = nn.Sequential(nn.Linear(width, 2 * width), nn.ReLU(), nn.Linear(2 * width, width))
        self.norm = nn.LayerNorm(width)

    def forward(self, h, e, edge_index):
        src, dst = edge_index
        q, k, v = (f(h).view(-1, self.heads, self.size) for f in (self.Q, self.K, self.V))
        score = k[src] * q[dst] / self.size**0.5 * self.E(e).view(-1, self.heads, self.size)
        weight = torch.exp(score.sum(-1, keepdim=True).clamp(-5, 5))
        wv = torch.zeros_like(v).index_add(0, dst, v[src] * weight)
        z = weight.new_zeros(h.size(0), self.heads, 1).index_add(0, dst, weight)
        h = self.norm_h(h + self.O_h((wv / (z + 1e-6)).reshape(-1, self.heads * self.size)))
        e = self.norm_e(e + self.O_e(score.reshape(-1, self.heads * self.size)))
        return self.norm(h + self.ffn(h)), e


class Net(nn.Module):
    def __init__(self, width=16):
        super().__init__()
        self.node, self.edge = nn.Linear(8, width), nn.Linear(3, width)
        self.layers = nn.ModuleList([Layer(width, 4) for _ in range(2)])
        self.head = nn.Linear(width, 3)

    def forward(self, data):
        h, e = self.node(data.x), self.edge(data.edge_attr)
        for layer in self.layers:
            h, e = layer(h, e, data.edge_index)
        return self.head(global_mean_pool(h, data.batch))


CASE = Case(Net, lambda: only(many_graphs(), "x", "edge_attr"))
