"""C forms of single operators and of whole layers, beside onnxruntime."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch_geometric.nn as gnn
from c_operators import operators, points, windows
from capture_example import CLASSES, FEATURES, HIDDEN, graph, other_graphs
from onnx import TensorProto, helper, numpy_helper
from rewrite_layers import CONVS, EDGE_ATTR, MODELS
from sweep import sweep
from torch import nn

from edgegnn.exporting.capture import capture
from edgegnn.exporting.rewrite import rewrite_proto
from edgegnn.native import library
from edgegnn.plain_c.check import check
from edgegnn.plain_c.compiler import Program, Refused, compile_model, find_compiler
from edgegnn.plain_c.generate import generate
from edgegnn.plain_c.values import Limits

LIMITS = Limits(64, 256)
STRICT = ("-Wall", "-Wextra", "-pedantic", "-Wconversion", "-Werror")
pytestmark = [
    pytest.mark.skipif(find_compiler() is None, reason="no C compiler"),
    pytest.mark.skipif(library() is None, reason="the native library is not built"),
]


def test_operators():
    draw = np.random.default_rng(0)
    edge = np.array([[0.5, -0.5, 1.5, -2.5], [88.0, -90.0, 1e-4, -1e-4]], np.float32)
    graphs = [(str(n), {"x": (draw.normal(size=(n, 4)) * 3).astype(np.float32)}) for n in (1, 5, 64)]
    model = operators()
    found = check(model, generate(model, "operators", LIMITS), [*graphs, ("edge", {"x": edge})], find_compiler())
    assert found.graphs == 4


def test_windows_along_regular_axes():
    draw = np.random.default_rng(5)
    graphs = [(str(n), {"x": draw.normal(size=(n, 24)).astype(np.float32)}) for n in (1, 7)]
    model = windows()
    assert check(model, generate(model, "windows", LIMITS), graphs, find_compiler()).graphs == 2


def test_points():
    model = points()
    draw = np.random.default_rng(3)
    clouds = [(draw.integers(0, 6, (n, 2)) / 2).astype(np.float32) for n in (1, 2, 7, 40)]  # many are equally far
    graphs = [(str(len(pos)), {"pos": pos, "batch": np.zeros(len(pos), np.int64)}) for pos in clouds]
    found = check(model, generate(model, "points", LIMITS), graphs, find_compiler())
    assert (found.graphs, found.equal) == (4, 4)


class Readout(nn.Module):
    def __init__(self, readout, width=HIDDEN):
        super().__init__()
        self.conv, self.readout, self.head = gnn.GCNConv(FEATURES, HIDDEN), readout, nn.Linear(width, CLASSES)

    def forward(self, x, edge_index, batch):
        return self.head(self.readout(self.conv(x, edge_index).relu(), batch))


class Kept(nn.Module):
    """A top-k pool between two convolutions."""

    def __init__(self):
        super().__init__()
        self.pool, self.conv = gnn.TopKPooling(FEATURES, 0.5), gnn.GraphConv(FEATURES, CLASSES)

    def forward(self, x, edge_index, batch):
        x, edge_index, _, batch, *_ = self.pool(x, edge_index, batch=batch)
        return gnn.global_mean_pool(self.conv(x, edge_index), batch)


LAYERS = ("ChebConv", "HypergraphConv", "FeaStConv", "RGCNConv", "NNConv", "PPFConv", "GPS", "JumpingKnowledge lstm")
READOUTS = {
    "top-k": Kept,
    "median": lambda: Readout(gnn.MedianAggregation()),
    "GRU": lambda: Readout(gnn.GRUAggregation(HIDDEN, HIDDEN, num_layers=2)),
    "set transformer": lambda: Readout(gnn.SetTransformerAggregation(HIDDEN, 1, heads=2)),
}


def compared(model, tmp_path, inputs, graphs):
    code = generate(model, "layer", LIMITS)
    compile_model(code, tmp_path, find_compiler(), STRICT)
    given = {value.name for value in model.graph.input}
    some = [(name, {k: v.numpy() for k, v in g.items() if k in given}) for name, g in graphs.items()]
    assert check(model, code, some, find_compiler()).graphs == len(some)


@pytest.mark.slow
@pytest.mark.parametrize("name", sweep(LAYERS, lambda i: i % 2 == 0))
def test_layers(name, tmp_path):
    torch.manual_seed(0)
    kind = {"edge_attr": 4} if name in EDGE_ATTR else {}
    inputs = graph(21, 50, **kind)
    model = rewrite_proto(capture({**CONVS, **MODELS}[name]().eval(), inputs, kind="node")).model
    compared(model, tmp_path, inputs, {"own": inputs, **other_graphs(**kind)})


@pytest.mark.slow
@pytest.mark.parametrize("name", READOUTS)
def test_readouts(name, tmp_path):
    torch.manual_seed(0)
    model = rewrite_proto(capture(READOUTS[name]().eval(), graph(21, 50, 3), kind="graph")).model
    sizes = [(9, 20), (2, 1), (5, 0), (64, 256)]
    one = [graph(nodes, edges, seed=seed) for seed, (nodes, edges) in enumerate(sizes)]
    graphs = {str(g["x"].shape): {**g, "batch": torch.zeros(len(g["x"]), dtype=torch.long)} for g in one}
    compared(model, tmp_path, graph(21, 50, 3), graphs)


def test_a_computed_index_is_checked(tmp_path):
    value = helper.make_tensor_value_info
    nodes = [
        helper.make_node("Gather", ["edge_index", "first"], ["source"], axis=0),
        helper.make_node("Mul", ["source", "times"], ["far"]),
        helper.make_node("Gather", ["x", "far"], ["y"], "look_up"),
    ]
    given = [numpy_helper.from_array(np.array(v, np.int64), name) for name, v in (("first", 0), ("times", 3))]
    inputs = [
        value("x", TensorProto.FLOAT, ["num_nodes", 2]),
        value("edge_index", TensorProto.INT64, [2, "num_edges"]),
    ]
    made = helper.make_graph(nodes, "far", inputs, [value("y", TensorProto.FLOAT, ["num_edges", 2])], given)
    code = generate(helper.make_model(made, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), "far", LIMITS)
    x = np.arange(14, dtype=np.float32).reshape(7, 2)
    compiled = Program(code, compile_model(code, tmp_path, find_compiler(), STRICT))
    assert compiled.run({"x": x, "edge_index": np.array([[2, 0], [1, 1]])})["y"].tolist() == [[12, 13], [0, 1]]
    with pytest.raises(Refused) as error:
        compiled.run({"x": x, "edge_index": np.array([[0, 3], [1, 1]])})
    assert error.value.code == 4
