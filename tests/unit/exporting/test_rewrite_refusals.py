"""Rewrite rules that nearly fit say what kept them, and where."""

from __future__ import annotations

import numpy as np
import onnx
import onnx.parser
import pytest
from rewrite_pattern import LOOPS, F, counted, divided, looked_up, model, scattered, softmaxed

from edgegnn.exporting.rewrite import rewrite_proto

SUM = looked_up("x", "source", "m") + scattered("m", "add", "s")
TWO = "  two = Constant <value_float = 2.0> ()\n"
ENDS = looked_up("x", "source", "a") + looked_up("x", "target", "b")
WEIGHTED = "  logits = Mul (w, w)\n" + softmaxed("logits", "p", (1,)) + looked_up("x", "source", "m0")


def said(made: onnx.ModelProto) -> set[tuple[str, str]]:
    """(rule, reason) of every refusal; each has a place."""
    done = rewrite_proto(made)
    assert all(refusal.layer and refusal.operator for refusal in done.refusals)
    found = {(outcome.nearest, outcome.reason) for outcome in done.aggregations if outcome.reason}
    return found | {(refusal.rule, refusal.reason) for refusal in done.refusals}


@pytest.mark.parametrize(
    ("rule", "reason", "body", "extra"),
    [
        (
            "Mean",
            "the number of messages that divides the sum has another lower limit than 1",
            ENDS
            + "  both = Sub (a, b)\n  m = Tanh (both)\n"
            + scattered("m", "add", "s")
            + counted("n").replace("Max (n_degree, one_float)", "Max (n_degree, two)")
            + divided("s", "n", "y"),
            "",
        ),
        (
            "SplitSums",
            "messages are sums of what is looked up at the target and of a number of the edge itself",
            looked_up("x", "target", "b") + "  m = Add (b, w)\n" + scattered("m", "add", "y"),
            f"float[num_edges,{F}] w",
        ),
        (
            "Attention",
            "logits are no leaky ReLU of a sum of one number of each end: they depend on both ends at once",
            WEIGHTED + "  m = Mul (p, m0)\n" + scattered("m", "add", "y"),
            "float[num_edges,1] w",
        ),
        (
            "Weighted",
            "each edge has a factor for every channel",
            looked_up("x", "source", "m0")
            + looked_up("x", "target", "m1")
            + "  m2 = Mul (m0, w)\n  m = Mul (m2, m1)\n"
            + scattered("m", "max", "y").replace('"max"', '"add"').replace('"min"', '"add"'),
            f"float[num_edges,{F}] w",
        ),
        (
            "SelfLoops",
            "a loop is added to each node, and loops that were there stay",
            LOOPS.replace(
                "all_edges = Concat <axis = 1> (kept, loops)", "all_edges = Concat <axis = 1> (edge_index, loops)"
            )
            + looked_up("x", "all_source", "m")
            + scattered("m", "add", "y", index="all_target", count="all_count"),
            "",
        ),
        (
            "SplitLinear",
            "rows of both ends meet a weight that is no matrix known at export",
            ENDS + "  both = Concat <axis = 1> (a, b)\n  m = MatMul (both, w)\n" + scattered("m", "add", "y"),
            f"float[{2 * F},{F}] w",
        ),
        (
            "LookUp",
            "each row is named by several indices (GatherND): the native ops look up by one",
            "  ends = Transpose <perm = [1, 0]> (edge_index)\n  m = GatherND (square, ends)\n"
            "  wide = Reshape (m, column)\n" + scattered("wide", "add", "y", (1,)),
            "float[num_nodes,num_nodes] square",
        ),
    ],
)
def test_float_rules(rule: str, reason: str, body: str, extra: str) -> None:
    tail = (1,) if rule == "LookUp" else (F,)
    assert (rule, reason) in said(model(TWO + body, extra, tail=tail))


QUANTIZED = """<ir_version: 9, opset_import: ["": 21]>
graph (float[num_nodes,4] x, int64[2,num_edges] edge_index) => (float[num_nodes,4] y) <
  int8[4,4] codes = {{1,2,3,4,5,6,7,8,1,2,3,4,5,6,7,8}}, float step = {{0.1}}, uint8 zero = {{7}},
  int8 weight_zero = {{{zero}}}
> {{
  w = DequantizeLinear (codes, step, weight_zero)
  q = QuantizeLinear (x, step, zero)
  d = DequantizeLinear (q, step, zero)
  {body}
}}"""
SUMMED = """
  zero_row = Constant <value_int = 0> ()
  one_row = Constant <value_int = 1> ()
  source = Gather <axis = 0> (edge_index, zero_row)
  target = Gather <axis = 0> (edge_index, one_row)
  m = Gather <axis = 0> (h, source)
  column = Constant <value_ints = [-1, 1]> ()
  view = Reshape (target, column)
  full = Shape (m)
  index = Expand (view, full)
  size = Shape (h)
  zeros = ConstantOfShape (size)
  s = ScatterElements <axis = 0, reduction = "add"> (zeros, index, m)
"""


@pytest.mark.parametrize(
    ("rule", "reason", "zero", "body"),
    [
        ("IntegerProduct", "the weight's codes have a zero point that is not 0", 3, "y = MatMul (d, w)"),
        (
            "IntegerProduct",
            "MatMul with a quantized weight: the rows in front of it are not quantized",
            0,
            "y = MatMul (x, w)",
        ),
        ("IntegerSum", "the rows that are summed are not quantized", 0, "h = MatMul (d, w)" + SUMMED + "y = Relu (s)"),
        ("FloatInput", "other nodes read the codes of the product's rows, too", 0, "p = MatMul (d, w) y = Add (p, d)"),
    ],
)
def test_integer_rules(rule: str, reason: str, zero: int, body: str) -> None:
    made = onnx.parser.parse_model(QUANTIZED.format(zero=zero, body=body))
    for node in made.graph.node:
        node.name = f"conv/{node.output[0]}"
    assert (rule, reason) in said(made)


def test_a_float_model_that_is_rewritten_says_nothing() -> None:
    weight = ("weight", np.ones((F, F), np.float32))
    made = model(SUM + "  y = MatMul (s, weight)\n", weights=(weight,))
    assert said(made) == set()
