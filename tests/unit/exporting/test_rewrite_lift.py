"""Work by edge that becomes work by node: same numbers, and nothing as long as the edge list left."""

from __future__ import annotations

import numpy as np
import pytest
from rewrite_pattern import F, assert_rewritten, assert_same, counted, divided, looked_up, model, rewritten, scattered

rng = np.random.default_rng(0)
ENDS = looked_up("x", "source", "p") + looked_up("x", "target", "q")


def weight(name, *shape):
    return name, rng.standard_normal(shape).astype(np.float32)


def by_edge(made):
    """Operators that still look rows up for each edge."""
    looks = [n for n in made.graph.node if n.op_type == "Gather" and n.input[0] != "edge_index"]
    return [n.op_type for n in looks if all(a.i == 0 for a in n.attribute)]


@pytest.mark.parametrize(
    "steps",
    [
        "  m = Relu (p)\n",
        "  two = Constant <value_float = 2.0> ()\n  s = Mul (p, two)\n  e = Exp (s)\n  m = Add (e, two)\n",
        "  m = Mul (p, p)\n",
        "  h = Gemm <transB = 1> (p, weight, bias)\n  m = Tanh (h)\n",
        "  m = Softmax <axis = -1> (p)\n",
        "  axes = Constant <value_ints = [1]> ()\n  t = ReduceSum <keepdims = 1> (p, axes)\n  m = Mul (t, p)\n",
        "  low = Constant <value_float = 0.0> ()\n  m = Clip (p, low)\n",
    ],
)
def test_operators_on_looked_up_rows(steps):
    made = model(
        looked_up("x", "source", "p") + steps + scattered("m", "max", "y"),
        weights=[weight("weight", F, F), weight("bias", F)],
    )
    after = assert_rewritten(made, "CooToCsr", "SpMMMax")
    assert by_edge(after) == []


def test_quantization_points_keep_their_names():
    body = (
        looked_up("x", "source", "p")
        + """
  scale = Constant <value_float = 0.05> ()
  nought = Constant <value = uint8 {128}> ()
  codes = QuantizeLinear (p, scale, nought)
  m = DequantizeLinear (codes, scale, nought)
"""
    )
    made = model(body + scattered("m", "max", "y"))
    for node in made.graph.node:
        if node.op_type.endswith("Linear"):
            node.name = "conv.message/DQ" if node.op_type.startswith("De") else "conv.message/Q"
    after, _, names = rewritten(made)
    assert names == ["CooToCsr", "SpMMMax"]
    assert by_edge(after) == []
    assert [n.name for n in after.graph.node if n.op_type.endswith("Linear")] == ["conv.message/Q", "conv.message/DQ"]
    assert_same(made, after)


def test_layouts_of_looked_up_rows():
    body = looked_up("x", "source", "p") + "  block = Constant <value_ints = [-1, 2, 2]> ()\n  b = Reshape (p, block)\n"
    body += "  m = Relu (b)\n" + scattered("m", "add", "y", (2, 2))
    assert by_edge(assert_rewritten(model(body, tail=(2, 2)), "CooToCsr", "SpMM")) == []


def test_product_of_both_ends():
    """EdgeConv: [x_i, x_j - x_i] W + b."""
    body = ENDS + "  d = Sub (p, q)\n  c = Concat <axis = -1> (q, d)\n  h = Gemm (c, weight, bias)\n  m = Relu (h)\n"
    made = model(body + scattered("m", "max", "y"), weights=[weight("weight", 2 * F, F), weight("bias", F)])
    after = assert_rewritten(made, "IndexToCsr", "SegmentMax")
    assert by_edge(after) == ["Gather", "Gather"]
    assert not [n for n in after.graph.node if n.op_type == "Concat"]


def test_product_of_both_ends_and_the_edge():
    body = ENDS + "  c = Concat <axis = 1> (q, p, e)\n  h = MatMul (c, weight)\n  m = Sigmoid (h)\n"
    made = model(body + scattered("m", "add", "y"), "float[num_edges,3] e", weights=[weight("weight", 2 * F + 3, F)])
    assert_rewritten(made, "IndexToCsr", "SegmentSum")


def test_towers():
    """PNA with two towers: one of an axis in between is picked."""
    body = "  wide = Constant <value_ints = [-1, 2, 2]> ()\n  b = Reshape (x, wide)\n"
    body += looked_up("b", "source", "p") + looked_up("b", "target", "q") + "  c = Concat <axis = -1> (q, p)\n"
    body += "  first = Gather <axis = 1> (c, one)\n  m = Gemm (first, weight, bias)\n" + scattered("m", "max", "y")
    made = model(body, weights=[weight("weight", 4, F), weight("bias", F)])
    assert by_edge(assert_rewritten(made, "CooToCsr", "SpMMMax", "CsrDegree")) == []


def test_the_only_tower_is_a_layout():
    body = "  wide = Constant <value_ints = [-1, 1, 4]> ()\n  b = Reshape (x, wide)\n"
    body += "  only = Gather <axis = 1> (b, zero)\n  z = Relu (only)\n"
    made = model(body + looked_up("z", "source", "m") + scattered("m", "add", "y"))
    after = assert_rewritten(made, "CooToCsr", "SpMM")
    assert not [n for n in after.graph.node if n.op_type == "Gather"]


@pytest.mark.parametrize(("how", "op"), [("add", "SpMM"), ("max", "SpMMMax"), ("min", "SpMMMin")])
def test_sums_of_both_ends(how, op):
    made = model(ENDS + "  two = Add (p, p)\n  m = Sub (two, q)\n" + scattered("m", how, "y"))
    assert by_edge(assert_rewritten(made, "CooToCsr", op, "CsrDegree")) == []


def test_means_and_variances_of_both_ends():
    body = ENDS + "  m = Add (q, p)\n  mm = Mul (m, m)\n" + counted("n")
    body += (
        scattered("m", "add", "s")
        + divided("s", "n", "mean")
        + scattered("mm", "add", "ss")
        + divided("ss", "n", "squares")
    )
    body += "  square = Mul (mean, mean)\n  variance = Sub (squares, square)\n  y = Add (variance, mean)\n"
    assert by_edge(assert_rewritten(model(body), "CooToCsr", "SpMMMean", "SpMMMean", "CsrDegree")) == []


def test_summand_that_may_be_infinite_stays():
    body = counted("n") + "  inverse = Reciprocal (n_degree)\n  line = Reshape (inverse, column)\n  z = Mul (x, line)\n"
    body += (
        looked_up("x", "source", "p")
        + looked_up("z", "target", "q")
        + "  m = Add (p, q)\n"
        + scattered("m", "max", "y")
    )
    made = model(body)
    after = assert_rewritten(made, "IndexToCsr", "CsrDegree", "SegmentMax")
    reasons = {o.reason for o in rewritten(made)[1]}
    assert "a summand of the target may be infinite where no edge ends" in reasons
    assert len(by_edge(after)) == 2


def test_rows_of_selected_edges_stay():
    """One relation of many: the product would be made for all nodes, once a relation."""
    body = """
  chosen = NonZero (flags)
  front = Constant <value_ints = [0]> ()
  places = Squeeze (chosen, front)
  some = Gather <axis = 1> (edge_index, places)
  s = Gather <axis = 0> (some, zero)
  t = Gather <axis = 0> (some, one)
  some_count = Shape <start = 1, end = 2> (some)
"""
    body += (
        looked_up("x", "s", "p")
        + "  m = MatMul (p, weight)\n"
        + scattered("m", "max", "y", index="t", count="some_count")
    )
    made = model(body, "float[num_edges] flags", weights=[weight("weight", F, F)])
    after, _, names = rewritten(made)
    assert sorted(names) == ["IndexToCsr", "SegmentMax"]
    assert_same(made, after)
