"""`forward(x, adj)` as in tkipf/pygcn: the data hold a normalised sparse matrix and no `edge_index`."""

import torch
from gauntlet_case import Case
from gauntlet_data import one_graph, only
from torch import nn

from cases.sparse_matrix_product import GraphConvolution


class GCN(nn.Module):
    def __init__(self, width=16):
        super().__init__()
        self.gc1, self.gc2 = GraphConvolution(8, width), GraphConvolution(width, 3)

    def forward(self, x, adj):
        return torch.log_softmax(self.gc2(torch.relu(self.gc1(x, adj)), adj), dim=1)


def data():
    graph = only(one_graph(), "x", "edge_weight")
    n = graph.num_nodes
    matrix = torch.sparse_coo_tensor(graph.edge_index.flip(0), graph.edge_weight, (n, n), check_invariants=False)
    graph.adj = matrix.coalesce()
    del graph.edge_index, graph.edge_weight
    return graph


CASE = Case(GCN, data, decibels=8)
