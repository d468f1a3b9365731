"""A model for one graph: same numbers with the edges in the file, on stock onnxruntime and with the library."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from rewrite_example import GRAPHS, WAYS, edges, session
from rewrite_pattern import LOOPS, F, gcn_norm, inputs_of, looked_up, model, scattered, softmaxed

from edgegnn.exporting.rewrite import rewrite
from edgegnn.exporting.rewrite.constant import fix_graph
from edgegnn.exporting.rewrite.functions import DOMAIN

SUM = model(looked_up("x", "source", "m") + scattered("m", "add", "y"))


def gcn():
    body = LOOPS + gcn_norm("norm", "all_source", "all_target", "all_count") + looked_up("x", "all_source", "m0")
    body += "  c = Reshape (norm, column)\n  m = Mul (c, m0)\n"
    return model(body + scattered("m", "add", "y", index="all_target", count="all_count"))


def attention(loops):
    """Softmax of logits of both ends, weighted sum; with loops, so that the list is not sorted."""
    ends = ("all_source", "all_target", "all_count") if loops else ("source", "target", "edges")
    body = (LOOPS if loops else "") + looked_up("x", ends[0], "p") + looked_up("x", ends[1], "q")
    body += "  last = Constant <value_ints = [1]> ()\n  both = Mul (p, q)\n"
    body += "  logits = ReduceSum <keepdims = 1> (both, last)\n" + softmaxed("logits", "w", (1,), ends[1], ends[2])
    return model(body + "  m = Mul (w, p)\n" + scattered("m", "add", "y", index=ends[1], count=ends[2]))


def weighted():
    body = looked_up("x", "source", "m0") + "  c = Reshape (w, column)\n  m = Mul (c, m0)\n"
    return model(body + scattered("m", "add", "y"), "float[num_edges] w")


def messages():
    body = looked_up("x", "source", "p") + looked_up("x", "target", "q") + "  m = Mul (p, q)\n  k = Mul (m, w)\n"
    return model(body + scattered("k", "max", "y"), f"float[num_edges,{F}] w")


CASES = {
    "sum": lambda: SUM,
    "gcn": gcn,
    "attention": lambda: attention(False),
    "attention with loops": lambda: attention(True),
    "weighted": weighted,
    "messages": messages,
    "against the flow": lambda: model(looked_up("x", "target", "m") + scattered("m", "add", "y", index="source")),
}


def fixed(made, kind, **options):
    nodes, index = edges(kind)
    own = ir.from_proto(made)
    rewrite(own)
    fix_graph(own, index, nodes, **options)
    after = ir.to_proto(own)
    onnx.checker.check_model(after)
    return after


@pytest.mark.parametrize("kind", GRAPHS)
@pytest.mark.parametrize("case", CASES)
def test_same_numbers_without_the_input(case, kind):
    made = CASES[case]()
    after = fixed(made, kind)
    given = inputs_of(made, kind)
    (want,) = session(made).run(None, given)
    assert "edge_index" not in {i.name for i in after.graph.input}
    assert not {"CooToCsr", "IndexToCsr", "CsrDegree"} & {n.op_type for n in after.graph.node}
    for way in WAYS:
        run = session(after, way)
        if run is not None:
            (got,) = run.run(None, {k: v for k, v in given.items() if k != "edge_index"})
            np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)


def test_only_what_depends_on_x_is_left():
    after = fixed(gcn(), "some")
    assert [n.op_type for n in after.graph.node] == ["Mul", "SpMM", "Mul"]
    assert [f.name for f in after.functions] == ["SpMM"]
    assert [d.dim_value for d in after.graph.input[0].type.tensor_type.shape.dim] == [GRAPHS["some"][0], F]


def test_sorted_by_destination_when_nothing_comes_in_the_order_of_edges():
    body = looked_up("x", "source", "p") + looked_up("x", "target", "q") + "  m = Mul (p, q)\n"
    after = fixed(model(body + scattered("m", "max", "y")), "many")
    perms = {n.input[-2] for n in after.graph.node if n.domain == DOMAIN}
    sizes = {i.name: i.dims[0] for i in after.graph.initializer if i.name in perms}
    assert set(sizes.values()) == {0}


def test_input_that_is_kept_is_not_read():
    after = fixed(SUM, "some", keep_input=True)
    given = inputs_of(SUM, "some")
    (want,) = session(SUM).run(None, given)
    (got,) = session(after).run(None, {**given, "edge_index": given["edge_index"][:, :3] * 0})
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("index", "nodes", "message"),
    [
        (np.zeros((2, 3), np.int32), 5, "must be int64"),
        (np.zeros((3, 3), np.int64), 5, "must be int64 of the shape"),
        (np.full((2, 3), 5), 5, "outside"),
        (np.full((2, 3), -1), 5, "outside"),
    ],
)
def test_edges_that_are_none(index, nodes, message):
    own = ir.from_proto(SUM)
    rewrite(own)
    with pytest.raises(ValueError, match=message):
        fix_graph(own, index, nodes)


def test_model_without_edges():
    own = ir.from_proto(SUM)
    own.graph.inputs[1].name = "pairs"
    with pytest.raises(ValueError, match="no input edge_index"):
        fix_graph(own, np.zeros((2, 1), np.int64), 1)
