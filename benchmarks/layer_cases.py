"""Every convolution, aggregation, norm and pool of PyG in a small model, for `layers_audit.py`; or why it isn't."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch_geometric.nn as gnn
from torch import Tensor, nn

sys.path.append(str(Path(__file__).resolve().parents[1] / "tests" / "support"))
from capture_example import CLASSES, FEATURES, HIDDEN, mlp
from rewrite_layers import CONVS, EDGE_ATTR, ELSEWHERE

LONGEST = 16  # nodes of a graph


@dataclass(frozen=True)
class Case:
    """One layer: "conv", "aggr", "norm" or "pool", its name, how to build the model, and whether it takes edge_attr."""

    kind: str
    name: str
    build: Callable[[], nn.Module]
    edge_attr: bool = False

    @property
    def task(self) -> str:
        return "node" if self.kind == "conv" else "graph"


class Conv(nn.Module):
    """A convolution, and a classifier of nodes."""

    def __init__(self, conv: nn.Module) -> None:
        super().__init__()
        self.conv, self.head = conv, nn.LazyLinear(CLASSES)

    def forward(self, x: Tensor, edge_index: Tensor, edge_attr: Tensor | None = None) -> Any:
        rows = self.conv(x, edge_index) if edge_attr is None else self.conv(x, edge_index, edge_attr)
        return self.head(rows.relu())


class Graphs(nn.Module):
    """A convolution, the layer, and a classifier of graphs."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.lin, self.conv = nn.Linear(FEATURES, HIDDEN), gnn.GraphConv(HIDDEN, HIDDEN)
        self.layer, self.head = layer, nn.LazyLinear(CLASSES)

    def rows(self, x: Tensor, edge_index: Tensor) -> Any:
        return self.conv(self.lin(x).relu(), edge_index)


class Aggregated(Graphs):
    def forward(self, x: Tensor, edge_index: Tensor, batch: Tensor) -> Any:
        return self.head(self.layer(self.rows(x, edge_index), batch))


class Normed(Graphs):
    """`given`: what the norm takes beside its rows."""

    def __init__(self, layer: nn.Module, given: str = "") -> None:
        super().__init__(layer)
        self.given = given

    def forward(self, x: Tensor, edge_index: Tensor, batch: Tensor) -> Any:
        rows = self.rows(x, edge_index)
        also = {"": (), "batch": (batch,), "type": ((x[:, 0] > 0).long(),), "message": (rows.relu(),)}[self.given]
        return self.head(gnn.global_mean_pool(self.layer(rows, *also).relu(), batch))


class Pooled(Graphs):
    """`call`: from the layer, rows, edges and batch to new rows and batch."""

    def __init__(self, layer: nn.Module, call: Callable[..., tuple[Tensor, Tensor]]) -> None:
        super().__init__(layer)
        self.call = call

    def forward(self, x: Tensor, edge_index: Tensor, batch: Tensor) -> Any:
        rows, batch = self.call(self.layer, self.rows(x, edge_index), edge_index, batch)
        return self.head(gnn.global_mean_pool(rows.relu(), batch))


def _pair(n: int) -> Callable[..., tuple[Tensor, Tensor]]:
    """A pool of which the n-th result is the batch."""

    def call(layer: nn.Module, x: Tensor, edges: Tensor, batch: Tensor) -> tuple[Tensor, Tensor]:
        out = layer(x, edges, batch=batch)
        return out[0], out[n]

    return call


_DEGREES = torch.tensor([0, 8, 20, 30, 20, 10, 4])
_AGGRS: dict[str, Callable[[], nn.Module]] = {
    "SumAggregation": gnn.SumAggregation,
    "MeanAggregation": gnn.MeanAggregation,
    "MaxAggregation": gnn.MaxAggregation,
    "MinAggregation": gnn.MinAggregation,
    "MulAggregation": gnn.MulAggregation,
    "VarAggregation": gnn.VarAggregation,
    "StdAggregation": gnn.StdAggregation,
    "MultiAggregation": lambda: gnn.MultiAggregation(["mean", "max", "std"]),
    "SoftmaxAggregation": lambda: gnn.SoftmaxAggregation(learn=True),
    "PowerMeanAggregation": lambda: gnn.PowerMeanAggregation(learn=True),
    "MedianAggregation": gnn.MedianAggregation,
    "QuantileAggregation": lambda: gnn.QuantileAggregation([0.25, 0.75]),
    "LSTMAggregation": lambda: gnn.LSTMAggregation(HIDDEN, HIDDEN),
    "GRUAggregation": lambda: gnn.aggr.GRUAggregation(HIDDEN, HIDDEN),
    "Set2Set": lambda: gnn.Set2Set(HIDDEN, 3),
    "DegreeScalerAggregation": lambda: gnn.DegreeScalerAggregation(["mean"], ["identity", "linear"], _DEGREES),
    "SortAggregation": lambda: gnn.SortAggregation(4),
    "GraphMultisetTransformer": lambda: gnn.GraphMultisetTransformer(HIDDEN, 4, heads=2),
    "AttentionalAggregation": lambda: gnn.AttentionalAggregation(mlp(HIDDEN, 1)),
    "EquilibriumAggregation": lambda: gnn.EquilibriumAggregation(HIDDEN, HIDDEN, [16]),
    "MLPAggregation": lambda: gnn.MLPAggregation(HIDDEN, HIDDEN, LONGEST, num_layers=1),
    "DeepSetsAggregation": lambda: gnn.DeepSetsAggregation(mlp(HIDDEN, HIDDEN), mlp(HIDDEN, HIDDEN)),
    "SetTransformerAggregation": lambda: gnn.SetTransformerAggregation(HIDDEN, heads=2),
    "LCMAggregation": lambda: gnn.LCMAggregation(HIDDEN, HIDDEN),
    "VariancePreservingAggregation": gnn.VariancePreservingAggregation,
    "PatchTransformerAggregation": lambda: gnn.aggr.PatchTransformerAggregation(HIDDEN, HIDDEN, 4, 16, heads=2),
}

_NORMS: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "BatchNorm": (lambda: gnn.BatchNorm(HIDDEN), ""),
    "HeteroBatchNorm": (lambda: gnn.HeteroBatchNorm(HIDDEN, 2), "type"),
    "InstanceNorm": (lambda: gnn.InstanceNorm(HIDDEN, affine=True), "batch"),
    "LayerNorm": (lambda: gnn.LayerNorm(HIDDEN), "batch"),
    "HeteroLayerNorm": (lambda: gnn.HeteroLayerNorm(HIDDEN, 2), "type"),
    "GraphNorm": (lambda: gnn.GraphNorm(HIDDEN), "batch"),
    "GraphSizeNorm": (gnn.GraphSizeNorm, "batch"),
    "PairNorm": (gnn.PairNorm, "batch"),
    "MeanSubtractionNorm": (gnn.MeanSubtractionNorm, "batch"),
    "MessageNorm": (lambda: gnn.MessageNorm(True), "message"),
    "DiffGroupNorm": (lambda: gnn.DiffGroupNorm(HIDDEN, 2), ""),
}


def _own(pool: Callable[..., Tensor]) -> Callable[[], nn.Module]:
    def call(_: nn.Module, x: Tensor, __: Tensor, batch: Tensor) -> tuple[Tensor, Tensor]:
        rows = pool(x, batch)
        return rows, torch.arange(len(rows))

    return lambda: Pooled(nn.Identity(), call)


def _memory(layer: nn.Module, x: Tensor, _: Tensor, batch: Tensor) -> tuple[Tensor, Tensor]:
    rows, _ = layer(x, batch)
    return rows.flatten(0, 1), torch.arange(rows.size(0)).repeat_interleave(rows.size(1))


_POOLS: dict[str, Callable[[], nn.Module]] = {
    "global_add_pool": _own(gnn.global_add_pool),
    "global_mean_pool": _own(gnn.global_mean_pool),
    "global_max_pool": _own(gnn.global_max_pool),
    "TopKPooling": lambda: Pooled(gnn.TopKPooling(HIDDEN, 0.6), _pair(3)),
    "SAGPooling": lambda: Pooled(gnn.SAGPooling(HIDDEN, 0.6), _pair(3)),
    "EdgePooling": lambda: Pooled(gnn.EdgePooling(HIDDEN), _pair(2)),
    "ClusterPooling": lambda: Pooled(gnn.pool.ClusterPooling(HIDDEN), _pair(2)),
    "ASAPooling": lambda: Pooled(gnn.ASAPooling(HIDDEN, 0.6), _pair(3)),
    "MemPooling": lambda: Pooled(gnn.MemPooling(HIDDEN, HIDDEN, 2, 3), _memory),
}

_FAISS = ["KNNIndex", "L2KNNIndex", "MIPSKNNIndex", "ApproxL2KNNIndex", "ApproxMIPSKNNIndex"]
_CLUSTER = ["graclus", "voxel_grid", "fps", "knn", "knn_graph", "radius", "radius_graph", "nearest"]
_OF_DATA = ["max_pool", "avg_pool", "max_pool_x", "max_pool_neighbor_x", "avg_pool_x", "avg_pool_neighbor_x"]

# Layers that are in no model here, and why.
LEFT_OUT = {
    **{("conv", name): why for name, why in ELSEWHERE.items()},
    ("aggr", "Aggregation"): "the base class",
    ("pool", "PANPooling"): "needs torch-sparse",
    **{("pool", name): "needs faiss" for name in [*_FAISS, "approx_knn", "approx_knn_graph"]},
    **{("pool", name): "looks for neighbours (torch-cluster)" for name in _CLUSTER},
    **{("pool", name): "takes clusters, or a whole Data; no layer" for name in _OF_DATA},
}

CASES = [
    *(Case("conv", n, lambda b=b: Conv(b()), n in EDGE_ATTR) for n, b in CONVS.items()),
    *(Case("aggr", n, lambda b=b: Aggregated(b())) for n, b in _AGGRS.items()),
    *(Case("norm", n, lambda b=b, g=g: Normed(b(), g)) for n, (b, g) in _NORMS.items()),
    *(Case("pool", n, b) for n, b in _POOLS.items()),
]


def not_listed() -> list[str]:
    """Public names of PyG's four modules that are neither in CASES nor in LEFT_OUT."""
    known = {(case.kind, case.name) for case in CASES} | LEFT_OUT.keys()
    return [
        f"{kind}.{n}"
        for kind in ("conv", "aggr", "norm", "pool")
        for n in getattr(gnn, kind).__all__
        if (kind, n) not in known
    ]
