"""Quantization points in the file: PyTorch's fake-quantized numbers, integers on disk, names that survive."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
import torch_geometric.nn as gnn
from onnx import TensorProto, helper, numpy_helper
from sweep import sweep
from torch import nn

import edgegnn.quantize.ops  # registers the operator
from edgegnn.errors import ExportError
from edgegnn.exporting.capture import capture
from edgegnn.exporting.qdq import fold_weights, qdq_points, stayed_float
from edgegnn.exporting.unsigned_weights import unsigned_weights

assert edgegnn.quantize.ops
FEATURES, HIDDEN, CLASSES = 9, 7, 3  # odd: packed int4 tensors end in half a byte
ALL, NONE = ort.GraphOptimizationLevel.ORT_ENABLE_ALL, ort.GraphOptimizationLevel.ORT_DISABLE_ALL


class Point(nn.Module):
    """A frozen activation point."""

    def __init__(self, name, low, high, bits):
        super().__init__()
        self.name, self.bits = name, bits
        scale = (high - low) / (2**bits - 1) * (1 + sum(map(ord, name)) / 7e4)  # no simple ratios: sums do not tie
        self.register_buffer("scale", torch.tensor([scale]))
        zero = -(2 ** (bits - 1)) - round(low / scale)
        self.register_buffer("zero_point", torch.tensor([zero], dtype=torch.int32))

    def forward(self, x):
        return torch.ops.edgegnn.fake_quantize(x, self.scale, self.zero_point, -1, self.bits, self.name)


class Weight(nn.Module):
    """A frozen weight point, one scale for each row."""

    def __init__(self, name, weight, bits):
        super().__init__()
        self.name, self.bits = name, bits
        self.register_buffer("scale", weight.detach().abs().amax(1) / (2 ** (bits - 1) - 1))
        self.register_buffer("zero_point", torch.zeros(len(weight), dtype=torch.int32))

    def forward(self, weight):
        return torch.ops.edgegnn.fake_quantize(weight, self.scale, self.zero_point, 0, self.bits, self.name)


class Product(nn.Module):
    """A Linear with points on input, weight and output."""

    def __init__(self, name, inputs, outputs, bits, bias=True):
        super().__init__()
        self.linear = nn.Linear(inputs, outputs, bias=bias)
        self.input, self.output = Point(f"{name}.input", -2.0, 2.5, bits), Point(f"{name}.output", -3.0, 2.0, bits)
        self.weight = Weight(f"{name}.weight", self.linear.weight, bits)

    def forward(self, x):
        return self.output(nn.functional.linear(self.input(x), self.weight(self.linear.weight), self.linear.bias))


class Quantized(nn.Module):
    """All that a recipe puts into a layer: points in a row, messages, a bias, a layer left in float, a lone weight."""

    def __init__(self, bits):
        super().__init__()
        self.first = Product("first", FEATURES, HIDDEN, bits)
        self.update = Point("update", -2.5, 2.0, bits)  # follows first.output at once, and second.input follows it
        self.second = Product("second", HIDDEN, HIDDEN, bits, bias=False)
        self.message, self.aggregate = Point("message", -2.0, 2.2, bits), Point("aggregate", -6.0, 5.0, bits)
        self.float_layer = nn.Linear(HIDDEN, HIDDEN)
        self.float_input, self.float_output = (
            Point("kept.input", -4.0, 4.0, bits),
            Point("kept.output", -3.0, 3.0, bits),
        )
        self.root = nn.Parameter(torch.randn(HIDDEN, FEATURES))
        self.root_weight = Weight("root", self.root, bits)
        self.head = Product("head", HIDDEN, CLASSES, bits)
        self.edge = Product("edge", 2 * HIDDEN, HIDDEN, bits)

    def forward(self, x, edge_index):
        h = self.second(self.update(self.first(x)))
        message = self.message(self.edge(torch.cat([h[edge_index[0]], h[edge_index[1]]], dim=1)))
        h = self.aggregate(gnn.SumAggregation()(message, edge_index[1], dim_size=x.size(0), dim=0)) + h
        h = self.float_output(self.float_layer(self.float_input(h)))
        h = h + x @ self.root_weight(self.root).t()
        return self.head(h)


def graphs():
    rng = np.random.default_rng(0)
    for nodes, edges in ((31, 90), (400, 3000), (1, 0), (6, 0), (5, 13)):
        x = rng.standard_normal((nodes, FEATURES)).astype(np.float32)
        x[0, 0] = 1e9  # far outside the range: codes saturate
        yield {"x": x, "edge_index": rng.integers(0, nodes, (2, edges))}


def run(model, inputs, level=ALL, threads=1):
    options = ort.SessionOptions()
    options.graph_optimization_level, options.intra_op_num_threads, options.log_severity_level = level, threads, 4
    return ort.InferenceSession(
        unsigned_weights(model).SerializeToString(), options, providers=["CPUExecutionProvider"]
    ).run(None, inputs)[0]


def make(bits):
    torch.manual_seed(bits)
    model = Quantized(bits).eval()
    inputs = next(graphs())
    return model, capture(model, {k: torch.from_numpy(v) for k, v in inputs.items()}, kind="node")


@pytest.fixture(scope="module", params=[8, 4], ids=["int8", "int4"])
def pair(request):
    return (request.param, *make(request.param))


def assert_same_codes(model, captured):
    step = float(model.head.output.scale)
    for inputs in graphs():
        with torch.no_grad():
            want = model(*(torch.from_numpy(v) for v in inputs.values())).numpy()
        for level, threads in ((NONE, 1), (ALL, 1), (ALL, 2)):
            got = run(captured, inputs, level, threads)
            assert got.shape == want.shape
            different = np.abs(got - want) > step / 2
            # sums in another order may put a value on the other side of a rounding step, rarely
            assert different.mean() <= 0.003, (level, threads, different.mean())


def test_same_codes_as_pytorch_whatever_the_optimizer_does(pair):
    _, model, captured = pair
    assert_same_codes(model, captured)


@pytest.mark.slow
@pytest.mark.parametrize("bits", sweep([2, 3, 5, 6, 7], lambda i: i in (0, 3)))
def test_other_widths(bits):
    assert_same_codes(*make(bits))


def test_every_point_is_in_the_file_by_name(pair):
    bits, model, captured = pair
    planned = {m.name: m for m in model.modules() if isinstance(m, Point | Weight)}
    found = qdq_points(captured)
    assert found.keys() == planned.keys()
    for name, point in found.items():
        kind = "weight" if isinstance(planned[name], Weight) else "activation"
        assert point.kind == kind
        assert point.dtype.endswith(f"int{bits}")
        shift = 2 ** (bits - 1) if point.dtype.startswith("u") else 0
        np.testing.assert_array_equal(point.scale, planned[name].scale.numpy())
        np.testing.assert_array_equal(point.zero_point, planned[name].zero_point.numpy() + shift)
    assert {p.dtype for p in found.values() if p.kind == "weight"} == {f"int{bits}"}
    assert found["first.input"].dtype == f"uint{bits}"
    # neighbours have different types, else onnxruntime makes one pair of two
    assert len({found[n].dtype for n in ("first.output", "update")}) == 2
    assert found["first.weight"].axis == 0
    assert found["first.input"].axis == -1


def test_weights_are_integers_on_disk(pair):
    bits, model, captured = pair
    stored = {i.name: i for i in captured.graph.initializer}
    weight = model.first.linear.weight.detach().numpy()
    codes = stored["first.weight"]
    assert codes.data_type == {8: TensorProto.INT8, 4: TensorProto.INT4}[bits]
    assert len(codes.raw_data) == (weight.size * bits + 7) // 8
    want = np.round(weight / model.first.weight.scale.numpy()[:, None])
    np.testing.assert_array_equal(numpy_helper.to_array(codes).astype(np.float32), want)
    assert captured.opset_import[0].version == {8: 18, 4: 21}[bits]
    floats = [i for i in captured.graph.initializer if i.data_type == TensorProto.FLOAT]
    kept = {tuple(model.float_layer.weight.shape), tuple(reversed(model.float_layer.weight.shape))}
    assert {tuple(i.dims) for i in floats if len(i.dims) == 2} <= kept
    # the transposed weight is stored as it is used
    assert tuple(stored["root"].dims) == (FEATURES, HIDDEN)
    assert qdq_points(captured)["root"].axis == 1


def test_integer_kernels_of_stock_onnxruntime(tmp_path):
    _, captured = make(8)
    options = ort.SessionOptions()
    options.optimized_model_filepath, options.log_severity_level = str(tmp_path / "optimized.onnx"), 4
    content = unsigned_weights(captured).SerializeToString()
    ort.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    kernels = [node.op_type for node in onnx.load(tmp_path / "optimized.onnx").graph.node]
    assert kernels.count("QGemm") == 4
    assert "MatMulNBits" not in kernels  # would round float activations to int8


def test_scale_that_is_not_frozen():
    class Moving(nn.Module):
        def forward(self, x, edge_index):
            scale = x.abs().max().view(1) / 127
            return torch.ops.edgegnn.fake_quantize(x, scale, torch.zeros(1, dtype=torch.int32), -1, 8, "moving")

    with pytest.raises(ExportError, match="quantization point moving is not a constant"):
        capture(Moving(), {k: torch.from_numpy(v) for k, v in next(graphs()).items()}, kind="node")


def transposed_weight(code_type, axis):
    rng = np.random.default_rng(1)
    weight = rng.standard_normal((5, 3)).astype(np.float32)
    scale = (np.abs(weight).max(1 - axis) / 7).astype(np.float32)
    constants = [
        numpy_helper.from_array(weight, "w"),
        numpy_helper.from_array(scale, "s"),
        helper.make_tensor("z", code_type, [len(scale)], [0] * len(scale)),
    ]
    nodes = [
        helper.make_node("QuantizeLinear", ["w", "s", "z"], ["q"], name="w/Q", axis=axis),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["d"], name="w/DQ", axis=axis),
        helper.make_node("Transpose", ["d"], ["t"], perm=[1, 0]),
        helper.make_node("MatMul", ["x", "t"], ["y"]),
    ]
    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, ["n", w]) for n, w in (("x", 3), ("y", 5))]
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)


@pytest.mark.parametrize("code_type", [TensorProto.INT8, TensorProto.INT4])
@pytest.mark.parametrize("axis", [0, 1])
def test_fold_weights_moves_the_transpose_into_the_codes(code_type, axis):
    model = transposed_weight(code_type, axis)
    folded = fold_weights(model)
    assert [n.op_type for n in folded.graph.node] == ["DequantizeLinear", "MatMul"]
    x = {"x": np.random.default_rng(2).standard_normal((4, 3)).astype(np.float32)}
    np.testing.assert_array_equal(run(folded, x, NONE), run(model, x, NONE))
    assert model.graph.node[0].op_type == "QuantizeLinear"  # the argument is left alone
    assert qdq_points(folded)["w"].axis == 1 - axis


def test_stayed_float_says_why(pair):
    _, _, captured = pair
    why = {entry["tensor"]: entry for entry in stayed_float(captured)}
    assert why["first.linear.bias"]["why"].startswith("bias")
    assert why["first.linear.bias"]["bytes"] == 4 * HIDDEN
    kept = next(entry for name, entry in why.items() if name.startswith("float_layer.weight"))
    assert kept["why"] == "weight of a product without quantization points"
    assert any(name.startswith("ScatterElements") for name in why)
    assert not [name for name in why if name.endswith((".scale", ".zero_point"))]
