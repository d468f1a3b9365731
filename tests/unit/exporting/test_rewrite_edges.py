"""Attention whose scores depend on both ends at once: what is rewritten, what is declined, equal results."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest
from rewrite_example import GRAPHS, WAYS, edges, session
from rewrite_pattern import LOOPS, F, H, assert_rewritten, inputs_of, looked_up, model, rewritten, scattered, softmaxed

from edgegnn.exporting.rewrite import rewrite, rewrite_proto
from edgegnn.exporting.rewrite.constant import fix_graph

D, K = 3, F // H
ENDS = ("source", "target", "edges")
LOOPED = ("all_source", "all_target", "all_count")
WEIGHTS = [
    ("att", np.array([[[0.5, -1.5], [2, 0.25]]], np.float32)),
    ("w_e", np.linspace(-1, 1, D * F, dtype=np.float32).reshape(F, D)),
    ("w_v", np.linspace(2, -1, D * F, dtype=np.float32).reshape(F, D)),
]
_START = f"""
  block = Constant <value_ints = [-1, {H}, {K}]> ()
  last = Constant <value_ints = [-1]> ()
  a = Reshape (x, block)
  doubled = Add (x, x)
  two = Tanh (doubled)
  b = Reshape (two, block)
"""
_EDGES = """
  e = Gemm <transB = 1> (edge_attr, w_e)
  laid = Reshape (e, block)
"""


def mixed(logits, values, ends=ENDS):
    """The sum of values under the softmax of logits."""
    body = softmaxed(logits, "w", (H,), ends[1], ends[2]) + "  wide = Unsqueeze (w, minus)\n"
    return body + f"  m = Mul ({values}, wide)\n" + scattered("m", "add", "y", (H, K), ends[1], ends[2])


def pair(ends=ENDS, act="LeakyRelu <alpha = 0.3>", features=False):
    """GATv2."""
    body = (LOOPS if ends is LOOPED else "") + _START + looked_up("a", ends[0], "p") + looked_up("b", ends[1], "q")
    body += "  both = Add (q, p)\n" + (
        _EDGES + "  all = Add (both, laid)\n" if features else "  all = Identity (both)\n"
    )
    body += f"  act = {act} (all)\n  parts = Mul (act, att)\n  logits = ReduceSum <keepdims = 0> (parts, last)\n"
    extra = f"float[num_edges,{D}] edge_attr" if features else ""
    return model(body + mixed("logits", "p", ends), extra, tail=(H, K), weights=WEIGHTS)


def dot(ends=ENDS, key=False, value=False):
    """A transformer's attention; features of the edges in the keys, in the values."""
    body = _START + looked_up("a", ends[0], "p") + looked_up("b", ends[1], "q")
    if key or value:
        body += _EDGES
    if value:
        body += "  e_v = Gemm <transB = 1> (edge_attr, w_v)\n  laid_v = Reshape (e_v, block)\n  v = Add (p, laid_v)\n"
    body += "  k = Add (p, laid)\n" if key else "  k = Identity (p)\n"
    body += "  parts = Mul (q, k)\n  sums = ReduceSum <keepdims = 0> (parts, last)\n"
    body += "  root = Constant <value_float = 1.4> ()\n  logits = Div (sums, root)\n"
    extra = f"float[num_edges,{D}] edge_attr" if key or value else ""
    return model(body + mixed("logits", "v" if value else "p", ends), extra, tail=(H, K), weights=WEIGHTS)


@pytest.mark.parametrize("ends", [ENDS, ("target", "source", "edges"), LOOPED], ids=["flow", "against", "loops"])
def test_gatv2(ends):
    after = assert_rewritten(pair(ends), "CooToCsr", "PairAttention", "SpMMWeighted")
    loops = [a.i for n in after.graph.node if n.op_type == "CooToCsr" for a in n.attribute if a.name == "self_loops"]
    assert loops == [ends is LOOPED]
    assert not [n.op_type for n in after.graph.node if n.op_type in ("LeakyRelu", "Concat")]


def test_gatv2_with_features_of_edges():
    after = assert_rewritten(pair(features=True), "CooToCsr", "PairAttentionEdges", "SpMMWeighted", tolerance=2e-5)
    assert not [n.op_type for n in after.graph.node if n.op_type == "Gemm"]


@pytest.mark.parametrize("ends", [ENDS, ("target", "source", "edges")], ids=["flow", "against"])
def test_transformer(ends):
    after = assert_rewritten(dot(ends), "CooToCsr", "DotAttention", "SpMMWeighted")
    scale = [a.f for n in after.graph.node if n.op_type == "DotAttention" for a in n.attribute if a.name == "scale"]
    assert scale == pytest.approx([1 / 1.4])


@pytest.mark.parametrize("ends", [ENDS, ("target", "source", "edges")], ids=["flow", "against"])
@pytest.mark.parametrize("value", [False, True], ids=["keys", "keys and values"])
def test_transformer_with_features_of_edges(ends, value):
    made = dot(ends, key=True, value=value)
    after = assert_rewritten(made, "CooToCsr", "DotAttentionEdges", "SpMMWeighted", tolerance=2e-5)
    assert [n.op_type for n in after.graph.node].count("Gemm") == 1 + value  # one a node, none an edge


@pytest.mark.parametrize(
    ("made", "reason"),
    [
        (lambda: pair(act="Tanh"), "depend on both ends at once"),
        (lambda: dot(value=True), "messages are no rows"),
    ],
    ids=["another activation", "features in the values alone"],
)
def test_others_stay(made, reason):
    _after, outcomes, names = rewritten(made())
    assert not {"PairAttention", "DotAttention", "DotAttentionEdges"} & set(names)
    assert any(reason in outcome.reason for outcome in outcomes)


def test_weights_that_are_given_out_stay_in_the_order_of_the_list():
    made = pair()
    made.graph.node[-1].output[0] = "y0"
    more = model("  top = ReduceMax (w)\n  y = Mul (top, y0)\n", tail=(H, K)).graph.node[-2:]
    made.graph.node.extend(more)
    _after, outcomes, names = rewritten(made)
    assert sorted(names) == ["CooToCsr", "SegmentSoftmax", "SpMMWeighted"]
    assert "the attention weights are used by other nodes, too" in {o.reason for o in outcomes}


@pytest.mark.parametrize("kind", GRAPHS)
@pytest.mark.parametrize(
    "made", [pair(LOOPED), pair(features=True), dot(key=True, value=True)], ids=["loops", "pair", "dot"]
)
def test_in_a_constant_graph(made, kind):
    nodes, index = edges(kind)
    own = ir.from_proto(made)
    rewrite(own)
    fix_graph(own, index, nodes)
    given = inputs_of(made, kind)
    (want,) = session(made).run(None, given)
    for run in filter(None, (session(ir.to_proto(own), way) for way in WAYS)):
        (got,) = run.run(None, {k: v for k, v in given.items() if k != "edge_index"})
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=2e-5)


@pytest.mark.parametrize("act", ["Relu (sum)", "Clip (sum, low, high)"])
@pytest.mark.parametrize("ends", [ENDS, ("target", "source", "edges")], ids=["flow", "against"])
def test_edge_conv(ends, act):
    body = "  low = Constant <value_float = -0.5> ()\n  high = Constant <value_float = 0.5> ()\n  two = Tanh (x)\n"
    body += looked_up("x", ends[0], "p") + looked_up("two", ends[1], "q")
    body += f"  sum = Add (q, p)\n  act = {act}\n  m = Gemm <transB = 1> (act, w_m, b_m)\n"
    weights = [
        ("w_m", np.linspace(-1, 1, 5 * F, dtype=np.float32).reshape(5, F)),
        ("b_m", np.arange(5, dtype=np.float32)),
    ]
    made = model(body + scattered("m", "max", "y", (5,), ends[1], ends[2]), tail=(5,), weights=weights)
    after = assert_rewritten(
        made, "CooToCsr", "EdgeProductMax", outcomes=[("maximum of products of both ends", "EdgeProduct")]
    )
    assert not [n.op_type for n in after.graph.node if n.op_type in ("Add", "Gemm")]


def test_edge_conv_with_codes():
    body = "  two = Tanh (x)\n" + looked_up("x", "source", "p") + looked_up("two", "target", "q")
    body += "  sum = Add (q, p)\n  act = Relu (sum)\n  codes = QuantizeLinear (act, step, zero_code)\n"
    body += "  back = DequantizeLinear (codes, step, zero_code)\n  w_f = DequantizeLinear <axis = 1> (w_q, w_step)\n"
    body += "  m = MatMul (back, w_f)\n"
    weights = [
        ("w_q", (np.arange(5 * F).reshape(F, 5) * 7 % 255 - 127).astype(np.int8)),
        ("w_step", np.linspace(0.01, 0.02, 5, dtype=np.float32)),
        ("step", np.array(0.03, np.float32)),
        ("zero_code", np.array(0, np.uint8)),
    ]
    made = model(body + scattered("m", "max", "y", (5,)), tail=(5,), weights=weights)
    words = [("maximum of integer products of both ends", "QEdgeProduct")]
    after = assert_rewritten(made, "CooToCsr", "QEdgeProductMax", outcomes=words)
    assert not [n.op_type for n in after.graph.node if n.op_type in ("Add", "Relu", "QuantizeLinear")]


@pytest.mark.parametrize("features", [False, True], ids=["", "features"])
@pytest.mark.parametrize("ends", [ENDS, ("target", "source", "edges")], ids=["flow", "against"])
@pytest.mark.parametrize(
    "soft", ["  v = Softplus (s)\n", "  t = Softplus (s)\n  at = Greater (s, high)\n  v = Where (at, s, t)\n"]
)
def test_gated_sums(ends, features, soft):
    body = "  high = Constant <value_float = 20.0> ()\n  two = Tanh (x)\n  three = Mul (x, high)\n"
    for table, end, name in (("x", 0, "gs"), ("two", 1, "gt"), ("three", 0, "vs"), ("two", 1, "vt")):
        body += looked_up(table, ends[end], name)
    body += "  g0 = Add (gs, gt)\n  s0 = Add (vt, vs)\n"
    if features:
        body += "  ge = Gemm <transB = 1> (edge_attr, w_e)\n  se = Gemm <transB = 1> (edge_attr, w_v)\n"
        body += "  g = Add (g0, ge)\n  s = Add (s0, se)\n"
    else:
        body += "  g = Identity (g0)\n  s = Identity (s0)\n"
    body += f"  gate = Sigmoid (g)\n{soft}  m = Mul (gate, v)\n" + scattered("m", "add", "y", index=ends[1])
    extra = f"float[num_edges,{D}] edge_attr" if features else ""
    wanted = "GatedSumEdges" if features else "GatedSum"
    after = assert_rewritten(
        model(body, extra, weights=WEIGHTS), "CooToCsr", wanted, outcomes=[("sum of gated messages", "GatedMessages")]
    )
    assert not [n.op_type for n in after.graph.node if n.op_type in ("Sigmoid", "Softplus", "Gemm", "Where")]


CODED = [("step", np.array(0.05, np.float32)), ("middle", np.array(128, np.uint8))]


def coded(name, out):
    """A Q/DQ pair of post-training quantization."""
    codes = f"  {out}_codes = QuantizeLinear ({name}, step, middle)\n"
    return codes + f"  {out} = DequantizeLinear ({out}_codes, step, middle)\n"


@pytest.mark.parametrize("idle", [False, True])
def test_idle_pairs_between_gates_go_first(idle):
    body = "  two = Tanh (x)\n" + looked_up("x", "source", "p") + looked_up("two", "target", "q")
    body += "  g0 = Add (p, q)\n" + coded("g0", "g") + "  gate0 = Sigmoid (g)\n" + coded("gate0", "gate")
    body += "  v0 = Softplus (g)\n" + coded("v0", "v") + "  m = Mul (gate, v)\n" + scattered("m", "add", "y")
    made = model(body, weights=CODED)
    kinds = [n.op_type for n in rewrite_proto(made, idle_pairs=idle).model.graph.node]
    assert kinds.count("GatedSum") == idle
    assert ("QuantizeLinear" in kinds) != idle


@pytest.mark.parametrize("idle", [False, True])
def test_idle_pairs_behind_products_of_features_go_first(idle):
    made = dot(key=True, value=True)
    text = {"e": "e_plain", "e_v": "e_v_plain"}
    for node in made.graph.node:
        node.output[:] = [text.get(name, name) for name in node.output]
    more = model(coded("e_plain", "e") + coded("e_v_plain", "e_v") + "  y = Neg (x)\n", weights=CODED)
    pairs = [node for node in more.graph.node if node.op_type in ("QuantizeLinear", "DequantizeLinear")]
    made.graph.node.extend(pairs)
    made.graph.initializer.extend(more.graph.initializer)
    kinds = [n.op_type for n in rewrite_proto(made, idle_pairs=idle).model.graph.node]
    assert kinds.count("DotAttentionEdges") == idle


def test_a_softplus_that_is_cut_off_early_stays():
    body = "  high = Constant <value_float = 5.0> ()\n" + looked_up("x", "source", "p") + looked_up("x", "target", "q")
    body += (
        "  g = Add (p, q)\n  gate = Sigmoid (g)\n  t = Softplus (g)\n  at = Greater (g, high)\n  v = Where (at, g, t)\n"
    )
    body += "  m = Mul (gate, v)\n" + scattered("m", "add", "y")
    assert rewritten(model(body))[2] == ["IndexToCsr", "SegmentSum"]


def test_sums_of_products_stay():
    body = looked_up("x", "source", "p") + looked_up("x", "target", "q") + "  sum = Add (q, p)\n  act = Relu (sum)\n"
    weights = [("w_m", np.eye(F, dtype=np.float32))]
    made = model(body + "  m = MatMul (act, w_m)\n" + scattered("m", "add", "y"), weights=weights)
    assert rewritten(made)[2] == ["IndexToCsr", "SegmentSum"]


def test_a_layout_of_a_layout_is_one():
    body = _START + "  flat = Constant <value_ints = [-1, 4]> ()\n  c = Reshape (b, flat)\n  d = Reshape (c, block)\n"
    body += "  e = Reshape (d, flat)\n  three = Constant <value_ints = [1]> ()\n  f = Unsqueeze (e, three)\n"
    body += (
        "  g = Squeeze (f, three)\n"
        + looked_up("g", "source", "m")
        + scattered("m", "add", "s")
        + "  y = Reshape (s, block)\n"
    )
    after = assert_rewritten(model(body, tail=(H, K)), "CooToCsr", "SpMM")
    assert [n.op_type for n in after.graph.node if n.op_type in ("Reshape", "Squeeze", "Unsqueeze")] == [
        "Squeeze",
        "Reshape",
    ]
