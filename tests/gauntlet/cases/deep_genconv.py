"""DeepGCN blocks: norm, activation, dropout and a GENConv with learnt softmax temperature, residual+
(examples/ogbn_proteins_deepgcn.py of PyG)."""

from gauntlet_case import Case
from gauntlet_data import one_graph, only
from torch import nn
from torch_geometric.nn import DeepGCNLayer, GENConv


class DeeperGCN(nn.Module):
    def __init__(self, width=16, layers=3):
        super().__init__()
        self.node, self.edge = nn.Linear(8, width), nn.Linear(3, width)
        self.layers = nn.ModuleList()
        for _ in range(layers):
            conv = GENConv(width, width, aggr="softmax", t=1.0, learn_t=True, num_layers=2, norm="layer")
            self.layers.append(
                DeepGCNLayer(conv, nn.LayerNorm(width), nn.ReLU(inplace=True), block="res+", dropout=0.1)
            )
        self.lin = nn.Linear(width, 3)

    def forward(self, x, edge_index, edge_attr):
        x, edge_attr = self.node(x), self.edge(edge_attr)
        x = self.layers[0].conv(x, edge_index, edge_attr)
        for layer in self.layers[1:]:
            x = layer(x, edge_index, edge_attr)
        return self.lin(self.layers[0].act(self.layers[0].norm(x)))


CASE = Case(DeeperGCN, lambda: only(one_graph(), "x", "edge_attr"))
