"""A graph U-Net: squares of the sparse adjacency, top-k pooling, and back (examples/graph_unet.py of PyG, smaller)."""

from gauntlet_case import Case
from gauntlet_data import one_graph, only
from torch import nn
from torch_geometric.nn import GraphUNet


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.unet = GraphUNet(8, 16, 3, depth=1, pool_ratios=0.5)

    def forward(self, x, edge_index):
        return self.unet(x, edge_index).log_softmax(dim=1)


CASE = Case(Net, lambda: only(one_graph(), "x"))
