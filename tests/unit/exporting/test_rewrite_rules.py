"""Rewrite rules, original against rewritten: random graphs, no edges, isolated nodes, duplicate edges, self loops."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest
from rewrite_pattern import (
    LOOPS,
    F,
    H,
    assert_rewritten,
    assert_same,
    counted,
    divided,
    gcn_norm,
    inputs_of,
    looked_up,
    model,
    rewritten,
    scattered,
    softmaxed,
)

from edgegnn.exporting.rewrite import rewrite

WORDS = {"Sum": "sum", "Mean": "mean", "Max": "maximum", "Min": "minimum"}


# Sums, means, extremes ------------------------------------------------------------


@pytest.mark.parametrize(("how", "op"), [("add", "SpMM"), ("max", "SpMMMax"), ("min", "SpMMMin")])
def test_neighbours(how, op):
    made = model(looked_up("x", "source", "m") + scattered("m", how, "y"))
    words = {"SpMM": "sum", "SpMMMax": "maximum", "SpMMMin": "minimum"}[op]
    assert_rewritten(made, "CooToCsr", op, outcomes=[(f"{words} of neighbours", "Neighbours")])


def test_mean():
    made = model(looked_up("x", "source", "m") + counted("n") + scattered("m", "add", "s") + divided("s", "n", "y"))
    assert_rewritten(made, "CooToCsr", "SpMMMean", outcomes=[("mean of neighbours", "Neighbours")])


def test_sum_and_mean_share_the_csr_and_two_layers_do():
    body = looked_up("x", "source", "m") + scattered("m", "add", "s") + counted("n") + divided("s", "n", "a")
    body += "  h = Add (a, s)\n" + looked_up("h", "source", "m2") + scattered("m2", "max", "y")
    assert_rewritten(model(body), "CooToCsr", "SpMM", "SpMMMean", "SpMMMax")


@pytest.mark.parametrize(("how", "op"), [("add", "SegmentSum"), ("max", "SegmentMax"), ("min", "SegmentMin")])
def test_messages(how, op):
    body = looked_up("x", "source", "a") + looked_up("x", "target", "b")
    body += "  both = Sub (a, b)\n  m = Tanh (both)\n" + scattered("m", how, "y")
    assert_rewritten(model(body), "IndexToCsr", op)


def test_message_of_vectors_and_of_matrices():
    body = "  ends = Constant <value_int = 1> ()\n  first = Gather <axis = 1> (x, ends)\n"
    body += looked_up("first", "source", "m") + scattered("m", "add", "y", ())
    assert_rewritten(model(body, tail=()), "CooToCsr", "SpMM")
    body = "  block = Constant <value_ints = [-1, 2, 2]> ()\n  b = Reshape (x, block)\n"
    body += looked_up("b", "source", "m") + scattered("m", "max", "y", (2, 2))
    assert_rewritten(model(body, tail=(2, 2)), "CooToCsr", "SpMMMax")


def test_against_the_flow():
    body = looked_up("x", "target", "m") + scattered("m", "add", "y", index="source")
    after = assert_rewritten(model(body), "CooToCsr", "SpMM")
    assert [n.op_type for n in after.graph.node if n.op_type == "Gather"] == ["Gather"]  # of the rows, turned


def test_own_index_lists():
    body = looked_up("x", "a", "m") + scattered("m", "add", "y", index="b")
    made = model(body, "int64[num_edges] a, int64[num_edges] b")
    _after, outcomes, names = rewritten(made)
    assert names == ["CooToCsr", "SpMM"]
    assert outcomes[0].rule == "Neighbours"


def test_sum_onto_something():
    body = looked_up("x", "source", "m") + scattered("m", "add", "s")
    made = model(body.replace("s = ScatterElements", "y = ScatterElements").replace("(s_zeros,", "(x,"))
    assert_rewritten(made, "CooToCsr", "SpMM")
    body = looked_up("x", "source", "m") + scattered("m", "add", "y").replace('"add"', '"max"')
    assert_rewritten(model(body), "CooToCsr", "SpMMMax")  # of the neighbours and of 0


def test_rows_along_another_axis():
    body = """
  front = Constant <value_ints = [0]> ()
  weight = Constant <value = float[2, 4, 4] {1,2,3,4,5,6,7,8,9,8,7,6,5,4,3,2,1,2,3,4,5,6,7,8,9,8,7,6,5,4,3,2}> ()
  one_block = Unsqueeze (x, front)
  blocks = MatMul (one_block, weight)
  m_all = Gather <axis = 1> (blocks, source)
  w_column = Reshape (w, column)
  m = Mul (w_column, m_all)
  across = Constant <value_ints = [1, -1, 1]> ()
  view = Reshape (target, across)
  full = Shape (m)
  index = Expand (view, full)
  size = Shape (blocks)
  zeros = ConstantOfShape (size)
  y = ScatterElements <axis = 1, reduction = "add"> (zeros, index, m)
"""
    made = model(body, "float[num_edges] w", tail=("num_nodes", F), rows="2")
    assert_rewritten(made, "CooToCsr", "SpMMWeighted", tolerance=1e-5)


# Weights ------------------------------------------------------------


def test_weight_of_each_edge():
    body = (
        looked_up("x", "source", "m0") + "  c = Reshape (w, column)\n  m = Mul (c, m0)\n" + scattered("m", "add", "y")
    )
    made = model(body, "float[num_edges] w")
    assert_rewritten(made, "CooToCsr", "SpMMWeighted", outcomes=[("weighted sum of neighbours", "Weighted")])


def test_weighted_mean():
    body = looked_up("x", "source", "m0") + "  m = Mul (m0, w)\n" + counted("n")
    body += scattered("m", "add", "s") + divided("s", "n", "y")
    assert_rewritten(model(body, "float[num_edges,1] w"), "CooToCsr", "SpMMWeighted", "CsrDegree")


def test_weight_of_each_head():
    body = "  block = Constant <value_ints = [-1, 2, 2]> ()\n  b = Reshape (x, block)\n" + looked_up(
        "b", "source", "m0"
    )
    body += "  wide = Unsqueeze (w, minus)\n  m = Mul (wide, m0)\n" + scattered("m", "add", "y", (2, 2))
    assert_rewritten(model(body, "float[num_edges,2] w", tail=(2, 2)), "CooToCsr", "SpMMWeighted")


def test_weight_of_each_channel():
    body = looked_up("x", "source", "m0") + "  m = Mul (m0, w)\n" + scattered("m", "add", "y")
    made = model(body, f"float[num_edges,{F}] w")
    assert_rewritten(made, "CooToCsr", "SpMMChannels", outcomes=[("weighted sum of neighbours", "Channels")])


def test_vectors_with_weights_of_channels_and_directions():
    """PaiNN: vectors of the sources and directions of the edges, each with its part of the weights."""
    body = """
  c0 = Constant <value_ints = [0]> ()
  c1 = Constant <value_ints = [4]> ()
  c2 = Constant <value_ints = [8]> ()
  w0 = Slice (w, c0, c1, one_axis)
  w1 = Slice (w, c1, c2, one_axis)
  w0_3 = Unsqueeze (w0, minus)
  vectors = Unsqueeze (v, one_axis)
  wide_shape = Constant <value_ints = [1, 4, 1]> ()
  wide = Expand (vectors, wide_shape)
"""
    body = "  one_axis = Constant <value_ints = [1]> ()\n" + body
    body += looked_up("wide", "source", "m0") + "  a = Mul (w0_3, m0)\n" + looked_up("x", "source", "m1")
    body += "  b0 = Mul (w1, m1)\n  b1 = Unsqueeze (b0, minus)\n  d3 = Unsqueeze (d, one_axis)\n  b = Mul (b1, d3)\n"
    body += "  m = Add (a, b)\n" + scattered("m", "add", "y", (F, 3))
    made = model(body, "float[num_edges,8] w, float[num_edges,3] d, float[num_nodes,3] v", tail=(F, 3))
    assert_rewritten(made, "CooToCsr", "SpMMChannels", "SpMMChannels")


# GCN ------------------------------------------------------------


def test_normalisation_becomes_scales_of_rows():
    body = gcn_norm("norm") + looked_up("x", "source", "m0")
    body += "  c = Reshape (norm, column)\n  m = Mul (c, m0)\n" + scattered("m", "add", "y")
    wanted = [("number of messages", "Degree"), ("sum of neighbours", "RowScales")]
    assert_rewritten(model(body), "CooToCsr", "CsrDegree", "SpMM", outcomes=wanted)


def test_self_loops_and_normalisation():
    body = LOOPS + gcn_norm("norm", "all_source", "all_target", "all_count") + looked_up("x", "all_source", "m0")
    body += "  c = Reshape (norm, column)\n  m = Mul (c, m0)\n"
    body += scattered("m", "add", "y", index="all_target", count="all_count")
    after = assert_rewritten(model(body), "CooToCsr", "CsrDegree", "SpMM")
    (coo,) = (n for n in after.graph.node if n.op_type == "CooToCsr")
    assert coo.input[0] == "edge_index"
    assert {a.name: a.i for a in coo.attribute} == {"self_loops": 1}


def test_self_loops_of_another_number_of_nodes_stay():
    """Loops of the first nodes only: the list is used as it is."""
    body = LOOPS.replace("number = Squeeze (nodes)", "number = Min (one, one)")
    body += looked_up("x", "all_source", "m") + scattered("m", "add", "y", index="all_target", count="all_count")
    after = assert_rewritten(model(body), "CooToCsr", "SpMM")
    (coo,) = (n for n in after.graph.node if n.op_type == "CooToCsr")
    assert {a.name: a.i for a in coo.attribute} == {"self_loops": 0}


def test_factor_of_the_target_is_taken_out_only_when_it_is_finite():
    """1 / degree is infinite where no edge ends: it has to stay inside of the sum."""
    body = counted("n") + "  inverse = Reciprocal (n_degree)\n" + looked_up("inverse", "target", "w")
    body += (
        looked_up("x", "source", "m0") + "  c = Reshape (w, column)\n  m = Mul (c, m0)\n" + scattered("m", "add", "y")
    )
    assert_rewritten(model(body), "CooToCsr", "CsrDegree", "SpMMWeighted")
    safe = body.replace("Reciprocal (n_degree)", "Reciprocal (n)")
    assert_rewritten(model(safe), "CooToCsr", "CsrDegree", "SpMM")


def test_factor_of_the_source_alone_and_constants():
    body = "  s = Sigmoid (x)\n  half = Constant <value_float = 0.5> ()\n" + looked_up("s", "source", "a")
    body += looked_up("x", "source", "b") + "  p = Mul (a, b)\n  m = Div (p, half)\n" + scattered("m", "add", "y")
    assert_rewritten(model(body), "CooToCsr", "SpMM")


# Attention ------------------------------------------------------------

_HEADS = f"""
  block = Constant <value_ints = [-1, {H}, {F // H}]> ()
  b = Reshape (x, block)
  last = Constant <value_ints = [2]> ()
  att = ReduceSum <keepdims = 0> (b, last)
  squares = Mul (b, b)
  att_2 = ReduceSum <keepdims = 0> (squares, last)
"""


@pytest.mark.parametrize(
    "ends",
    [
        ("source", "target", "edges"),
        ("target", "source", "edges"),  # against the flow
        ("all_source", "all_target", "all_count"),  # with loops
    ],
)
def test_gat(ends):
    body = (
        (LOOPS if ends[0] == "all_source" else "")
        + _HEADS
        + looked_up("att", ends[0], "p")
        + looked_up("att_2", ends[1], "q")
    )
    body += "  sum = Add (p, q)\n  logits = LeakyRelu <alpha = 0.2> (sum)\n"
    body += softmaxed("logits", "w", (H,), ends[1], ends[2]) + looked_up("b", ends[0], "m0")
    body += "  wide = Unsqueeze (w, minus)\n  m = Mul (wide, m0)\n"
    body += scattered("m", "add", "y", (H, F // H), ends[1], ends[2])
    made = model(body, tail=(H, F // H))
    assert_rewritten(made, "CooToCsr", "AttentionSpMM", outcomes=[("attention over neighbours", "Attention")])


def test_attention_of_both_ends_at_once():
    body = _HEADS + looked_up("b", "source", "p") + looked_up("b", "target", "q")
    body += "  sum = Mul (p, q)\n  logits = ReduceSum <keepdims = 0> (sum, last)\n" + softmaxed("logits", "w")
    body += "  wide = Unsqueeze (w, minus)\n  m = Mul (wide, p)\n" + scattered("m", "add", "y", (H, F // H))
    assert_rewritten(model(body, tail=(H, F // H)), "CooToCsr", "DotAttention", "SpMMWeighted")


def test_attention_weights_that_are_used_twice():
    body = _HEADS + looked_up("att", "source", "p") + looked_up("att_2", "target", "q")
    body += "  sum = Add (p, q)\n  logits = LeakyRelu <alpha = 0.2> (sum)\n" + softmaxed("logits", "w")
    body += looked_up("b", "source", "m0") + "  wide = Unsqueeze (w, minus)\n  m = Mul (wide, m0)\n"
    body += scattered("m", "add", "y0", (H, F // H)) + "  top = ReduceMax (w)\n  y = Mul (top, y0)\n"
    made = model(body, tail=(H, F // H))
    _after, outcomes, names = rewritten(made)
    assert sorted(names) == ["CooToCsr", "SegmentSoftmax", "SpMMWeighted"]
    assert "the attention weights are used by other nodes, too" in {o.reason for o in outcomes}


def test_softmax_by_itself():
    body = "  three = Constant <value_float = 3.0> ()\n  logits = Mul (w, three)\n" + softmaxed("logits", "a")
    body += scattered("a", "max", "y", (H,))
    made = model(body, f"float[num_edges,{H}] w", tail=(H,))
    assert_rewritten(made, "IndexToCsr", "SegmentSoftmax", "SegmentMax")


# Pooling ------------------------------------------------------------

_GRAPHS = """
  last_graph = ReduceMax <keepdims = 1> (batch)
  one_more = Constant <value_ints = [1]> ()
  graphs = Add (last_graph, one_more)
"""


@pytest.mark.parametrize(("how", "op"), [("add", "SegmentSum"), ("max", "SegmentMax"), ("mean", "SegmentMean")])
def test_pooling(how, op):
    if how == "mean":
        body = counted("n", "batch", "nodes", "graphs") + scattered("x", "add", "s", (F,), "batch", "nodes", "graphs")
        body += divided("s", "n", "y", rows="graphs")
    else:
        body = scattered("x", how, "y", (F,), "batch", "nodes", "graphs")
    made = model(_GRAPHS + body, "int64[num_nodes] batch", rows="num_graphs")
    after = assert_rewritten(made, "IndexToCsr", op)
    assert rewritten(made)[1][0].aggregation == f"{WORDS[op.removeprefix('Segment')]} over each graph"
    assert after.graph.output[0].name == "y"


# What stays ------------------------------------------------------------


def test_products_stay_and_say_why():
    body = looked_up("x", "source", "m") + scattered("m", "mul", "y")
    made = model(body)
    after, outcomes, names = rewritten(made)
    assert names == []
    assert [(o.rule, o.reason) for o in outcomes] == [(None, "a product of messages: there is no native op for it")]
    assert outcomes[0].nearest == "Rows"
    assert not after.functions
    assert [o.domain for o in after.opset_import] == [""]
    assert_same(made, after)


def test_messages_of_both_ends_name_the_nearest_rule():
    body = looked_up("x", "source", "a") + looked_up("x", "target", "b")
    body += "  both = Mul (a, b)\n  m = Tanh (both)\n" + scattered("m", "add", "y")
    (outcome,) = [o for o in rewritten(model(body))[1] if o.aggregation == "sum of messages"]
    assert (outcome.rule, outcome.nearest) == ("Rows", "Neighbours")
    assert outcome.reason.endswith("they are made for each edge, last by Tanh")


def test_index_of_each_element_stays():
    """Every element of a message goes to a row of its own."""
    body = "  two = Constant <value_int = 2> ()\n  m = Gather <axis = 0> (x, source)\n  index = Mod (order, two)\n"
    body += f"""
  sizes = Constant <value_ints = [2, {F}]> ()
  zeros = ConstantOfShape (sizes)
  y = ScatterElements <axis = 0, reduction = "add"> (zeros, index, m)
"""
    _after, outcomes, names = rewritten(model(body, f"int64[num_edges,{F}] order", rows="2"))
    assert names == []
    assert outcomes[0].reason == "elements of one message go to different rows"


def test_integer_sums_stay_but_counts_do_not():
    body = "  m = Cast <to = 7> (x)\n" + looked_up("m", "source", "k")
    body += scattered("k", "add", "s").replace("ConstantOfShape (", "ConstantOfShape <value = int64[1] {0}> (")
    made = model(body + "  y = Cast <to = 1> (s)\n")
    assert rewritten(made)[1][0].reason == "values are int64: the native ops reduce float32"
    body = """
  ones = Expand (one, edges)
  zeros = ConstantOfShape <value = int64[1] {0}> (nodes)
  n = ScatterElements <axis = 0, reduction = "add"> (zeros, target, ones)
  y = Cast <to = 1> (n)
"""
    assert_rewritten(model(body, tail=()), "IndexToCsr", "CsrDegree")


# The whole ------------------------------------------------------------


def test_bipartite_edges():
    """Destinations are rows of another tensor: fewer of them, or more."""
    body = "  rows = Shape <start = 0, end = 1> (z)\n" + looked_up("x", "source", "m")
    made = model(body + scattered("m", "add", "y", rows="rows"), f"float[num_rows,{F}] z", rows="num_rows")
    after, _, names = rewritten(made)
    assert names == ["CooToCsr", "SpMM"]
    from rewrite_example import session

    for rows in (3, 90):
        given = {"x": np.ones((20, F), np.float32), "z": np.zeros((rows, F), np.float32)}
        given["edge_index"] = np.array([[0, 19, 7, 7], [0, 2, 1, 1]])
        (want,) = session(made).run(None, given)
        for way in ("stock", "library"):
            run = session(after, way)
            if run is not None:
                np.testing.assert_allclose(run.run(None, given)[0], want)


def test_rewriting_twice_changes_nothing():
    made = model(looked_up("x", "source", "m") + scattered("m", "add", "y"))
    own = ir.from_proto(made)
    first, _ = rewrite(own)
    once = ir.to_proto(own).SerializeToString()
    second, _ = rewrite(own)
    assert [(o.layer, o.aggregation) for o in first] == [(o.layer, o.aggregation) for o in second]
    assert ir.to_proto(own).SerializeToString() == once


def test_names_of_layers_and_of_outputs_stay():
    made = model(looked_up("x", "source", "m") + scattered("m", "add", "y"))
    after, _, _ = rewritten(made)
    assert {n.name for n in after.graph.node if n.domain} == {"conv.aggr_module/CooToCsr", "conv.aggr_module/SpMM"}
    assert [o.name for o in after.graph.output] == ["y"]
    assert inputs_of(made, "some").keys() == {i.name for i in after.graph.input}
