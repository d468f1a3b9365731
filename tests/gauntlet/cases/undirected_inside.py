"""Directed edges are made undirected, and those that are there twice joined, inside the model; edges are dropped while
it learns (`to_undirected`, `coalesce`, `sort_edge_index`,
`dropout_edge` of PyG)."""

import torch
from gauntlet_case import Case
from gauntlet_data import one_graph, only
from torch import nn
from torch_geometric.nn import GCNConv, GraphConv
from torch_geometric.utils import coalesce, dropout_edge, sort_edge_index, to_undirected


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = GCNConv(8, 16), GraphConv(16, 3)

    def forward(self, x, edge_index, edge_weight):
        n = x.size(0)
        both = to_undirected(edge_index, num_nodes=n)
        both, _ = dropout_edge(both, p=0.2, training=self.training)
        twice = torch.cat([edge_index, edge_index.flip(0)], dim=1)
        twice, weight = sort_edge_index(twice, torch.cat([edge_weight, edge_weight]), sort_by_row=False)
        once, weight = coalesce(twice, weight, num_nodes=n, reduce="max")
        return self.second(self.first(x, both).relu(), once, weight)


CASE = Case(Net, lambda: only(one_graph(), "x", "edge_weight"))
