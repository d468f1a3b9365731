"""Write docs/coverage.md: what becomes of each layer of PyG (nn.conv, nn.aggr, nn.pool, nn.models).

    python tests/support/write_coverage.py

Each is captured with free sizes, rewritten, and compared with PyTorch on graphs of other sizes.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import torch
import torch_geometric.nn as gnn
from capture_example import CLASSES, FEATURES, HIDDEN, graph, mlp, other_graphs, session
from rewrite_layers import CONVS, EDGE_ATTR, ELSEWHERE, MODELS
from torch import Tensor, nn

from edgegnn.errors import EdgeGNNError, first_line
from edgegnn.exporting.capture import capture
from edgegnn.exporting.rewrite import rewrite_proto
from edgegnn.tasks.points import point_graphs

PAGE = Path(__file__).parents[2] / "docs" / "coverage.md"
HEAD = """# Coverage of PyG

Written by `tests/support/write_coverage.py`: each layer is captured with free sizes, rewritten, and compared with
PyTorch on graphs of other sizes, in float. Counts have the aggregations of the layers around it, too.
"""
WIDTH = 8
DEGREES = torch.tensor([0, 2, 5, 4, 1])


class Readout(nn.Module):
    """A convolution and an aggregation over each graph."""

    def __init__(self, aggregation: nn.Module) -> None:
        super().__init__()
        self.conv, self.readout = gnn.GCNConv(FEATURES, WIDTH), aggregation

    def forward(self, x: Tensor, edge_index: Tensor, batch: Tensor) -> Tensor:
        return self.readout(self.conv(x, edge_index).relu(), batch).flatten(1)


class Pooled(nn.Module):
    """A convolution, a pool, another convolution and a mean over each graph."""

    def __init__(self, pool: Callable[..., tuple[Tensor, Tensor, Tensor]], *parts: nn.Module) -> None:
        super().__init__()
        self.first, self.second, self.head = (gnn.GCNConv(n, WIDTH) for n in (FEATURES, WIDTH, WIDTH))
        self.pool, self.parts = pool, nn.ModuleList(parts)

    def forward(self, x: Tensor, edge_index: Tensor, batch: Tensor) -> Tensor:
        x, edge_index, batch = self.pool(self.first(x, edge_index).relu(), edge_index, batch, *self.parts)
        return gnn.global_mean_pool(self.second(x, edge_index), batch)


class Points(nn.Module):
    """A layer that looks for neighbours itself."""

    def __init__(self, call: Callable[..., Tensor], *parts: nn.Module) -> None:
        super().__init__()
        self.call, self.parts = call, nn.ModuleList(parts)

    def forward(self, x: Tensor, batch: Tensor) -> Tensor:
        return self.call(x, batch, *self.parts)


class Molecule(nn.Module):
    """A model of atoms: numbers and positions."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor, batch: Tensor) -> Tensor:
        return self.model((x[:, 3].abs() * 3).long().clamp(1, 8), x[:, :3], batch)


AGGREGATIONS: dict[str, Callable[[], nn.Module]] = {
    "MultiAggregation": lambda: gnn.MultiAggregation(["mean", "std", "max"]),
    **{n: getattr(gnn.aggr, n) for n in ("SumAggregation", "MeanAggregation", "MaxAggregation", "MinAggregation")},
    **{n: getattr(gnn.aggr, n) for n in ("MulAggregation", "VarAggregation", "StdAggregation", "MedianAggregation")},
    "SoftmaxAggregation": lambda: gnn.SoftmaxAggregation(learn=True),
    "PowerMeanAggregation": lambda: gnn.PowerMeanAggregation(learn=True),
    "QuantileAggregation": lambda: gnn.QuantileAggregation([0.25, 0.75]),
    "LSTMAggregation": lambda: gnn.LSTMAggregation(WIDTH, WIDTH),
    "GRUAggregation": lambda: gnn.aggr.GRUAggregation(WIDTH, WIDTH),
    "Set2Set": lambda: gnn.Set2Set(WIDTH, 3),
    "DegreeScalerAggregation": lambda: gnn.DegreeScalerAggregation(["mean", "max"], ["identity", "linear"], DEGREES),
    "SortAggregation": lambda: gnn.SortAggregation(4),
    "GraphMultisetTransformer": lambda: gnn.GraphMultisetTransformer(WIDTH, 4, heads=2),
    "AttentionalAggregation": lambda: gnn.AttentionalAggregation(nn.Linear(WIDTH, 1)),
    "EquilibriumAggregation": lambda: gnn.EquilibriumAggregation(WIDTH, WIDTH, num_layers=[WIDTH]),
    "MLPAggregation": lambda: gnn.MLPAggregation(WIDTH, WIDTH, max_num_elements=12, num_layers=1),
    "DeepSetsAggregation": lambda: gnn.DeepSetsAggregation(mlp(WIDTH, WIDTH), mlp(WIDTH, WIDTH)),
    "SetTransformerAggregation": lambda: gnn.SetTransformerAggregation(WIDTH, heads=2),
    "LCMAggregation": lambda: gnn.LCMAggregation(WIDTH, WIDTH),
    "VariancePreservingAggregation": gnn.VariancePreservingAggregation,
    "PatchTransformerAggregation": lambda: gnn.PatchTransformerAggregation(WIDTH, WIDTH, 4, 8, 1, heads=2),
}


def _kept(x: Tensor, edges: Tensor, batch: Tensor, pool: nn.Module) -> tuple[Tensor, Tensor, Tensor]:
    out = pool(x, edges, None, batch)
    return out[0], out[1], out[3]


def _joined(x: Tensor, edges: Tensor, batch: Tensor, pool: nn.Module) -> tuple[Tensor, Tensor, Tensor]:
    x, edges, batch, *_ = pool(x, edges, batch)
    return x, edges, batch


class Memory(nn.Module):
    """MemPooling gives a matrix for each graph."""

    def __init__(self) -> None:
        super().__init__()
        self.pool = gnn.MemPooling(WIDTH, WIDTH, heads=2, num_clusters=3)

    def forward(self, x: Tensor, batch: Tensor) -> Tensor:
        return self.pool(x, batch)[0]


POOLS: dict[str, Callable[[], nn.Module]] = {
    **{name: lambda name=name: Readout(_Call(getattr(gnn, name))) for name in gnn.pool.__all__[:3]},
    "TopKPooling": lambda: Pooled(_kept, gnn.TopKPooling(WIDTH, 0.5)),
    "SAGPooling": lambda: Pooled(_kept, gnn.SAGPooling(WIDTH, 0.5)),
    "ASAPooling": lambda: Pooled(_kept, gnn.ASAPooling(WIDTH, 0.5)),
    "EdgePooling": lambda: Pooled(_joined, gnn.EdgePooling(WIDTH)),
    "ClusterPooling": lambda: Pooled(_joined, gnn.pool.ClusterPooling(WIDTH)),
    "MemPooling": lambda: Readout(Memory()),
    "knn_graph": lambda: Points(lambda x, batch, conv: conv(x, gnn.knn_graph(x, 4, batch)), gnn.GCNConv(FEATURES, 8)),
    "radius_graph": lambda: Points(
        lambda x, batch, conv: conv(x, gnn.radius_graph(x, 2.0, batch)), gnn.GCNConv(FEATURES, 8)
    ),
}
NO_POOLS = {
    **dict.fromkeys(
        ["KNNIndex", "L2KNNIndex", "MIPSKNNIndex", "ApproxL2KNNIndex", "ApproxMIPSKNNIndex"], "an index of faiss"
    ),
    "approx_knn": "needs pynndescent",
    "approx_knn_graph": "needs pynndescent",
    "PANPooling": "needs torch-sparse",
    **dict.fromkeys(["graclus", "voxel_grid", "nearest"], "needs torch-cluster or pyg-lib"),
    **dict.fromkeys(
        ["max_pool", "avg_pool", "max_pool_x", "avg_pool_x"],
        "take clusters of nodes, which graclus or voxel_grid makes",
    ),
    **dict.fromkeys(["max_pool_neighbor_x", "avg_pool_neighbor_x"], "take a Data object, not tensors"),
    **dict.fromkeys(["fps", "knn", "radius"], "operators of their own; tests/gauntlet/test_point_clouds.py"),
}
MORE_CONVS: dict[str, Callable[[], nn.Module]] = {
    "DynamicEdgeConv": lambda: Points(
        lambda x, batch, conv: conv(x, batch), gnn.DynamicEdgeConv(mlp(2 * FEATURES, WIDTH), 4)
    ),
    "GravNetConv": lambda: Points(lambda x, batch, conv: conv(x, batch), gnn.GravNetConv(FEATURES, WIDTH, 3, 4, 4)),
    "XConv": lambda: Points(lambda x, batch, conv: conv(x, x[:, :3], batch), gnn.XConv(FEATURES, WIDTH, 3, 4, 8)),
}
TYPED = "exported; tests/gauntlet/test_hetero.py"
MORE_MODELS: dict[str, Callable[[], nn.Module]] = {
    "GraphUNet": lambda: gnn.GraphUNet(FEATURES, WIDTH, CLASSES, depth=2),
    "PMLP": lambda: gnn.models.PMLP(FEATURES, HIDDEN, CLASSES, 3),
    "SGFormer": lambda: Batched(gnn.models.SGFormer(FEATURES, HIDDEN, CLASSES, trans_num_layers=1, gnn_num_layers=1)),
    "Polynormer": lambda: Batched(gnn.models.Polynormer(FEATURES, HIDDEN, CLASSES)),
    "SchNet": lambda: Molecule(gnn.SchNet(16, 16, 2, 8, cutoff=4.0)),
    "NeuralFingerprint": lambda: Batched(gnn.models.NeuralFingerprint(FEATURES, HIDDEN, CLASSES, 2)),
}
NO_MODELS = {
    "MLP": "no graph: any dense model exports",
    "LINKX": "not tried: it learns a weight for each node of one graph",
    "HeteroJumpingKnowledge": "not tried: a part of models with several types of nodes",
    "MetaLayer": "a frame for parts of the user's own",
    **dict.fromkeys(["Node2Vec", "MetaPath2Vec"], "a table of embeddings that random walks train"),
    **dict.fromkeys(
        ["DeepGraphInfomax", "GAE", "VGAE", "ARGA", "ARGVA", "InnerProductDecoder", "ARLinkPredictor", "LPFormer"],
        "a way to train an encoder: export the encoder",
    ),
    **dict.fromkeys(["SignedGCN", "RENet", "TGNMemory"], "not tried: keeps its own state or negatives"),
    **dict.fromkeys(["to_captum_model", "to_captum_input", "captum_output_to_dicts"], "a function for explanations"),
    **dict.fromkeys(["LabelPropagation", "CorrectAndSmooth"], "no weights: works on labels"),
    **dict.fromkeys(["DimeNet", "DimeNetPlusPlus"], "needs sympy and triplets by torch-sparse"),
    **dict.fromkeys(["GPSE", "GPSENodeEncoder"], "encodings that a trained model makes beforehand"),
    "AttentiveFP": "exported; tests/proof/test_larger_graphs.py",
    "RECT_L": "a loss over class centres; its encoder is a GCNConv",
    "LightGCN": "not tried: embeddings of all nodes; it propagates with LGConv",
    "MaskLabel": "adds labels to features in training",
    "GroupAddRev": "a frame for parts of the user's own",
    "GNNFF": "needs triplets by torch-sparse",
    "ViSNet": "not tried",
    "JumpingKnowledge": "exported; tests/unit/exporting/test_rewrite_coverage.py",
    "DeepGCNLayer": "exported",
}


class _Call(nn.Module):
    def __init__(self, function: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor, batch: Tensor) -> Tensor:
        return self.function(x, batch)


class Batched(nn.Module):
    """A model that takes batch as well."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor, edge_index: Tensor, batch: Tensor) -> Tensor:
        return self.model(x, edge_index, batch)


def outcome(make: Callable[[], nn.Module], *, kind: str, edge_attr: bool = False) -> str:
    """What becomes of a model: captured, rewritten, compared on other graphs."""
    torch.manual_seed(0)
    try:
        model = point_graphs()(make)().eval()
    except ImportError as error:
        return f"PyTorch Geometric itself can't build it here: {first_line(error)[:90]}"
    own: dict[str, Any] = {"edge_attr": 4} if edge_attr else {}
    names = [n for n in ("x", "edge_index", "edge_attr", "batch") if n in model.forward.__code__.co_varnames]
    graphs = 3 if "batch" in names else 0
    example = graph(24, 60, graphs, **own)
    try:
        with torch.no_grad():
            point_graphs()(model)(**{n: example[n] for n in names if n in example})
    except Exception as error:
        return f"PyTorch itself fails here: {first_line(error)[:90]}"
    try:
        captured = capture(model, {n: example[n] for n in names if n in example}, kind=kind)
        made = rewrite_proto(captured)
        for name, inputs in other_graphs(graphs, **own).items():
            wrong = _compared(model, session(made.model), {n: inputs[n] for n in names if n in inputs})
            if wrong:
                return f"exported, but {name}: {wrong}"
    except EdgeGNNError as error:
        return f"refused: {first_line(error)[:150]}"
    native = sum(each.rule is not None for each in made.aggregations)
    if not made.aggregations:
        return "exported"
    reasons = dict.fromkeys(each.reason for each in made.aggregations if each.rule is None and each.reason)
    return f"exported; {native} of {len(made.aggregations)} aggregations native" + "".join(
        f" ({reason})" for reason in list(reasons)[:1]
    )


def _compared(model: nn.Module, run: Any, inputs: dict[str, Tensor]) -> str:
    try:
        with torch.no_grad():
            want = point_graphs()(model)(**inputs)
    except Exception:  # not for this graph
        return ""
    taken = {each.name for each in run.get_inputs()}
    (got,) = run.run(None, {name: value.numpy() for name, value in inputs.items() if name in taken})
    if got.shape != tuple(want.shape):
        return f"shape {list(got.shape)} instead of {list(want.shape)}"
    error = float((torch.from_numpy(got) - want).abs().max()) if want.numel() else 0.0
    return "" if error <= 1e-3 * max(1.0, float(want.abs().max()) if want.numel() else 0.0) else f"off by {error:.2g}"


def rows() -> Iterator[tuple[str, str, str]]:
    """(module, name, outcome) of each name of PyG's."""
    for name in gnn.conv.__all__:
        made = CONVS.get(name) or MORE_CONVS.get(name)
        typed = name in ("HGTConv", "HeteroConv", "HANConv")
        why = TYPED if typed else ELSEWHERE.get(name, "")
        yield "conv", name, outcome(made, kind="node", edge_attr=name in EDGE_ATTR) if made else why
    for name in gnn.aggr.__all__:
        made = AGGREGATIONS.get(name)
        yield "aggr", name, outcome(lambda made=made: Readout(made()), kind="graph") if made else "the base class"
    for name in gnn.pool.__all__:
        made = POOLS.get(name)
        kind = "node" if name.endswith("_graph") else "graph"
        yield "pool", name, outcome(made, kind=kind) if made else NO_POOLS[name]
    for name in gnn.models.__all__:
        made = MODELS.get(name) or MORE_MODELS.get(name)
        kind = "graph" if name in ("SchNet", "NeuralFingerprint") else "node"
        yield "models", name, outcome(made, kind=kind) if made else NO_MODELS[name]


def page(found: Iterable[tuple[str, str, str]]) -> str:
    """The page, of what `rows` gives."""
    text, last = HEAD, ""
    for module, name, outcome_of in found:
        if module != last:
            text += f"\n## torch_geometric.nn.{module}\n\n| name | what becomes of it |\n| --- | --- |\n"
            last = module
        text += f"| `{name}` | {outcome_of.replace('|', '/')} |\n"
    return text


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    PAGE.write_text(page(rows()))
