"""The encoder of a variational graph autoencoder: mean and logarithm of the deviation, two outputs without labels
(tkipf/gae in PyG)."""

from gauntlet_case import Case
from gauntlet_data import one_graph, only
from torch import nn
from torch_geometric.nn import GCNConv


class Encoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1, self.conv_mu, self.conv_logstd = (
            GCNConv(8, 32, cached=True),
            GCNConv(32, 16, cached=True),
            GCNConv(32, 16, cached=True),
        )

    def forward(self, x, edge_index):
        x = self.conv1(x, edge_index).relu()
        return self.conv_mu(x, edge_index), self.conv_logstd(x, edge_index)


def data():
    graph = only(one_graph(), "x")
    del graph.y, graph.train_mask, graph.val_mask, graph.test_mask
    return graph


CASE = Case(Encoder, data, task="none")
