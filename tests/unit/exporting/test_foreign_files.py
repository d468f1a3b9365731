"""`edgegnn export model.onnx`: files that another program wrote, against stock onnxruntime."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from foreign_files import file_of, graph_arrays, message_file, save
from onnx import helper
from sweep import spread
from torch import nn

import edgegnn
from edgegnn.checkpoint.onnx_file import read_onnx
from edgegnn.errors import EdgeGNNError, ParityError
from edgegnn.exporting.foreign.prepare import settled
from edgegnn.exporting.foreign.wording import of_the_file
from edgegnn.exporting.rewrite import rewrite_proto
from edgegnn.runtime import make_session, open_artifact, predict

FLOAT, INT64 = onnx.TensorProto.FLOAT, onnx.TensorProto.INT64
_ALLOWED = {"none": 1e-4, "static-int8": 0.2, "dynamic-int8": 0.2}


def exported(model, folder, quant="none", graph=None, **options):
    graph = graph_arrays() if graph is None else graph
    np.savez(folder / "graph.npz", **graph)
    file = save(model, folder / "model.onnx")
    options = {"max_accuracy_drop": 100.0, "min_agreement": 0.0} | options
    return edgegnn.export(
        file, quant=quant, data=str(folder / "graph.npz"), output=folder / "artifact", force=True, **options
    )


def stock(model, graph):
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {v.name: graph[v.name].astype(_type(v.type)) for v in session.get_inputs()})[0]


def _type(text):
    return {"tensor(float)": "f4", "tensor(float16)": "f2", "tensor(int64)": "i8", "tensor(int32)": "i4"}[text]


def rules(result):
    return [each.rule for each in result.manifest.aggregations]


FILES = [("edge_index", "slice", 17), ("edges", "expand", 18), ("src/dst", "elements", 21)]


@pytest.mark.parametrize(("file", "quant"), spread(FILES, ["none", "static-int8", "dynamic-int8"]))
def test_an_artifact_of_a_file_computes_what_the_file_computes(file, quant, tmp_path):
    ends, layout, opset = file
    model = message_file(ends=ends, layout=layout, opset=opset)
    result = exported(model, tmp_path, quant, graph_arrays(ends))
    assert rules(result)[0] not in (None, "Rows")  # the look-up, the weights and the sum are one operator
    assert edgegnn.verify(result.path).ok
    other = graph_arrays(ends, nodes=23, edges=61, seed=5)
    index = {"edges": lambda g: g["edges"].T, "src/dst": lambda g: np.stack([g["src"], g["dst"]])}
    given = {"h": other["h"], "w": other["w"], "edge_index": index.get(ends, lambda g: g["edge_index"])(other)}
    want = stock(model, other)
    got = predict(open_artifact(result.path), given)
    assert np.abs(got - want).max() <= _ALLOWED[quant] * np.abs(want).max()


@pytest.mark.parametrize("reduction", ["max", "min", "mul"])
def test_reductions_other_than_sums_start_from_what_the_file_starts_from(reduction, tmp_path):
    model = message_file(reduction=reduction)
    result = exported(model, tmp_path)
    found = [(each.rule, each.reason) for each in result.manifest.aggregations]
    assert found[0][0] == "Rows" if reduction != "mul" else "product" in found[0][1]


def test_weights_of_channels_become_one_operator_also_in_c(tmp_path):
    result = exported(message_file(channels=True, width=12), tmp_path, format="c", max_nodes=64, max_edges=256)
    assert rules(result) == ["Channels"]
    assert result.manifest.c is not None


def _products(first, **kinds):
    constants = {"w": np.random.default_rng(0).normal(size=(8, 3)).astype(np.float32)}
    nodes = [helper.make_node("MatMul", ["f", "w"], ["out"])]
    return file_of(nodes, {"f": (FLOAT, [first, 8])}, {"out": (FLOAT, [first, 3])}, constants)


def test_a_file_that_is_no_graph_network_is_exported_as_it_is(tmp_path, caplog):
    features = np.random.default_rng(1).normal(size=(30, 8)).astype(np.float32)
    result = exported(_products("n"), tmp_path, graph={"f": features})
    assert result.manifest.aggregations == []
    assert np.allclose(predict(open_artifact(result.path), {"f": features}), stock(_products("n"), {"f": features}))
    assert "no graph network" in caplog.text


def test_a_file_of_one_size_is_refused(tmp_path):
    with pytest.raises(EdgeGNNError, match="graphs of one size only"):
        exported(_products(30), tmp_path, graph={"f": np.zeros((30, 8), np.float32)})


def _pooled(rows):
    """Sums over graphs, whose number is a constant, as PyTorch's older exporter writes it."""
    make = helper.make_node
    nodes = [
        make("Unsqueeze", ["batch", "last"], ["column"]),
        make("Shape", ["x"], ["whole"]),
        make("Expand", ["column", "whole"], ["full"]),
        make("ConstantOfShape", ["size"], ["start"]),
        make("ScatterElements", ["start", "full", "x"], ["out"], axis=0, reduction="add"),
    ]
    inputs = {"x": (FLOAT, ["n", 4]), "batch": (INT64, ["n"]), "edge_index": (INT64, [2, "e"])}
    return file_of(nodes, inputs, {"out": (FLOAT, [rows, 4])}, {"last": np.array([-1]), "size": np.array([rows, 4])})


def _some_graphs(count=3):
    random = np.random.default_rng(2)
    arrays = {}
    for i in range(count):
        arrays[f"{i:04d}.x"] = random.normal(size=(9 + i, 4)).astype(np.float32)
        arrays[f"{i:04d}.edge_index"] = random.integers(0, 9, (2, 20 + 3 * i))
    return arrays


def test_a_number_of_graphs_that_is_a_constant_makes_an_artifact_for_one_graph(tmp_path):
    with pytest.raises(EdgeGNNError, match="the number of graphs of the example"):
        exported(_pooled(3), tmp_path, graph=_some_graphs())
    result = exported(_pooled(1), tmp_path, graph=_some_graphs())
    assert "batch" not in [each.name for each in result.manifest.inputs]
    assert result.manifest.kind == "graph"


def test_without_data_graphs_are_made_by_shape(tmp_path, caplog):
    file = save(message_file(), tmp_path / "model.onnx")
    result = edgegnn.export(file, quant="dynamic-int8", output=tmp_path / "artifact", inputs={"w": "edge"})
    assert edgegnn.verify(result.path).ok
    assert "made by the shapes" in caplog.text


def test_an_error_names_the_file(tmp_path):
    module = edgegnn.load(save(message_file(), tmp_path / "model.onnx")).model
    with pytest.raises(ParityError, match=r"^the logits differ from the file's by 3$"), of_the_file(module):
        raise ParityError("the logits differ from PyTorch's by 3")
    with pytest.raises(ParityError, match="from PyTorch's"), of_the_file(nn.Linear(1, 1)):
        raise ParityError("the logits differ from PyTorch's by 3")


def test_several_outputs_keep_their_names(tmp_path):
    model = message_file()
    model.graph.output.append(helper.make_tensor_value_info("hidden", FLOAT, ["n", 16]))
    graph = {name: value for name, value in graph_arrays().items() if name != "y"}
    result = exported(model, tmp_path, graph=graph)
    assert [each.name for each in result.manifest.outputs] == ["out", "hidden"]
    assert edgegnn.verify(result.path).ok


def test_a_file_of_float16_becomes_one_of_float32(tmp_path):
    model = message_file(kind=np.float16)
    result = exported(model, tmp_path)
    assert sorted(each.dtype for each in result.manifest.inputs) == ["float32", "float32", "int64"]


def test_a_recipe_that_trains_is_refused_in_a_line(tmp_path):
    with pytest.raises(EdgeGNNError, match="an ONNX file has no PyTorch model to train"):
        exported(message_file(), tmp_path, "dq-int8")
    assert not (tmp_path / "artifact").exists()


def _with_domain(model):
    model.graph.node[3].domain = "com.example"
    model.opset_import.append(helper.make_opsetid("com.example", 1))


def _with_function(model):
    inner = helper.make_node("Relu", ["a"], ["b"])
    model.functions.append(helper.make_function("own", "F", ["a"], ["b"], [inner], [helper.make_opsetid("", 17)]))


def _with_loop(model):
    body = helper.make_graph([], "body", [], [])
    model.graph.node.insert(0, helper.make_node("Loop", ["one", ""], [], body=body))


def _outside(model):
    tensor = model.graph.initializer[0]
    onnx.external_data_helper.set_external_data(tensor, "../../secret.bin")
    tensor.ClearField("raw_data")


def _cut(model):
    model.graph.initializer[0].raw_data = model.graph.initializer[0].raw_data[:-4]


def _old(model):
    model.opset_import[0].version = 9


def _unknown(model):
    model.graph.node[3].op_type = "Frobnicate"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_with_domain, "of com.example"),
        (_with_function, "functions of its own"),
        (_with_loop, "a loop"),
        (_outside, "outside the model's folder"),
        (_cut, "damaged"),
        (_old, "opset 9"),
        (_unknown, "Frobnicate"),
    ],
)
def test_a_strangers_file_ends_in_one_line(change, said, tmp_path):
    model = message_file()
    change(model)
    with pytest.raises(EdgeGNNError, match=said) as error:
        edgegnn.load(save(model, tmp_path / "model.onnx"))
    assert "\n" not in str(error.value)


def test_what_is_no_onnx_file_says_so(tmp_path):
    file = tmp_path / "model.onnx"
    for content in (b"\x08\x09\x12garbage" * 9, b"PK\x03\x04", b"\x08"):
        file.write_bytes(content)
        with pytest.raises(EdgeGNNError, match="ONNX"):
            edgegnn.load(file)


@pytest.mark.slow
def test_a_painn_of_a_package_is_rewritten_and_computes_the_same(monkeypatch):
    """Needs the file in caustic-nmr, which nothing installs."""
    package = find_spec("caustic")
    if package is None or package.origin is None:
        pytest.skip("caustic-nmr isn't installed")
    file = read_onnx(Path(package.origin).parent / "data/best_v2_carbons.onnx")
    made = rewrite_proto(settled(file))
    rewritten, outcomes = made.model, made.aggregations
    assert {each.rule for each in outcomes} == {"Channels"}
    monkeypatch.syspath_prepend(str(Path(__file__).parents[3] / "benchmarks"))
    from foreign_painn import protein

    graph = protein(3)
    plain = ort.InferenceSession(file.SerializeToString(), providers=["CPUExecutionProvider"])
    for native in (True, False):
        found = make_session(rewritten.SerializeToString(), native=native).run(None, graph)
        for want, got in zip(plain.run(None, graph), found, strict=True):
            assert np.abs(want - got).max() <= 1e-5 * np.abs(want).max()
