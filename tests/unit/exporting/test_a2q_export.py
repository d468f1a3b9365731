"""A2Q deployed: integer codes with a scale for each row in the artifact, groups chosen in the graph."""

from dataclasses import replace

import numpy as np
import onnx
import pytest
import torch
from a2q_example import Gat, Gcn, Gin, Sage, graph_task, node_task

from edgegnn.checkpoint import Checkpoint
from edgegnn.errors import DataError, UsageError
from edgegnn.exporting.capture import capture
from edgegnn.exporting.inspection import describe
from edgegnn.exporting.pipeline import export_checkpoint
from edgegnn.exporting.rewrite import rewrite_proto
from edgegnn.exporting.unsigned_weights import unsigned_weights
from edgegnn.quantize import finetune, recipe
from edgegnn.quantize.a2q import A2QPoint, nearest_group
from edgegnn.runtime import make_session, open_artifact
from edgegnn.runtime.inputs import check_inputs
from edgegnn.runtime.native import find_library
from edgegnn.training import FitConfig

A2Q = replace(recipe("a2q"), bits_rate=0.4)
WAYS = (False, True) if find_library() else (False,)


def learnt(build, task, wanted=A2Q, epochs=6):
    torch.manual_seed(0)
    model, _ = finetune(build(), task, wanted, FitConfig(epochs=epochs, batch_size=9))
    return Checkpoint(model, {"factory": "mine:build", "args": {}}, task.spec)


def inputs_of(task, nodes=None, edges=None, seed=0):
    g = torch.Generator().manual_seed(seed)
    n = nodes or len(task.graphs[0].x)
    made = {"x": torch.randn(n, 8, generator=g), "edge_index": torch.randint(0, n, (2, edges or 0), generator=g)}
    if task.spec.kind == "graph":
        made["batch"] = torch.zeros(n, dtype=torch.int64)
    return made


def run(proto, inputs, native):
    session = make_session(unsigned_weights(proto).SerializeToString(), native=native)
    return session.run(None, {k: v.numpy() for k, v in inputs.items()})[0]


def kinds(proto):
    return {node.op_type for node in proto.graph.node}


CASES = {
    "gcn": (Gcn, node_task, A2Q, {"QuantizeRows", "QGemm", "QSpMMFloat"}),
    "gin": (Gin, graph_task, replace(A2Q, groups=100), {"QuantizeRows", "QGemmFloat", "QSpMMFloat"}),
    "sage": (Sage, node_task, A2Q, {"QuantizeRows", "QGemmFloat", "QSpMMFloat"}),
    "gat": (Gat, node_task, A2Q, {"QuantizeRows", "QGemmFloat", "QAttentionSpMMFloat"}),
    "gin-few-groups": (Gin, graph_task, replace(A2Q, groups=9), {"QuantizeRows", "QGemmFloat", "QSpMMFloat"}),
    "gcn-any-graph": (Gcn, node_task, replace(A2Q, any_graph=True, groups=9), {"QuantizeRows", "QGemm", "QSpMMFloat"}),
}
THIN = ("gcn", "gin")


@pytest.mark.parametrize(
    "name",
    [
        "gcn",
        pytest.param("gin", marks=[pytest.mark.slow, pytest.mark.every]),  # "gin-few-groups" has its operators
        *(pytest.param(name, marks=pytest.mark.slow) for name in CASES if name not in ("gcn", "gin")),
    ],
)
def test_products_and_sums_are_integer_and_equal_pytorch(name):
    build, make_task, wanted, integer = CASES[name]
    task = make_task()
    model = learnt(build, task, wanted).model.eval()
    inputs = inputs_of(task, edges=60)
    proto = rewrite_proto(capture(model, inputs, kind=task.spec.kind)).model
    assert integer <= kinds(proto)
    # What reads one row a graph stays float, whatever the size of the graph.
    floats = {"QuantizeLinear", "SpMM", "SpMMMean", "AttentionSpMM", "SparseGemm"}
    assert not kinds(proto) & (floats if task.spec.kind == "graph" else floats | {"Gemm"})
    constants = {t.name for t in proto.graph.initializer}
    divided = [node.input[0] for node in proto.graph.node if node.op_type == "Div"]
    assert set(divided) <= constants, "rows are divided by steps; only 1 / degree of a mean is a division"
    assert len(divided) == (2 if name == "sage" else 0)
    matrices = [t for t in proto.graph.initializer if len(t.dims) > 1 and min(t.dims) > 1]
    floats = [t for t in matrices if t.data_type == onnx.TensorProto.FLOAT]
    allowed = {node.input[1] for node in proto.graph.node if node.op_type == "MatMul"}  # scores of attention
    assert {t.name for t in floats} <= allowed, "a weight is float"
    # nodes of their own widths are for one number of nodes; groups take any graph, of one node or without edges, too
    sizes = [(None, 60), (None, 0)] if model.fixed_nodes else [(1, 0), (2, 5), (7, 0), (300, 2000)]
    for nodes, edges in sizes:
        other = inputs_of(task, nodes, edges, seed=3)
        with torch.no_grad():
            want = model(**other).numpy()
        for native in WAYS:
            np.testing.assert_allclose(run(proto, other, native), want, atol=2e-5)


@pytest.mark.parametrize("signed", [True, False])
@pytest.mark.parametrize("groups", [1, 2, 64, 65, 100, 1000])
def test_groups_of_eval_mode_are_the_nearest(groups, signed):
    g = torch.Generator().manual_seed(groups)
    point = A2QPoint("p", "group", groups, A2Q).train()
    x = torch.randn(400, 5, generator=g)
    point(x if signed else x.abs())
    steps = torch.rand(groups, generator=g).bfloat16().float()
    with torch.no_grad():
        point.log_step.copy_(steps.log())
        point.bits.copy_(1 + 7 * torch.rand(groups, generator=g))
        point.usage.fill_(1)
    point.eval()
    y = 20 * (x if signed else x.abs())
    chosen = nearest_group(y.abs().amax(1), steps, point.bits)
    step = steps[chosen, None]
    top = 2 ** (point.bits.round()[chosen, None] - 1) - 1
    torch.testing.assert_close(point(y), (y / step).round().clamp(-top, top) * step)


def test_groups_that_no_row_chooses_are_not_kept():
    g = torch.Generator().manual_seed(0)
    point = A2QPoint("p", "group", 50, A2Q).train()
    x = torch.randint(-4, 5, (400, 5), generator=g).float()  # few different largest values
    point(x)
    used = int((point.usage > 0).sum())
    assert 1 < used < 50
    every = A2QPoint("p", "group", 50, A2Q)
    every.load_state_dict(point.state_dict())
    every.usage.fill_(1)
    assert (len(point.eval().step), len(every.eval().step)) == (used, 50)
    assert set(point.step.tolist()) <= set(every.step.tolist())
    # Rows like those of training choose as before.
    torch.testing.assert_close(point(x), every(x))


@pytest.mark.slow
def test_the_file_shows_the_bits(tmp_path):
    """Bits of weights and of nodes packed, and everything that the manifest and `inspect` say about them."""
    task = node_task()
    checkpoint = learnt(Gcn, task)
    result = export_checkpoint(checkpoint, task, A2Q, tmp_path / "a2q", constant_graph=True)
    manifest, proto = result.manifest, onnx.load(tmp_path / "a2q" / "model.onnx")
    stored = {t.name: (list(t.dims), t.data_type) for t in proto.graph.initializer}
    uint8 = onnx.TensorProto.UINT8
    assert stored["first.lin.weight"] == ([8 * 16 // 2, 1], uint8)  # two codes of 4 bits in a byte
    widths = checkpoint.model.point("first.lin.input").whole_bits
    if len(widths.unique()) > 1:
        assert stored["first.lin.input.bits"] == ([90 // 2, 1], uint8)
    assert manifest["integer_operators"] == {"QGemm": 2, "QSpMMFloat": 2}
    assert manifest["average_bits"] == checkpoint.model.average_bits()
    point = manifest["learnt_bits"]["first.lin.input"]
    assert sum(point["histogram"].values()) == 90
    bits = sum(int(width) * count for width, count in point["histogram"].items())
    assert point["code_bytes"] == -(-bits * 8 // 8)
    assert point["float_bytes"] == 4 * 90 * 8
    assert manifest["inputs"] == [{"name": "x", "dtype": "float32", "shape": [90, 8]}]
    assert {e["tensor"] for e in manifest["stayed_float"]} == {"model.first.bias", "model.second.bias"}
    shown = describe(tmp_path / "a2q")
    assert shown["integer_operators"] == "2 QGemm, 2 QSpMMFloat"
    assert shown["learnt_bits"] == manifest["learnt_bits"]


@pytest.mark.slow
def test_another_number_of_nodes_is_refused_in_one_line(tmp_path):
    task = node_task()
    export_checkpoint(learnt(Gcn, task, epochs=1), task, A2Q, tmp_path / "a2q")
    specs = open_artifact(tmp_path / "a2q").manifest.inputs
    other = {k: v.numpy() for k, v in inputs_of(task, 60, 100).items()}
    with pytest.raises(DataError, match=r"x has the shape \[60, 8\], the model takes \[90, 8\]"):
        check_inputs(specs, other)


@pytest.mark.slow
def test_torchscript_of_groups_and_its_refusal_for_single_nodes(tmp_path):
    task = graph_task()
    few = replace(A2Q, groups=9)
    both = export_checkpoint(learnt(Gin, task, few, 1), task, few, tmp_path / "gin", format="both")
    assert both.manifest["torchscript"]["parity"]["max_abs_error"] < 1e-4
    nodes = node_task()
    with pytest.raises(UsageError, match="a2q-groups"):
        export_checkpoint(learnt(Gcn, nodes, epochs=1), nodes, A2Q, tmp_path / "gcn", format="torchscript")
