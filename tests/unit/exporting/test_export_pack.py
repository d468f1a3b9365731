"""Zeros are taken out of constants: nothing that is computed changes, and nothing of it is left to do at run time."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import cache
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn
from torch_geometric.data import Data
from torch_geometric.nn import GCNConv

from edgegnn import api
from edgegnn.exporting.capture import capture
from edgegnn.exporting.pack_zeros import DOMAIN, pack_zeros, spell_int4
from edgegnn.exporting.rewrite import rewrite_proto
from edgegnn.quantize import prepare, recipe
from edgegnn.runtime import find_library, verify

TYPES = {np.float32: TensorProto.FLOAT, np.int8: TensorProto.INT8, np.uint8: TensorProto.UINT8}
LEVELS = [ort.GraphOptimizationLevel.ORT_ENABLE_ALL, ort.GraphOptimizationLevel.ORT_DISABLE_ALL]


def matrix(*shape: int, share: float, dtype: type = np.float32, seed: int = 0) -> np.ndarray:
    """Values of which about this share is not zero."""
    generator = np.random.default_rng(seed)
    values = np.ceil(generator.uniform(1, 100, shape)) * (1 if dtype == np.uint8 else generator.choice([-1, 1], shape))
    return np.where(generator.random(shape) < share, values, 0).astype(dtype)


def shipping(**constants: np.ndarray) -> onnx.ModelProto:
    """A model that gives out its constants."""
    nodes = [helper.make_node("Identity", [name], [f"{name}_out"]) for name in constants]
    outputs = [
        helper.make_tensor_value_info(f"{name}_out", TYPES[value.dtype.type], value.shape)
        for name, value in constants.items()
    ]
    stored = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "shipping", [], outputs, stored)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def outputs(model: onnx.ModelProto, level: ort.GraphOptimizationLevel = LEVELS[0]) -> list[np.ndarray]:
    options = ort.SessionOptions()
    options.log_severity_level, options.graph_optimization_level = 4, level
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return list(session.run(None, {}))


def kinds(model: onnx.ModelProto) -> list[str]:
    return [node.op_type for node in model.graph.node if node.domain == DOMAIN]


def same(a: np.ndarray, b: np.ndarray) -> bool:
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


# Constants ------------------------------------------------------------


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("shape", [(64, 128), (61, 127), (7, 3, 401)], ids=str)
@pytest.mark.parametrize(("share", "kind"), [(0.5, "FromBitmask"), (0.02, "FromGaps"), (0.0, "FromGaps")])
def test_what_comes_out_is_what_went_in(dtype, shape, share, kind):
    value = matrix(*shape, share=share, dtype=dtype)
    model = shipping(w=value)
    packed = pack_zeros(model)
    onnx.checker.check_model(packed)
    assert kinds(packed) == [kind]
    assert packed.ByteSize() < model.ByteSize()
    for level in LEVELS:
        assert same(outputs(packed, level)[0], value)


def test_bits_of_floats_are_kept():
    value = matrix(50, 50, share=0.3)
    odd = np.array([0x80000000, 0x7FC00001, 0xFFC00000, 0x7F800000, 0x00000001], np.uint32).view(np.float32)
    value[0, :5] = odd
    packed = pack_zeros(shipping(w=value))
    assert kinds(packed) == ["FromBitmask"]
    assert all(same(outputs(packed, level)[0], value) for level in LEVELS)


@pytest.mark.parametrize("skip", [0, 1, 253, 254, 255, 256, 509, 510, 511, 1020])
def test_gaps_around_the_largest_number(skip):
    value = np.zeros((8, 1024), np.float32)
    value.flat[[skip, 2 * skip + 1, 8191]] = 1.5, -2.5, 3.5
    packed = pack_zeros(shipping(w=value))
    assert kinds(packed) == ["FromGaps"]
    assert all(same(outputs(packed, level)[0], value) for level in LEVELS)


def test_size_of_what_is_packed():
    n = 400 * 500
    for share, dtype, most in (
        (0.5, np.float32, 0.54),
        (0.1, np.float32, 0.13),
        (0.5, np.int8, 0.64),
        (0.1, np.int8, 0.22),
    ):
        value = matrix(400, 500, share=share, dtype=dtype)
        assert pack_zeros(shipping(w=value)).ByteSize() < most * n * value.itemsize


def test_what_gets_no_smaller_is_left_alone():
    models = {
        "dense": shipping(w=matrix(100, 100, share=1.0)),
        "nearly dense codes": shipping(w=matrix(100, 100, share=0.92, dtype=np.int8)),
        "small": shipping(w=matrix(5, 5, share=0.1)),
        "row": shipping(w=np.zeros(10_000, np.float32)),
        "empty": shipping(w=np.zeros((0, 5), np.float32)),
    }
    other = numpy_helper.from_array(np.zeros((100, 100)), "w")
    models["double"] = helper.make_model(helper.make_graph([], "g", [], [], [other]))
    models["old"] = helper.make_model(models["row"].graph, opset_imports=[helper.make_opsetid("", 17)])
    for name, model in models.items():
        before = model.SerializeToString()
        assert pack_zeros(model) is model, name
        assert model.SerializeToString() == before


def test_each_constant_by_itself():
    values = {
        "dense": matrix(90, 90, share=1.0),
        "half": matrix(90, 90, share=0.5, dtype=np.int8),
        "few": matrix(90, 90, share=0.02),
        "half.values": matrix(90, 90, share=0.5, seed=1),
    }
    model = shipping(**values)
    before = model.SerializeToString()
    packed = pack_zeros(model)
    onnx.checker.check_model(packed)
    assert kinds(packed) == ["FromBitmask", "FromGaps", "FromBitmask"]
    assert "dense" in {t.name for t in packed.graph.initializer}
    assert len({t.name for t in packed.graph.initializer}) == len(packed.graph.initializer)
    assert all(same(a, b) for a, b in zip(outputs(packed), values.values(), strict=True))
    assert model.SerializeToString() == before
    assert pack_zeros(model).SerializeToString(deterministic=True) == packed.SerializeToString(deterministic=True)


def test_a_constant_that_can_be_fed_is_left_alone():
    value = matrix(100, 100, share=0.1)
    model = shipping(w=value)
    model.graph.input.append(helper.make_tensor_value_info("w", TensorProto.FLOAT, value.shape))
    assert pack_zeros(model) is model


# Four bits ------------------------------------------------------------


def four_bits(value: np.ndarray, *, cast: bool = True, readers: int = 1) -> onnx.ModelProto:
    codes = helper.make_tensor("w", TensorProto.INT4, value.shape, value.reshape(-1).tolist())
    nodes = [helper.make_node("Cast", ["w"], [f"out{i}"], to=TensorProto.INT8) for i in range(readers)]
    if not cast:
        scale = numpy_helper.from_array(np.float32(0.5), "scale")
        nodes = [helper.make_node("DequantizeLinear", ["w", "scale"], ["out0"])]
    kind = TensorProto.INT8 if cast else TensorProto.FLOAT
    given = [helper.make_tensor_value_info(f"out{i}", kind, value.shape) for i in range(readers)]
    graph = helper.make_graph(nodes, "four", [], given, [codes] if cast else [codes, scale])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)


@pytest.mark.parametrize("shape", [(64, 128), (61, 127)], ids=str)
@pytest.mark.parametrize(("share", "kind"), [(0.4, "FromBitmask"), (0.02, "FromGaps")])
def test_four_bit_codes_stay_packed(shape, share, kind):
    value = np.where(matrix(*shape, share=share) != 0, np.random.default_rng(1).integers(-8, 8, shape), 0).astype(
        np.int8
    )
    model = four_bits(value)
    packed = pack_zeros(model)
    onnx.checker.check_model(packed)
    assert kinds(packed) == [kind]
    assert packed.ByteSize() < model.ByteSize()
    assert {t.data_type for t in packed.graph.initializer} == {TensorProto.UINT8, TensorProto.INT4, TensorProto.INT64}
    assert same(outputs(model)[0], value)
    for level in LEVELS:
        assert same(outputs(packed, level)[0], value)


def test_four_bit_codes_with_other_readers_are_left_alone():
    value = np.zeros((100, 100), np.int8)
    for model in (four_bits(value, cast=False), four_bits(value, readers=2)):
        assert pack_zeros(model) is model


@pytest.mark.parametrize("shape", [(64, 128), (61, 127), (1, 1)], ids=str)
@pytest.mark.parametrize("share", [1.0, 0.4, 0.02])
def test_four_bit_codes_as_bytes(shape, share):
    codes = np.random.default_rng(1).integers(-8, 8, shape)
    value = np.where(matrix(*shape, share=share) != 0, codes, 0).astype(np.int8)
    spelled = spell_int4(pack_zeros(four_bits(value)))
    onnx.checker.check_model(spelled)
    assert "Cast" not in {node.op_type for node in spelled.graph.node}
    assert {t.data_type for t in spelled.graph.initializer} == {TensorProto.UINT8, TensorProto.INT64}
    for level in LEVELS:
        assert same(outputs(spelled, level)[0], value)


def test_other_uses_of_four_bits_stay():
    for model in (four_bits(np.zeros((3, 3), np.int8), cast=False), shipping(w=matrix(3, 3, share=0.5))):
        assert spell_int4(model) is model


# Whole models ------------------------------------------------------------


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = GCNConv(60, 160), GCNConv(160, 200)

    def forward(self, x, edge_index):
        return self.second(self.first(x, edge_index).relu(), edge_index)


@cache
def pruned(quant: str | None, sparsity: float) -> tuple[onnx.ModelProto, dict[str, torch.Tensor]]:
    torch.manual_seed(0)
    model = Net()
    for parameter in (model.first.lin.weight, model.second.lin.weight):
        parameter.data.masked_fill_(torch.rand_like(parameter) < sparsity, 0.0)
    inputs = {"x": torch.randn(30, 60), "edge_index": torch.randint(30, (2, 110))}
    if quant is not None:
        model = prepare(model, recipe(quant), list(inputs.values())).train()
        model(*inputs.values())
    return rewrite_proto(capture(model.eval(), inputs, kind="node")).model, inputs


def session(model: onnx.ModelProto, *, native: bool, level: ort.GraphOptimizationLevel, save: Path | None = None):
    options = ort.SessionOptions()
    options.log_severity_level, options.graph_optimization_level = 4, level
    if save is not None:
        options.optimized_model_filepath = str(save)
    if native:
        options.register_custom_ops_library(str(find_library()))
    return ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


@pytest.mark.parametrize(
    "native", [False, pytest.param(True, marks=pytest.mark.skipif(not find_library(), reason="no library"))]
)
@pytest.mark.parametrize(
    "quant",
    [
        pytest.param(None, marks=pytest.mark.slow),
        pytest.param("qat-int8", marks=[pytest.mark.slow, pytest.mark.every]),
        "qat-int4",
    ],
)
@pytest.mark.parametrize("sparsity", [0.5, pytest.param(0.97, marks=pytest.mark.slow)])
def test_models_compute_the_same_and_unpack_nothing_at_run_time(quant, sparsity, native, tmp_path):
    model, inputs = pruned(quant, sparsity)
    packed = pack_zeros(model)
    assert len(kinds(packed)) == 2
    assert packed.ByteSize() < model.ByteSize()
    onnx.checker.check_model(packed)
    feeds = {k: v.numpy() for k, v in inputs.items()}
    want = session(model, native=native, level=LEVELS[0]).run(None, feeds)[0]
    for level in LEVELS:
        made = session(packed, native=native, level=level, save=tmp_path / "optimized.onnx")
        np.testing.assert_allclose(made.run(None, feeds)[0], want, rtol=1e-5, atol=1e-5)
        left = onnx.load(tmp_path / "optimized.onnx")
        unpacking = {"CumSum", "FromBitmask", "FromGaps"} & {node.op_type for node in left.graph.node}
        assert bool(unpacking) == (level == LEVELS[1])
        if level == LEVELS[0]:
            shapes = [sorted(t.dims) for t in left.graph.initializer]
            assert [60, 160] in shapes
            assert [160, 200] in shapes


@pytest.mark.slow
def test_an_artifact_of_a_pruned_model(tmp_path, monkeypatch):
    torch.manual_seed(0)
    data = Data(torch.randn(120, 60), torch.randint(120, (2, 500)), y=torch.randint(3, (120,)))
    torch.save(data, tmp_path / "data.pt")
    monkeypatch.chdir(tmp_path)
    trained = api.train("gcn", "data.pt", architecture={"hidden": 256}, settings={"epochs": 2})
    weights = {k: p for k, p in trained.model.named_parameters() if p.dim() > 1}
    for weight in weights.values():
        weight.data.masked_fill_(torch.rand_like(weight) < 0.8, 0.0)
    trained.pruning = {"method": "global", "sparsity": 0.8, "achieved": 0.8, "tensors": list(weights), "excluded": []}
    sizes = api.export(trained, quant="dq-int8", output="small", settings={"epochs": 2}).manifest["sizes"]
    dense = sum(weight.numel() for weight in weights.values())
    assert sizes["fp32_model_file"] > 4 * dense  # what sizes are compared with stays dense
    model = onnx.load("small/model.onnx")
    assert sizes["model_file"] == Path("small/model.onnx").stat().st_size < 0.4 * sizes["fp32_model_file"]
    assert kinds(model)
    assert max(len(t.raw_data) for t in model.graph.initializer) < 0.4 * dense
    assert verify(Path("small")).ok
    done = subprocess.run(
        [sys.executable, "small/run.pyz", "verify", "--json"],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": ""},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["agreement"] == 1.0
