"""Post-training INT8, and the size of every kind of file, on a GCN of the size that Cora's takes."""

from __future__ import annotations

import logging
import tempfile
import warnings
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
import torch_geometric.nn as gnn
from onnx import TensorProto
from torch import nn

from edgegnn.errors import ExportError
from edgegnn.exporting.capture import capture
from edgegnn.exporting.ptq import dynamic_int8, static_int8
from edgegnn.exporting.qdq import stayed_float
from edgegnn.exporting.rewrite import rewrite_proto
from edgegnn.exporting.unsigned_weights import unsigned_weights
from edgegnn.quantize import prepare, recipe

FEATURES, HIDDEN, CLASSES = 1433, 128, 7


class GCN(nn.Module):
    def __init__(self):
        super().__init__()
        self.convs = nn.ModuleList([gnn.GCNConv(FEATURES, HIDDEN), gnn.GCNConv(HIDDEN, CLASSES)])

    def forward(self, x, edge_index):
        return self.convs[1](self.convs[0](x, edge_index).relu(), edge_index)


def graph(nodes, edges, seed=0):
    gen = torch.Generator().manual_seed(seed)
    x = (torch.rand(nodes, FEATURES, generator=gen) < 0.05).float()
    return {"x": x, "edge_index": torch.randint(0, nodes, (2, edges), generator=gen)}


def arrays(inputs):
    return {name: value.numpy() for name, value in inputs.items()}


def run(model, inputs):
    options = ort.SessionOptions()
    options.log_severity_level = 4
    session = ort.InferenceSession(
        unsigned_weights(model).SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return session.run(None, arrays(inputs))[0]


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return GCN().eval()


@pytest.fixture(scope="module")
def captured(model):
    return capture(model, graph(40, 90), kind="node")


def calibration():
    return [arrays(graph(n, e, seed=n)) for n, e in ((60, 240), (50, 0), (90, 90), (1, 0), (30, 200))]


def quantized(captured, recipe_name):
    return dynamic_int8(captured) if recipe_name == "dynamic" else static_int8(captured, calibration())


@pytest.mark.parametrize("recipe_name", ["dynamic", "static"])
def test_close_to_float_on_graphs_of_any_size(model, captured, recipe_name):
    int8 = quantized(captured, recipe_name)
    for nodes, edges in ((80, 300), (20, 0), (1, 0), (33, 64)):
        inputs = graph(nodes, edges, seed=nodes)
        with torch.no_grad():
            want = model(**inputs).numpy()
        got = run(int8, inputs)
        assert got.shape == want.shape
        assert np.abs(got - want).max() < 0.1 * np.abs(want).max()
        assert not np.array_equal(got, want)
    stored = {
        i.name: i.data_type for i in int8.graph.initializer if list(i.dims) == [FEATURES, HIDDEN] or len(i.dims) == 2
    }
    assert set(stored.values()) == {TensorProto.INT8}
    kinds = [n.op_type for n in int8.graph.node]
    assert kinds.count("Pow") == 1  # the degree normalisation stays float
    assert kinds.count("QuantizeLinear") >= 2  # of dynamic: one scale a row, in standard operators
    scattered = [n.input[2] for n in int8.graph.node if n.op_type == "ScatterElements"]
    assert not [n for n in int8.graph.node if n.op_type == "DequantizeLinear" and n.output[0] in scattered]
    onnx.checker.check_model(int8)


@pytest.mark.parametrize("recipe_name", ["dynamic", "static"])
def test_same_bytes_no_leftovers_no_words(captured, recipe_name, capfd):
    before, handlers = captured.SerializeToString(), logging.root.handlers[:]
    leftovers = set(Path(tempfile.gettempdir()).iterdir())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        first, second = quantized(captured, recipe_name), quantized(captured, recipe_name)
    assert first.SerializeToString() == second.SerializeToString()
    assert captured.SerializeToString() == before
    assert not [
        p for p in set(Path(tempfile.gettempdir()).iterdir()) - leftovers if p.name.startswith(("edgegnn-", "ort."))
    ]
    assert capfd.readouterr() == ("", "")
    assert logging.root.handlers == handlers
    text = str(first)
    assert "metadata_props" not in text
    assert not first.graph.value_info


@pytest.mark.parametrize("recipe_name", ["dynamic", "static"])
def test_stayed_float(captured, recipe_name):
    why = {e["tensor"]: e["why"] for e in stayed_float(quantized(captured, recipe_name))}
    assert why["convs.0.bias"].startswith("bias")
    assert any(name.startswith("ScatterElements") for name in why)
    assert any(name.startswith("Pow") for name in why)
    assert not [name for name in why if "scale" in name or "weight" in name]
    assert {e["why"] for e in stayed_float(captured)} == {"nothing is quantized by this recipe"}


def test_what_can_not_be_quantized(captured):
    static = static_int8(captured, calibration())
    with pytest.raises(ExportError, match="quantized already"):
        dynamic_int8(static)
    with pytest.raises(ExportError, match="at least one graph"):
        static_int8(captured, [])
    bare = onnx.ModelProto()
    bare.CopyFrom(captured)
    for node in bare.graph.node:
        if node.op_type == "Gemm":
            node.op_type = "Add"
    with pytest.raises(ExportError, match="nothing to quantize"):
        dynamic_int8(bare)


def test_calibration_sees_isolated_nodes(model, captured):
    lonely = graph(50, 0, seed=50)
    with torch.no_grad():
        want = model(**lonely).numpy()
    connected = [c for c in calibration() if c["edge_index"].shape[1]]
    errors = [np.abs(run(static_int8(captured, c), lonely) - want).max() for c in (calibration(), connected)]
    assert errors[0] < 0.1 * errors[1]


@pytest.mark.slow
def test_sizes(model, captured):
    fp32 = len(captured.SerializeToString())
    assert fp32 < 4 * sum(p.numel() for p in model.parameters()) + 8_000
    for name, share in (("qat-int8", 0.27), ("qat-int4", 0.15)):
        example = graph(40, 90)
        trained = prepare(GCN(), recipe(name), tuple(example.values()))
        trained.train()
        with torch.no_grad():
            trained(*example.values())
        trained.eval().freeze()
        assert len(capture(trained, example, kind="node").SerializeToString()) <= share * fp32, name
    for int8 in (dynamic_int8(captured), static_int8(captured, calibration())):
        assert len(int8.SerializeToString()) <= 0.27 * fp32


class WithHead(nn.Module):
    """Two sums over neighbours, and a product with a bias behind a ReLU."""

    def __init__(self):
        super().__init__()
        self.convs = nn.ModuleList([gnn.GCNConv(16, 24), gnn.GATConv(24, 8, heads=3)])
        self.head = nn.Linear(24, CLASSES)

    def forward(self, x, edge_index):
        for conv in self.convs:
            x = conv(x, edge_index).relu()
        return self.head(x)


def test_pairs_that_float_operators_read_alone_go_and_biases_join_products():
    torch.manual_seed(0)
    module = WithHead().eval()
    given = [{k: v[:, :16] if k == "x" else v for k, v in graph(60, 240, seed).items()} for seed in range(4)]
    float_model = capture(module, given[0], kind="node")
    int8 = static_int8(float_model, [arrays(g) for g in given])
    kept, dropped = (rewrite_proto(int8, idle_pairs=idle).model for idle in (False, True))

    def count(model, *kinds):
        return sum(node.op_type in kinds for node in model.graph.node)

    assert count(int8, "Gemm", "MatMul") > 2
    for model in (kept, dropped):  # the scores of attention stay float; no product reads a dequantized weight
        assert count(model, "Gemm", "MatMul") == 1
        assert count(model, "QAttentionSpMM", "QAttentionSpMMFloat") == 1  # its rows are codes
    assert count(kept, "QuantizeLinear", "DequantizeLinear") > 1
    assert count(dropped, "QuantizeLinear", "DequantizeLinear") == 1  # rows of attention, for its scores
    errors = []
    with torch.no_grad():
        want = module(**given[1]).numpy()
    for model in (kept, dropped):
        got = run(model, given[1])
        assert np.abs(got - want).max() < 0.1 * np.abs(want).max()
        errors.append(float(np.square(got - want).mean()))
    assert errors[1] < errors[0]


class Pooled(nn.Module):
    """A product of each node, and one of each whole graph."""

    def __init__(self):
        super().__init__()
        self.lin, self.head = nn.Linear(16, 24), nn.Linear(24, CLASSES)

    def forward(self, x, edge_index, batch):
        rows = gnn.global_add_pool(self.lin(x).relu(), batch)
        return self.head(rows)


def test_products_of_whole_graphs_read_float_rows():
    torch.manual_seed(0)
    module = Pooled().eval()

    def given(nodes):
        inputs = graph(nodes, 3 * nodes, nodes)
        return {**inputs, "x": inputs["x"][:, :16] * 20, "batch": torch.zeros(nodes, dtype=torch.int64)}

    model = capture(module, {**given(20), "batch": torch.arange(20) // 10}, kind="graph")
    int8 = static_int8(model, [arrays(given(nodes)) for nodes in (10, 15, 20)])
    kinds = [node.op_type for node in int8.graph.node]
    assert kinds.count("QuantizeLinear") == 2  # around the product of each node
    assert "MatMulInteger" not in kinds
    stored = [i.data_type for i in int8.graph.initializer if len(i.dims) == 2]
    assert stored == [TensorProto.INT8] * 2
    inputs = given(400)  # sums 20 times those that were calibrated on
    with torch.no_grad():
        want = module(**inputs).numpy()
    assert np.abs(run(int8, inputs) - want).max() < 0.05 * np.abs(want).max()


class Differences(nn.Module):
    """EdgeConv with two products in its messages."""

    def __init__(self):
        super().__init__()
        self.conv = gnn.EdgeConv(nn.Sequential(nn.Linear(32, 24), nn.ReLU(), nn.Linear(24, CLASSES)))

    def forward(self, x, edge_index):
        return self.conv(x, edge_index)


def test_products_of_differences_stay_float_and_are_made_by_node():
    torch.manual_seed(0)
    given = [{k: v[:, :16] if k == "x" else v for k, v in graph(60, 240, seed).items()} for seed in range(3)]
    module = Differences().eval()
    int8 = static_int8(capture(module, given[0], kind="node"), [arrays(g) for g in given])
    rewritten = rewrite_proto(int8, idle_pairs=True).model
    kinds = [node.op_type for node in rewritten.graph.node]
    assert kinds.count("QEdgeProductMax") == 1
    assert kinds.count("MatMul") + kinds.count("Gemm") == 2  # of the rows of each end
    assert "Concat" not in kinds
    with torch.no_grad():
        want = module(**given[1]).numpy()
    assert np.abs(run(rewritten, given[1]) - want).max() < 0.1 * np.abs(want).max()
