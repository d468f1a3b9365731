"""Every convolution and model of PyG that takes (x, edge_index[, edge_attr | edge_type]), for the test of coverage."""

from __future__ import annotations

import torch
import torch_geometric.nn as gnn
from capture_example import CLASSES, FEATURES, HIDDEN, mlp
from torch import nn

ALL = ["mean", "min", "max", "std"]
DEGREES = torch.tensor([1, 4, 6, 3, 2])


class One(nn.Module):
    """A convolution; `takes` are the names of what it takes beside x and edge_index."""

    def __init__(self, conv, *takes, wide=FEATURES):
        super().__init__()
        self.conv, self.takes, self.wide = conv, takes, wide

    def forward(self, x, edge_index, edge_attr=None):
        given = {
            "edge_attr": edge_attr,
            "edge_type": None if edge_attr is None else (edge_attr[:, 0] * 2.99).long(),
            "edge_weight": None if edge_attr is None else edge_attr[:, 0],
            "x_0": x,
            "pos": x[:, :3],
            "normal": nn.functional.normalize(x[:, 3:6], dim=1),
        }
        named = {name: given[name] for name in self.takes}
        return self.conv(x[:, : self.wide], edge_index=edge_index, **named).flatten(1)


class Rows(nn.Module):
    """DNAConv looks at the rows of all earlier layers."""

    def __init__(self, conv):
        super().__init__()
        self.conv = conv

    def forward(self, x, edge_index):
        return self.conv(torch.stack([x, x.relu()], dim=1), edge_index)


class Signed(nn.Module):
    """Positive and negative edges; here they are the same."""

    def __init__(self, first, second):
        super().__init__()
        self.first, self.second = first, second

    def forward(self, x, edge_index):
        return self.second(self.first(x, edge_index, edge_index.flip(1)), edge_index, edge_index)


class Typed(nn.Module):
    """HEATConv knows types of nodes and of edges."""

    def __init__(self, conv):
        super().__init__()
        self.conv = conv

    def forward(self, x, edge_index, edge_attr):
        return self.conv(x, edge_index, (x[:, 0] > 0).long(), (edge_attr[:, 0] * 2.99).long(), edge_attr)


_POINTS = 3 + FEATURES

CONVS = {
    "SimpleConv": lambda: One(gnn.SimpleConv(aggr=["sum", "mean", "max"])),
    "GCNConv": lambda: One(gnn.GCNConv(FEATURES, HIDDEN)),
    "ChebConv": lambda: One(gnn.ChebConv(FEATURES, HIDDEN, 3)),
    "SAGEConv": lambda: One(gnn.SAGEConv(FEATURES, HIDDEN)),
    "GraphConv": lambda: One(gnn.GraphConv(FEATURES, HIDDEN)),
    "GatedGraphConv": lambda: One(gnn.GatedGraphConv(12, 2)),
    "ResGatedGraphConv": lambda: One(gnn.ResGatedGraphConv(FEATURES, HIDDEN)),
    "GATConv": lambda: One(gnn.GATConv(FEATURES, HIDDEN, heads=4)),
    "GATv2Conv": lambda: One(gnn.GATv2Conv(FEATURES, HIDDEN, heads=4)),
    "TransformerConv": lambda: One(gnn.TransformerConv(FEATURES, HIDDEN, 2)),
    "AGNNConv": lambda: One(gnn.AGNNConv()),
    "TAGConv": lambda: One(gnn.TAGConv(FEATURES, HIDDEN)),
    "GINConv": lambda: One(gnn.GINConv(mlp(FEATURES, HIDDEN), train_eps=True)),
    "GINEConv": lambda: One(gnn.GINEConv(mlp(FEATURES, HIDDEN), edge_dim=4), "edge_attr"),
    "ARMAConv": lambda: One(gnn.ARMAConv(FEATURES, HIDDEN, 2, 2)),
    "SGConv": lambda: One(gnn.SGConv(FEATURES, HIDDEN, 2)),
    "SSGConv": lambda: One(gnn.SSGConv(FEATURES, HIDDEN, 0.1, 2)),
    "APPNP": lambda: One(gnn.APPNP(3, 0.1)),
    "MFConv": lambda: One(gnn.MFConv(FEATURES, HIDDEN, max_degree=3)),
    "RGCNConv": lambda: One(gnn.RGCNConv(FEATURES, HIDDEN, 3), "edge_type"),
    "FastRGCNConv": lambda: One(gnn.FastRGCNConv(FEATURES, HIDDEN, 3), "edge_type"),
    "RGATConv": lambda: One(gnn.RGATConv(FEATURES, HIDDEN, 3), "edge_type"),
    "SignedConv": lambda: Signed(gnn.SignedConv(FEATURES, HIDDEN, True), gnn.SignedConv(HIDDEN, HIDDEN, False)),
    "DNAConv": lambda: Rows(gnn.DNAConv(FEATURES, heads=2)),
    "PointNetConv": lambda: One(gnn.PointNetConv(mlp(_POINTS, HIDDEN)), "pos"),
    "GMMConv": lambda: One(gnn.GMMConv(FEATURES, HIDDEN, 4, 3), "edge_attr"),
    "NNConv": lambda: One(gnn.NNConv(FEATURES, HIDDEN, mlp(4, FEATURES * HIDDEN), aggr="mean"), "edge_attr"),
    "CGConv": lambda: One(gnn.CGConv(FEATURES, 4), "edge_attr"),
    "EdgeConv": lambda: One(gnn.EdgeConv(mlp(2 * FEATURES, HIDDEN))),
    "PPFConv": lambda: One(gnn.PPFConv(mlp(4 + FEATURES, HIDDEN)), "pos", "normal"),
    "FeaStConv": lambda: One(gnn.FeaStConv(FEATURES, HIDDEN, 2)),
    "PointTransformerConv": lambda: One(gnn.PointTransformerConv(FEATURES, HIDDEN), "pos"),
    "HypergraphConv": lambda: Hyper(gnn.HypergraphConv(FEATURES, HIDDEN)),
    "LEConv": lambda: One(gnn.LEConv(FEATURES, HIDDEN)),
    "PNAConv": lambda: One(
        gnn.PNAConv(FEATURES, HIDDEN, ALL, ["identity", "amplification", "attenuation"], DEGREES, towers=2)
    ),
    "ClusterGCNConv": lambda: One(gnn.ClusterGCNConv(FEATURES, HIDDEN)),
    "GENConv": lambda: One(gnn.GENConv(FEATURES, HIDDEN)),
    "GCN2Conv": lambda: One(gnn.GCN2Conv(FEATURES, 0.1, 0.5, 1), "x_0"),
    "WLConvContinuous": lambda: One(gnn.WLConvContinuous()),
    "FiLMConv": lambda: One(gnn.FiLMConv(FEATURES, HIDDEN)),
    "SuperGATConv": lambda: One(gnn.SuperGATConv(FEATURES, HIDDEN, heads=2)),
    "FAConv": lambda: One(gnn.FAConv(FEATURES), "x_0"),
    "EGConv": lambda: One(gnn.EGConv(FEATURES, HIDDEN, ["sum", "mean", "max", "std"], num_heads=4)),
    "PDNConv": lambda: One(gnn.PDNConv(FEATURES, HIDDEN, 4, 8), "edge_attr"),
    "GeneralConv": lambda: One(gnn.GeneralConv(FEATURES, HIDDEN, heads=2, attention=True)),
    "HEATConv": lambda: Typed(gnn.HEATConv(FEATURES, HIDDEN, 2, 3, 5, 4, 6, heads=2)),
    "LGConv": lambda: One(gnn.LGConv()),
    "PointGNNConv": lambda: One(gnn.PointGNNConv(mlp(FEATURES, 3), mlp(_POINTS, HIDDEN), mlp(HIDDEN, FEATURES)), "pos"),
    "GPSConv": lambda: One(gnn.GPSConv(FEATURES, gnn.GCNConv(FEATURES, FEATURES), heads=2)),
    "AntiSymmetricConv": lambda: One(gnn.AntiSymmetricConv(FEATURES)),
    "DirGNNConv": lambda: One(gnn.DirGNNConv(gnn.SAGEConv(FEATURES, HIDDEN))),
    "MixHopConv": lambda: One(gnn.MixHopConv(FEATURES, HIDDEN)),
}

# What is not there, and why.
ELSEWHERE = {
    "MessagePassing": "the base class",
    **dict.fromkeys(["CuGraphSAGEConv", "CuGraphGATConv", "CuGraphRGCNConv"], "needs cugraph and a GPU"),
    "FusedGATConv": "needs dgNN",
    **dict.fromkeys(["GravNetConv", "DynamicEdgeConv", "XConv"], "looks for neighbours itself (torch-cluster)"),
    **dict.fromkeys(["HGTConv", "HeteroConv", "HANConv"], "takes dictionaries of many kinds of nodes and edges"),
    "SplineConv": "needs pyg-lib",
    "PANConv": "needs torch-sparse",
    "WLConv": "hashes labels in Python",
    "MeshCNNConv": "takes exactly four neighbours of each edge of a mesh",
}


class Hyper(nn.Module):
    """HypergraphConv: row 1 of the list are hyperedges."""

    def __init__(self, conv):
        super().__init__()
        self.conv = conv

    def forward(self, x, edge_index):
        return self.conv(x, edge_index)


class Jumping(nn.Module):
    """JumpingKnowledge over two layers."""

    def __init__(self, mode):
        super().__init__()
        self.first, self.second = gnn.GCNConv(FEATURES, HIDDEN), gnn.GraphConv(HIDDEN, HIDDEN)
        self.jump = gnn.JumpingKnowledge(mode, HIDDEN, 2)
        self.head = nn.Linear(2 * HIDDEN if mode == "cat" else HIDDEN, CLASSES)

    def forward(self, x, edge_index):
        first = self.first(x, edge_index).relu()
        return self.head(self.jump([first, self.second(first, edge_index)]))


class Deep(nn.Module):
    """Two DeepGCN layers over GENConv."""

    def __init__(self):
        super().__init__()
        self.first = nn.Linear(FEATURES, HIDDEN)
        self.layers = nn.ModuleList(
            gnn.DeepGCNLayer(gnn.GENConv(HIDDEN, HIDDEN, aggr=aggr), nn.LayerNorm(HIDDEN), nn.ReLU(), block)
            for aggr, block in (("softmax", "res+"), ("powermean", "res"))
        )

    def forward(self, x, edge_index):
        x = self.first(x)
        for layer in self.layers:
            x = layer(x, edge_index)
        return x


class Gps(nn.Module):
    """Two GPS layers over GINE-like and GCN convolutions."""

    def __init__(self):
        super().__init__()
        self.first = gnn.GPSConv(FEATURES, gnn.GINConv(mlp(FEATURES, FEATURES)), heads=2)
        self.second = gnn.GPSConv(FEATURES, gnn.GATConv(FEATURES, FEATURES), heads=2)

    def forward(self, x, edge_index):
        return self.second(self.first(x, edge_index), edge_index)


MODELS = {
    "GCN": lambda: gnn.models.GCN(FEATURES, HIDDEN, 3, CLASSES, norm="batch"),
    "GraphSAGE": lambda: gnn.models.GraphSAGE(FEATURES, HIDDEN, 2, CLASSES),
    "GIN": lambda: gnn.models.GIN(FEATURES, HIDDEN, 3, CLASSES, jk="cat"),
    "GAT": lambda: gnn.models.GAT(FEATURES, HIDDEN, 2, CLASSES, heads=2),
    "GATv2": lambda: gnn.models.GAT(FEATURES, HIDDEN, 2, CLASSES, v2=True, heads=2),
    "PNA": lambda: gnn.models.PNA(
        FEATURES, HIDDEN, 2, CLASSES, aggregators=ALL, scalers=["identity", "linear"], deg=DEGREES
    ),
    "EdgeCNN": lambda: gnn.models.EdgeCNN(FEATURES, HIDDEN, 2, CLASSES),
    "DeepGCNLayer": Deep,
    "JumpingKnowledge max": lambda: Jumping("max"),
    "JumpingKnowledge lstm": lambda: Jumping("lstm"),
    "GPS": Gps,
}
EDGE_ATTR = {"GINEConv", "RGCNConv", "FastRGCNConv", "RGATConv", "GMMConv", "NNConv", "CGConv", "PDNConv", "HEATConv"}
