"""Capture of every PyG layer that takes (x, edge_index[, edge_attr|edge_weight|edge_type][, batch])."""

from __future__ import annotations

import onnx
import pytest
import torch
import torch_geometric.nn as gnn
from capture_example import CLASSES, FEATURES, HIDDEN, Stack, assert_same, graph, mlp, other_graphs
from rewrite_layers import CONVS, EDGE_ATTR, MODELS
from sweep import sweep
from torch import nn

from edgegnn.exporting.capture import capture


class EdgeStack(Stack):
    def forward(self, x, edge_index, edge_attr):
        for conv in self.convs:
            x = conv(x, edge_index, edge_attr).relu()
        return x


class WeightStack(Stack):
    def forward(self, x, edge_index, edge_weight):
        for conv in self.convs:
            x = conv(x, edge_index, edge_weight).relu()
        return x


class RelationStack(Stack):
    def forward(self, x, edge_index, edge_attr):
        relation = (edge_attr[:, 0] * 2.99).long()
        for conv in self.convs:
            x = conv(x, edge_index, relation)
        return x


class Pooled(nn.Module):
    """A convolution, a normalisation that may look at batch, a readout."""

    def __init__(self, readout, norm=None, width=HIDDEN, conv=None):
        super().__init__()
        self.conv = conv or gnn.GCNConv(FEATURES, HIDDEN)
        self.norm, self.readout = norm, readout
        self.head = nn.Linear(width, CLASSES)

    def forward(self, x, edge_index, batch):
        x = self.conv(x, edge_index)
        if self.norm is not None:
            plain = isinstance(self.norm, nn.BatchNorm1d | gnn.DiffGroupNorm)
            x = self.norm(x) if plain else self.norm(x, batch)
        return self.head(self.readout(x.relu(), batch))


DEGREES = torch.tensor([1, 4, 6, 3, 2])
ALL = ["mean", "min", "max", "std"]
NODE = {
    "GCN": lambda: Stack(gnn.GCNConv(FEATURES, HIDDEN), gnn.GCNConv(HIDDEN, CLASSES)),
    "GAT": lambda: Stack(gnn.GATConv(FEATURES, HIDDEN, heads=4), gnn.GATConv(4 * HIDDEN, CLASSES, 2, concat=False)),
    "GATv2": lambda: Stack(gnn.GATv2Conv(FEATURES, HIDDEN, heads=4)),
    "GIN": lambda: Stack(gnn.GINConv(mlp(FEATURES, HIDDEN), train_eps=True)),
    "SAGE mean": lambda: Stack(gnn.SAGEConv(FEATURES, HIDDEN), gnn.SAGEConv(HIDDEN, CLASSES)),
    **{
        f"SAGE {a}": lambda a=a: Stack(gnn.SAGEConv(FEATURES, HIDDEN, aggr=a))
        for a in ("max", "min", "mul", "std", "softmax", "powermean")
    },
    "SAGE several": lambda: Stack(gnn.SAGEConv(FEATURES, HIDDEN, aggr=ALL)),
    "GraphConv": lambda: Stack(gnn.GraphConv(FEATURES, HIDDEN), gnn.GraphConv(HIDDEN, CLASSES, aggr="mean")),
    "Transformer": lambda: Stack(gnn.TransformerConv(FEATURES, HIDDEN, 2), gnn.TransformerConv(16, CLASSES, beta=True)),
    "PNA": lambda: Stack(gnn.PNAConv(FEATURES, HIDDEN, ALL, ["identity", "amplification", "attenuation"], DEGREES)),
    "EdgeConv": lambda: Stack(gnn.EdgeConv(mlp(2 * FEATURES, HIDDEN)), gnn.EdgeConv(mlp(16, CLASSES), aggr="mean")),
    "ChebConv": lambda: Stack(gnn.ChebConv(FEATURES, HIDDEN, 3)),
    "TAGConv": lambda: Stack(gnn.TAGConv(FEATURES, HIDDEN)),
    "SGConv": lambda: Stack(gnn.SGConv(FEATURES, HIDDEN, 2)),
    "SSGConv": lambda: Stack(gnn.SSGConv(FEATURES, HIDDEN, 0.1)),
    "ARMAConv": lambda: Stack(gnn.ARMAConv(FEATURES, HIDDEN, 2, 2)),
    "APPNP": lambda: Stack(gnn.APPNP(3, 0.1)),
    "GatedGraphConv": lambda: Stack(gnn.GatedGraphConv(12, 2)),
    "ResGatedGraphConv": lambda: Stack(gnn.ResGatedGraphConv(FEATURES, HIDDEN)),
    "AGNNConv": lambda: Stack(gnn.AGNNConv()),
    "FeaStConv": lambda: Stack(gnn.FeaStConv(FEATURES, HIDDEN, 2)),
    "LEConv": lambda: Stack(gnn.LEConv(FEATURES, HIDDEN)),
    "ClusterGCNConv": lambda: Stack(gnn.ClusterGCNConv(FEATURES, HIDDEN)),
    "GENConv": lambda: Stack(gnn.GENConv(FEATURES, HIDDEN)),
    "MFConv": lambda: Stack(gnn.MFConv(FEATURES, HIDDEN)),
    "SuperGATConv": lambda: Stack(gnn.SuperGATConv(FEATURES, HIDDEN)),
    "FiLMConv": lambda: Stack(gnn.FiLMConv(FEATURES, HIDDEN)),
    "EGConv": lambda: Stack(gnn.EGConv(FEATURES, HIDDEN, num_heads=4)),
    "GeneralConv": lambda: Stack(gnn.GeneralConv(FEATURES, HIDDEN)),
    "LGConv": lambda: Stack(gnn.LGConv()),
    "SimpleConv": lambda: Stack(gnn.SimpleConv()),
    "MixHopConv": lambda: Stack(gnn.MixHopConv(FEATURES, HIDDEN)),
    "AntiSymmetricConv": lambda: Stack(gnn.AntiSymmetricConv(FEATURES)),
    "DirGNNConv": lambda: Stack(gnn.DirGNNConv(gnn.GCNConv(FEATURES, HIDDEN))),
    "GPSConv": lambda: Stack(gnn.GPSConv(FEATURES, gnn.GCNConv(FEATURES, FEATURES), heads=2)),
    "HypergraphConv": lambda: Stack(gnn.HypergraphConv(FEATURES, HIDDEN)),
    "WLConvContinuous": lambda: Stack(gnn.WLConvContinuous()),
    "models.GCN": lambda: gnn.models.GCN(FEATURES, HIDDEN, 3, CLASSES, norm="batch", jk="cat", dropout=0.5),
    "models.GAT": lambda: gnn.models.GAT(FEATURES, HIDDEN, 2, CLASSES, jk="lstm"),
    "models.GIN": lambda: gnn.models.GIN(FEATURES, HIDDEN, 3, CLASSES, jk="max", norm="layer"),
    "models.PNA": lambda: gnn.models.PNA(
        FEATURES, HIDDEN, 2, CLASSES, aggregators=ALL, scalers=["linear"], deg=DEGREES
    ),
    "models.EdgeCNN": lambda: gnn.models.EdgeCNN(FEATURES, HIDDEN, 2, CLASSES),
    "models.GraphSAGE": lambda: gnn.models.GraphSAGE(FEATURES, HIDDEN, 2, CLASSES, norm="graph"),
    "models.GCN pair": lambda: gnn.models.GCN(FEATURES, HIDDEN, 2, CLASSES, norm="pair"),
}
EDGE = {
    "GINEConv": lambda: EdgeStack(gnn.GINEConv(mlp(FEATURES, HIDDEN), edge_dim=4)),
    "NNConv": lambda: EdgeStack(gnn.NNConv(FEATURES, HIDDEN, mlp(4, FEATURES * HIDDEN), aggr="mean")),
    "GATConv": lambda: EdgeStack(gnn.GATConv(FEATURES, HIDDEN, heads=2, edge_dim=4)),
    "GATv2Conv": lambda: EdgeStack(gnn.GATv2Conv(FEATURES, HIDDEN, edge_dim=4)),
    "CGConv": lambda: EdgeStack(gnn.CGConv(FEATURES, 4)),
    "GMMConv": lambda: EdgeStack(gnn.GMMConv(FEATURES, HIDDEN, 4, 3)),
    "TransformerConv": lambda: EdgeStack(gnn.TransformerConv(FEATURES, HIDDEN, edge_dim=4)),
    "PNAConv": lambda: EdgeStack(gnn.PNAConv(FEATURES, HIDDEN, ["mean", "max"], ["identity"], DEGREES, edge_dim=4)),
    "GeneralConv": lambda: EdgeStack(gnn.GeneralConv(FEATURES, HIDDEN, in_edge_channels=4)),
    "RGCNConv": lambda: RelationStack(gnn.RGCNConv(FEATURES, HIDDEN, 3)),
    "RGCNConv bases": lambda: RelationStack(gnn.RGCNConv(FEATURES, HIDDEN, 3, num_bases=2)),
    "FastRGCNConv": lambda: RelationStack(gnn.FastRGCNConv(FEATURES, HIDDEN, 3)),
    "RGATConv": lambda: RelationStack(gnn.RGATConv(FEATURES, HIDDEN, 3)),
}
WEIGHT = {
    "GCNConv": lambda: WeightStack(gnn.GCNConv(FEATURES, HIDDEN)),
    "GraphConv": lambda: WeightStack(gnn.GraphConv(FEATURES, HIDDEN)),
}


class KeptNodes(nn.Module):
    """Pooling that keeps some of the nodes: the graph changes its size inside the model."""

    def __init__(self, pool):
        super().__init__()
        self.conv, self.pool, self.head = gnn.GCNConv(FEATURES, HIDDEN), pool, nn.Linear(HIDDEN, CLASSES)

    def forward(self, x, edge_index, batch):
        x = self.conv(x, edge_index).relu()
        kept, _, _, batch, *_ = self.pool(x, edge_index, batch=batch)
        return self.head(gnn.global_mean_pool(kept, batch))


class Memory(nn.Module):
    """MemPooling as a readout: the clusters of each graph."""

    def __init__(self):
        super().__init__()
        self.pool = gnn.MemPooling(HIDDEN, HIDDEN, heads=2, num_clusters=3)

    def forward(self, x, batch):
        return self.pool(x, batch)[0].flatten(1)


POOL = {
    "add": lambda: Pooled(gnn.global_add_pool),
    "mean, BatchNorm": lambda: Pooled(gnn.global_mean_pool, nn.BatchNorm1d(HIDDEN)),
    "max, GraphNorm": lambda: Pooled(gnn.global_max_pool, gnn.GraphNorm(HIDDEN)),
    "max, InstanceNorm": lambda: Pooled(gnn.global_max_pool, gnn.InstanceNorm(HIDDEN)),
    "attention, LayerNorm": lambda: Pooled(gnn.AttentionalAggregation(nn.Linear(HIDDEN, 1)), gnn.LayerNorm(HIDDEN)),
    "add, PairNorm": lambda: Pooled(gnn.global_add_pool, gnn.PairNorm()),
    "add, GraphSizeNorm": lambda: Pooled(gnn.global_add_pool, gnn.GraphSizeNorm()),
    "add, DiffGroupNorm": lambda: Pooled(gnn.global_add_pool, gnn.DiffGroupNorm(HIDDEN, 3)),
    "add, MeanSubtractionNorm": lambda: Pooled(gnn.global_add_pool, gnn.MeanSubtractionNorm()),
    "Set2Set": lambda: Pooled(gnn.Set2Set(HIDDEN, 3), width=2 * HIDDEN),
    "softmax": lambda: Pooled(gnn.SoftmaxAggregation(learn=True)),
    "median": lambda: Pooled(gnn.MedianAggregation()),
    "several": lambda: Pooled(gnn.MultiAggregation(["mean", "std", "max"]), width=3 * HIDDEN),
    "DeepSets": lambda: Pooled(gnn.DeepSetsAggregation(mlp(HIDDEN, HIDDEN), mlp(HIDDEN, HIDDEN))),
    "SetTransformer": lambda: Pooled(gnn.SetTransformerAggregation(HIDDEN, heads=2)),
    "MemPooling": lambda: Pooled(Memory(), width=3 * HIDDEN),
    "TopKPooling": lambda: KeptNodes(gnn.TopKPooling(HIDDEN)),
    "SAGPooling": lambda: KeptNodes(gnn.SAGPooling(HIDDEN)),
}
WIDE = [
    *((name, make, "node", {}) for name, make in NODE.items()),
    *((f"{name} with edge_attr", make, "node", {"edge_attr": 4}) for name, make in EDGE.items()),
    *((f"{name} with edge_weight", make, "node", {"edge_weight": True}) for name, make in WEIGHT.items()),
    *((f"readout {name}", make, "graph", {"graphs": 4}) for name, make in POOL.items()),
]


# test_rewrite_coverage.py and test_torchscript.py share these layers, and capture them too: here with --every only.
# Of aggregations and readouts every other one: test_fuzzed_models.py draws from all of them.
ELSEWHERE = {f"{name}{end}" for name in CONVS for end in ("", " with edge_attr" if name in EDGE_ATTR else "")}
ELSEWHERE |= {name.removesuffix("Conv") for name in CONVS} | {f"models.{name}" for name in MODELS}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "make", "task", "kind"),
    sweep(
        WIDE,
        lambda i: WIDE[i][0] not in ELSEWHERE and (i % 2 == 0 or (WIDE[i][2] == "node" and "SAGE" not in WIDE[i][0])),
    ),
    ids=[w[0] for w in WIDE],
)
def test_every_layer(name, make, task, kind):
    torch.manual_seed(0)
    model = make().eval()
    captured = capture(model, graph(21, 50, **kind), kind=task)
    assert_same(model, captured, other_graphs(**kind))
    reductions = [
        a.s for n in captured.graph.node if n.op_type == "ScatterND" for a in n.attribute if a.name == "reduction"
    ]
    assert set(reductions) <= {b"none"}
    onnx.checker.check_model(captured, full_check=True)


class Reduced(nn.Module):
    """Messages added up by hand, by operators that ONNX doesn't have."""

    def __init__(self):
        super().__init__()
        self.first = nn.Linear(FEATURES, CLASSES)

    def forward(self, x, edge_index):
        sent, start = self.first(x)[edge_index[0]], torch.full((x.shape[0], CLASSES), 0.5)
        place = edge_index[1].view(-1, 1).expand(-1, CLASSES)
        own = start.scatter_reduce(0, place, sent, "mean")
        others = start.clone().scatter_reduce_(0, place, sent, reduce="mean", include_self=False)
        return own + 2 * others + 4 * start.index_reduce(0, edge_index[1], sent, "amax", include_self=False)


@pytest.mark.filterwarnings("ignore:index_reduce")
def test_means_and_reductions_by_index():
    model = Reduced().eval()
    assert_same(model, capture(model, graph(21, 50), kind="node"), other_graphs())
