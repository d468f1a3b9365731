"""Integer operators where Q/DQ pairs meet products and sums: what is put in, and that nothing changes but rounding."""

from dataclasses import replace

import numpy as np
import onnx
import pytest
import torch
from sweep import spread
from torch import nn
from torch_geometric import nn as pyg

from edgegnn.exporting.capture import capture
from edgegnn.exporting.rewrite import rewrite_proto
from edgegnn.exporting.rewrite.sparse import sparse_features
from edgegnn.exporting.unsigned_weights import unsigned_weights
from edgegnn.quantize import prepare, recipe
from edgegnn.runtime import find_library, make_session, native_kernels

INT8, INT4 = recipe("qat-int8"), recipe("qat-int4")


class Net(nn.Module):
    """Two layers with a ReLU between; what an edge weighs where they take it."""

    def __init__(self, first, second, act=torch.relu):
        super().__init__()
        self.first, self.second, self.act = first, second, act

    def forward(self, x, edge_index):
        return self.second(self.act(self.first(x, edge_index)), edge_index)


class Weighted(Net):
    def forward(self, x, edge_index, edge_weight):
        return self.second(self.act(self.first(x, edge_index, edge_weight)), edge_index, edge_weight)


class NormedLast(nn.Module):
    """The batch norm stands behind the activation, as in GIN's own code."""

    def __init__(self):
        super().__init__()
        self.first, self.second = pyg.GINConv(self.mlp(6, 8)), pyg.GINConv(self.mlp(8, 5))
        self.head = nn.Linear(5, 3)

    def mlp(self, i, o):
        norm = nn.BatchNorm1d(o)
        nn.init.normal_(norm.weight)  # some gains below zero
        return nn.Sequential(nn.Linear(i, o), nn.ReLU(), nn.Linear(o, o), nn.ReLU(), norm)

    def forward(self, x, edge_index):
        return self.head(self.second(self.first(x, edge_index), edge_index))


class Pooled(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.head = pyg.GINConv(mlp(6, 8)), nn.Linear(8, 3)

    def forward(self, x, edge_index, batch):
        return self.head(pyg.global_mean_pool(self.conv(x, edge_index), batch))


def mlp(i, o):
    return nn.Sequential(nn.Linear(i, o), nn.BatchNorm1d(o), nn.ReLU(), nn.Linear(o, o))


def plain_mlp(i, o):
    return nn.Sequential(nn.Linear(i, 10), nn.ReLU(), nn.Linear(10, o))


def pna(channels):
    return pyg.PNAConv(channels, 8, ["mean", "max", "std"], ["identity"], torch.tensor([1, 4, 6, 3, 2]))


class Normalised(nn.Module):
    """Rows of x divided by their sums in front of a model."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, x, edge_index):
        return self.model(x / x.sum(dim=-1, keepdim=True).clamp(min=1.0), edge_index)


MODELS = {
    "normalised gcn": (
        lambda: Normalised(Net(pyg.GCNConv(6, 8), pyg.GCNConv(8, 3))),
        {"CooToCsr": 1, "CsrDegree": 1, "NormalizeQuantizeGemm": 1, "QSpMM": 1, "QGemm": 1, "QSpMMFloat": 1},
    ),
    "gcn": (
        lambda: Net(pyg.GCNConv(6, 8), pyg.GCNConv(8, 3)),
        {"CooToCsr": 1, "CsrDegree": 1, "QuantizeGemm": 1, "QSpMM": 1, "QGemm": 1, "QSpMMFloat": 1},
    ),
    "sage": (
        lambda: Net(pyg.SAGEConv(6, 8), pyg.SAGEConv(8, 3)),
        {"CooToCsr": 1, "CsrDegree": 1, "QSpMM": 2, "QGemm": 1, "QGemmFloat": 3},
    ),
    "gin": (
        lambda: Net(pyg.GINConv(mlp(6, 8), eps=0.5), pyg.GINConv(mlp(8, 3))),
        {"CooToCsr": 1, "QSpMM": 2, "QGemm": 3, "QGemmFloat": 1},
    ),
    "narrow sage": (  # the product in front of the sum, which reads two columns instead of twelve
        lambda: Net(pyg.SAGEConv(6, 12), pyg.SAGEConv(12, 2)),
        {"CooToCsr": 1, "CsrDegree": 1, "QSpMM": 1, "SpMMMean": 1, "QGemm": 1, "QGemmFloat": 3},
    ),
    "narrow gin": (
        lambda: Net(pyg.GINConv(mlp(6, 12)), pyg.GINConv(mlp(12, 2), eps=0.5)),
        {"CooToCsr": 1, "QSpMM": 1, "SpMM": 1, "QGemm": 2, "QGemmFloat": 1, "QuantizeGemmFloat": 1},
    ),
    "normed last": (NormedLast, {"CooToCsr": 1, "QSpMM": 2, "QGemm": 2, "QGemmNorm": 2, "QGemmFloat": 1}),
    "gat": (
        lambda: Net(pyg.GATConv(6, 4, heads=2), pyg.GATConv(8, 3)),
        {"CooToCsr": 1, "QuantizeGemmFloat": 1, "QAttentionSpMM": 1, "QGemmFloat": 1, "QAttentionSpMMFloat": 1},
    ),
    "pna": (  # rows of both ends are quantized, and multiplied, node by node
        lambda: Net(pna(6), pna(8)),
        {"CooToCsr": 1, "CsrDegree": 1, "SpMMMax": 2, "SpMMMean": 4, "QGemmFloat": 6, "QuantizeGemm": 2},
    ),
    "gatv2": (
        lambda: Net(pyg.GATv2Conv(6, 4, heads=2), pyg.GATv2Conv(8, 3)),
        {"CooToCsr": 1, "PairAttention": 2, "QGemmFloat": 4, "QSpMMWeighted": 1, "QSpMMWeightedFloat": 1},
    ),
    "edge conv": (  # no row an edge: what is summed over neighbours is the maximum of products
        lambda: Net(pyg.EdgeConv(plain_mlp(12, 8)), pyg.EdgeConv(plain_mlp(16, 3))),
        {"CooToCsr": 1, "QEdgeMlpMax": 2},
    ),
    "weighted": (
        lambda: Weighted(pyg.GraphConv(6, 8), pyg.GraphConv(8, 3)),
        {"CooToCsr": 1, "QSpMMWeighted": 2, "QGemm": 1, "QGemmFloat": 3},
    ),
    "pooled": (
        Pooled,
        {
            "CooToCsr": 1,
            "QSpMM": 1,
            "QGemm": 1,
            "QGemmFloat": 1,
            "IndexToCsr": 1,
            "SegmentMean": 1,  # the product behind it reads one row a graph: float
        },
    ),
}


def graph(name, nodes=30, edges=110, seed=0):
    g = torch.Generator().manual_seed(seed)
    inputs = {"x": torch.randn(nodes, 6, generator=g), "edge_index": torch.randint(nodes, (2, edges), generator=g)}
    if name == "weighted":
        inputs["edge_weight"] = torch.rand(edges, generator=g)
    if name == "pooled":
        inputs["batch"] = torch.arange(nodes) * 3 // nodes
    return inputs


def quantized(name, chosen, shift=0.0):
    torch.manual_seed(0)
    model = MODELS[name][0]()
    for parameter in model.parameters():
        parameter.data += shift
    inputs = graph(name)
    made = prepare(model, chosen, list(inputs.values())).train()
    for seed in range(3):
        made(*graph(name, seed=seed).values())
    made.eval()
    made.freeze()
    return made, inputs


def ops(model):
    found = [node.op_type for node in model.graph.node if node.domain == "ai.edgegnn"]
    return {kind: found.count(kind) for kind in sorted(set(found))}


def run(model, inputs, *, native=False):
    session = make_session(unsigned_weights(model).SerializeToString(), native=native)
    assert native_kernels(session) == native
    return session.run(None, {k: v.numpy() for k, v in inputs.items()})[0]


def cases():
    """Every model with INT8 or INT4 in turn, those that are always tested with INT8 as well; all pairs with --every."""
    for i, name in enumerate(MODELS):
        for chosen in (INT8, INT4):
            common = name in ("gcn", "pooled") and chosen is INT8
            sampled = (i % 2 == 1) == (chosen is INT4)
            marks = [] if common else [pytest.mark.slow] if sampled else [pytest.mark.slow, pytest.mark.every]
            yield pytest.param(name, chosen, marks=marks, id=f"{chosen.name}-{name}")


@pytest.mark.parametrize(("name", "chosen"), list(cases()))
def test_same_numbers_in_integers(name, chosen):
    model, inputs = quantized(name, chosen)
    captured = capture(model, inputs, kind="graph" if name == "pooled" else "node")
    made = rewrite_proto(captured)
    rewritten, outcomes = made.model, made.aggregations
    wanted = MODELS[name][1]
    assert ops(rewritten) == dict(sorted(wanted.items()))
    assert not any(node.op_type == "ScatterElements" for node in rewritten.graph.node)
    assert all(outcome.rule for outcome in outcomes)
    onnx.checker.check_model(rewritten)
    floats = [i for i in rewritten.graph.initializer if i.data_type == onnx.TensorProto.FLOAT and len(i.dims) > 1]
    scores = {"MatMul": 1, "PairAttention": 2}
    factors = {node.input[scores[node.op_type]] for node in rewritten.graph.node if node.op_type in scores}
    assert {i.name for i in floats} <= factors, "a weight is still float"
    for other in (inputs, graph(name, 9, 0), graph(name, 57, 300, seed=5)):
        want = run(captured, other)
        for native in (False, True) if find_library() else (False,):
            got = run(rewritten, other, native=native)
            # sums of floats in another order may round a code the other way: one step of the last points
            np.testing.assert_allclose(
                got, want, rtol=0, atol=0.05 * np.ptp(want) if chosen is INT4 else 0.02 * np.ptp(want)
            )
            assert np.mean(np.abs(got - want) <= 1e-5 * np.ptp(want)) > 0.9


class Relations(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.head = pyg.RGCNConv(6, 8, 3), nn.Linear(8, 3)

    def forward(self, x, edge_index, edge_type):
        return self.head(self.conv(x, edge_index, edge_type).relu())


def test_quantized_relations_are_added_up_at_once():
    torch.manual_seed(0)
    inputs = {**graph("relations"), "edge_type": torch.randint(3, (110,))}
    made = prepare(Relations(), INT8, list(inputs.values())).train()
    made(*inputs.values())
    made.eval()
    made.freeze()
    with torch.no_grad():
        want = made(*inputs.values()).numpy()
    rewritten = rewrite_proto(capture(made, inputs, kind="node")).model
    assert ops(rewritten)["CooToCsr"] == 1
    assert ops(rewritten)["QSpMMFloat"] == 1
    got = run(rewritten, inputs)
    assert np.abs(got - want).max() < 0.02 * np.ptp(want)
    assert np.mean(np.abs(got - want) <= 1e-5 * np.ptp(want)) > 0.9


@pytest.mark.slow
def test_four_bit_weights_stay_packed():
    model, inputs = quantized("gcn", INT4)
    rewritten = rewrite_proto(capture(model, inputs, kind="node")).model
    types = {i.name: i.data_type for i in rewritten.graph.initializer}
    assert types["first.lin.weight"] == onnx.TensorProto.INT4


@pytest.mark.slow
def test_weights_with_a_zero_point_are_left_alone():
    model, inputs = quantized("gcn", replace(INT8, weight_per_channel=False), shift=0.2)
    rewritten = rewrite_proto(capture(model, inputs, kind="node")).model
    assert set(ops(rewritten)) == {"CooToCsr", "CsrDegree", "QSpMM", "QSpMMFloat"}
    np.testing.assert_allclose(
        run(rewritten, inputs), run(capture(model, inputs, kind="node"), inputs), rtol=0, atol=0.05
    )


def test_a_tensor_that_others_read_stays_float():
    """What goes into the epilogue is read by nobody else."""

    class Both(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = pyg.GCNConv(6, 8), nn.Linear(8, 8)

        def forward(self, x, edge_index):
            h = self.first(x, edge_index).relu()
            return h + self.second(h)

    torch.manual_seed(0)
    inputs = graph("gcn")
    model = prepare(Both(), INT8, list(inputs.values())).train()
    model(*inputs.values())
    captured = capture(model.eval(), inputs, kind="node")
    rewritten = rewrite_proto(captured).model
    assert ops(rewritten)["QSpMMFloat"] == 1  # with its ReLU; the codes are made behind it
    np.testing.assert_allclose(run(rewritten, inputs), run(captured, inputs), rtol=0, atol=0.02)


@pytest.mark.slow
def test_attention_scores_are_one_product():
    model, inputs = quantized("gat", INT8)
    rewritten = rewrite_proto(capture(model, inputs, kind="node")).model
    kinds = [node.op_type for node in rewritten.graph.node]
    assert "ReduceSum" not in kinds
    assert (kinds.count("MatMul"), kinds.count("Split")) == (2, 2)


@pytest.mark.parametrize(("layer", "normalises"), spread([nn.Linear(6, 3), nn.Linear(6, 3, bias=False)], [False, True]))
def test_products_of_a_sparse_input_skip_zeros(layer, normalises):
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.conv = layer, pyg.SAGEConv(3, 2)

        def forward(self, x, edge_index):
            rows = x / x.sum(dim=1, keepdim=True).clamp(min=0.5) if normalises else x
            return self.conv(self.first(rows).relu(), edge_index)

    inputs = graph("gcn")
    inputs["x"] = inputs["x"] * (inputs["x"] > 1.5)
    assert sparse_features(inputs["x"].numpy())
    assert not sparse_features(graph("gcn")["x"].numpy())
    captured = capture(Model().eval(), inputs, kind="node")
    rewritten = rewrite_proto(captured, sparse_input=True).model
    op = "NormalizeSparseGemm" if normalises else "SparseGemm"
    assert ops(rewritten)[op] == 1
    assert "SparseGemm" not in ops(rewrite_proto(captured).model)
    for native in (False, True) if find_library() else (False,):
        np.testing.assert_allclose(run(rewritten, inputs, native=native), run(captured, inputs), atol=1e-5)


LEARNT = """
<ir_version: 9, opset_import: ["" : 20]>
g (float[n, 6] x) => (float[n, 6] y) <
  float[{size}] step = {{{steps}}}, float[{size}] top = {{{tops}}}, float seven = {{7.0}}, float low = {{{low}}},
  float[1, 6] factor = {{1.0, 0.5, 2.0, 3.0, 0.1, 0.7}}, float one = {{1.0}}, uint8 zero = {{{zero}}}
>
{{
  {before}
  negative = Neg (top)
  scaled = Div (z, step)
  {limits}
  codes = QuantizeLinear (inside, one, zero)
  y = DequantizeLinear (codes, one, zero)
}}"""
BY_COLUMN = {"size": "1, 6", "steps": "0.1, 0.2, 0.3, 0.4, 0.5, 0.6", "tops": "1.0, 7.0, 3.0, 0.0, 127.0, 7.0"}
ONE_STEP = {"size": "1, 1", "steps": "0.3", "tops": "3.0"}
MIN_MAX = "below = Min (scaled, top) inside = Max (below, {low})"


@pytest.mark.parametrize("signed", [True, False])
@pytest.mark.parametrize("before", ["z = Mul (x, factor)", "z = Mul (factor, x)", "z = Identity (x)"])
@pytest.mark.parametrize("limits", ["clip", "min and max"])
@pytest.mark.parametrize("steps", [BY_COLUMN, ONE_STEP])
def test_codes_of_learnt_steps_are_one_operator(steps, limits, before, signed):
    number = "inside = Clip (scaled, low, seven)"
    written = number if limits == "clip" else MIN_MAX.format(low="negative" if signed else "low")
    given = {"before": before, "limits": written, "zero": 128 * signed, "low": -7.0 * signed}
    model = onnx.parser.parse_model(LEARNT.format(**steps, **given))
    after = rewrite_proto(model).model
    assert ops(after) == {"QuantizeRows": 1}
    x = {"x": 3 * torch.randn(30, 6, generator=torch.Generator().manual_seed(0))}
    for native in (False, True) if find_library() else (False,):
        np.testing.assert_array_equal(run(after, x, native=native), run(model, x))


@pytest.mark.parametrize(
    "limits",
    [
        "inside = Clip (scaled, seven, top)",  # another lower end
        MIN_MAX.format(low="low"),
        "inside = Max (scaled, negative)",
        "inside = Identity (scaled)",
        "below = Min (scaled, top) inside = Max (below, negative, below)",  # read twice
    ],
)
def test_other_limits_are_left_alone(limits):
    given = {"before": "z = Identity (x)", "limits": limits, "zero": 128, "low": -6.0}
    after = rewrite_proto(onnx.parser.parse_model(LEARNT.format(**ONE_STEP, **given))).model
    assert "QuantizeRows" not in ops(after)
