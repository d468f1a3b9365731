"""Dot attention between the ends of edges by `einsum`, four heads, softmax of PyG, gated residual."""

import torch
from gauntlet_case import Case
from gauntlet_data import one_graph, only
from torch import nn
from torch_geometric.utils import softmax


class Net(nn.Module):
    def __init__(self, width=16, heads=4):
        super().__init__()
        self.heads, self.first = heads, nn.Linear(8, width)
        self.qkv, self.out, self.gate = (
            nn.Linear(width, 3 * width, bias=False),
            nn.Linear(width, width),
            nn.Linear(2 * width, 1),
        )
        self.head = nn.Linear(width, 3)

    def forward(self, x, edge_index):
        src, dst = edge_index
        h = self.first(x)
        q, k, v = self.qkv(h).view(h.size(0), 3, self.heads, -1).unbind(1)
        score = torch.einsum("ehd,ehd->eh", q[dst], k[src]) / q.shape[-1] ** 0.5
        alpha = softmax(score, dst, num_nodes=h.size(0))
        message = torch.einsum("eh,ehd->ehd", alpha, v[src])
        out = torch.zeros_like(v).index_add_(0, dst, message)
        out = self.out(out.flatten(1))
        gate = torch.sigmoid(self.gate(torch.cat([h, out], -1)))
        return self.head(gate * out + (1 - gate) * h)


CASE = Case(Net, lambda: only(one_graph(), "x"))
