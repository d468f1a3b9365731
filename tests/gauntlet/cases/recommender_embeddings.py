"""LightGCN: learnt rows for users and items, a normalised sum and a mean over layers, no features at all."""

import torch
from gauntlet_case import Case
from gauntlet_data import one_graph, only
from torch import nn
from torch_geometric.nn import LGConv


class LightGCN(nn.Module):
    def __init__(self, num_nodes=80, width=16, layers=3):
        super().__init__()
        self.embedding = nn.Embedding(num_nodes, width)
        self.convs = nn.ModuleList([LGConv() for _ in range(layers)])
        self.register_buffer("alpha", torch.full((layers + 1,), 1 / (layers + 1)))

    def forward(self, edge_index):
        x = self.embedding.weight
        out = x * self.alpha[0]
        for i, conv in enumerate(self.convs):
            x = conv(x, edge_index)
            out = out + x * self.alpha[i + 1]
        return out


def data():
    graph = only(one_graph(), "x")
    del graph.y, graph.train_mask, graph.val_mask, graph.test_mask
    return graph


CASE = Case(LightGCN, data, task="none", refused={"static-int8": "nothing to quantize"})
