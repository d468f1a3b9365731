"""Order of products and sums: the sum is over the narrower rows, and the numbers stay."""

from __future__ import annotations

import numpy as np
import pytest
from rewrite_pattern import F, assert_rewritten, assert_same, counted, divided, looked_up, model, rewritten, scattered

from edgegnn.exporting.rewrite.functions import DOMAIN

rng = np.random.default_rng(0)
NARROW = ("weight", rng.standard_normal((F, 2)).astype(np.float32))
WIDE = ("weight", rng.standard_normal((F, 7)).astype(np.float32))
SUM = looked_up("x", "source", "m") + scattered("m", "add", "s")


def order(made):
    """Operators of a model that matter, in order."""
    return [n.op_type for n in made.graph.node if n.domain == DOMAIN or n.op_type in ("Gemm", "MatMul")]


def bias(size):
    return "bias", rng.standard_normal(size).astype(np.float32)


def test_product_that_narrows_comes_first():
    made = model(SUM + "  y = Gemm (s, weight, bias)\n", tail=(2,), weights=[NARROW, bias(2)])
    assert order(assert_rewritten(made, "CooToCsr", "SpMM")) == ["CooToCsr", "Gemm", "SpMM"]


def test_transposed_weight_and_mean():
    turned = ("weight", NARROW[1].T.copy())
    body = looked_up("x", "source", "m") + counted("n") + scattered("m", "add", "s") + divided("s", "n", "a")
    made = model(body + "  y = Gemm <transB = 1> (a, weight)\n", tail=(2,), weights=[turned])
    assert order(assert_rewritten(made, "CooToCsr", "SpMMMean")) == ["CooToCsr", "Gemm", "SpMMMean"]


def test_product_that_widens_comes_last():
    body = "  h = MatMul (x, weight)\n" + looked_up("h", "source", "m") + scattered("m", "add", "y", (7,))
    assert order(assert_rewritten(model(body, tail=(7,), weights=[WIDE]), "CooToCsr", "SpMM")) == [
        "CooToCsr",
        "SpMM",
        "MatMul",
    ]


def test_scales_of_rows_go_along():
    body = "  h = MatMul (x, weight)\n" + counted("n") + "  c = Reciprocal (n)\n" + looked_up("h", "source", "m0")
    body += looked_up("c", "source", "c_s") + looked_up("c", "target", "c_t") + "  w0 = Mul (c_s, c_t)\n"
    body += "  w = Reshape (w0, column)\n  m = Mul (w, m0)\n" + scattered("m", "add", "y", (7,))
    after = assert_rewritten(model(body, tail=(7,), weights=[WIDE]), "CooToCsr", "CsrDegree", "SpMM")
    assert order(after)[-2:] == ["SpMM", "MatMul"]


def test_own_row_goes_along():
    body = SUM + "  more = Constant <value_float = 1.5> ()\n  own = Mul (x, more)\n  both = Add (s, own)\n"
    made = model(body + "  y = Gemm (both, weight, bias)\n", tail=(2,), weights=[NARROW, bias(2)])
    assert order(assert_rewritten(made, "CooToCsr", "SpMM")) == ["CooToCsr", "Gemm", "SpMM"]
    made = model(SUM + "  both = Add (x, s)\n  y = MatMul (both, weight)\n", tail=(2,), weights=[NARROW])
    assert order(assert_rewritten(made, "CooToCsr", "SpMM")) == ["CooToCsr", "MatMul", "SpMM"]


def test_bias_joins_the_other_product():
    """SAGE: the root's product takes the bias, which would be a pass over all rows by itself."""
    body = SUM + "  a = Gemm (s, weight, bias)\n  b = Gemm (x, root)\n  y = Add (a, b)\n"
    root = ("root", rng.standard_normal((F, 2)).astype(np.float32))
    after = assert_rewritten(model(body, tail=(2,), weights=[NARROW, root, bias(2)]), "CooToCsr", "SpMM")
    assert [n.op_type for n in after.graph.node].count("Add") == 1


def test_several_hops():
    body = SUM + looked_up("s", "source", "m2") + scattered("m2", "add", "s2") + "  y = Gemm (s2, weight, bias)\n"
    made = model(body, tail=(2,), weights=[NARROW, bias(2)])
    assert order(assert_rewritten(made, "CooToCsr", "SpMM", "SpMM")) == ["CooToCsr", "Gemm", "SpMM", "SpMM"]


@pytest.mark.parametrize(
    "body",
    [
        SUM + "  p = Gemm (s, weight, bias)\n  t = ReduceMax (s)\n  y = Add (p, t)\n",  # the sum itself is used, too
        SUM.replace('"add"', '"max"') + "  y = Gemm (s, weight, bias)\n",  # of no sum
        SUM + "  r = Relu (s)\n  y = Gemm (r, weight, bias)\n",  # not linear in between
    ],
)
def test_order_that_has_to_stay(body):
    made = model(body, tail=(2,), weights=[NARROW, bias(2)])
    after, _, _ = rewritten(made)
    assert order(after)[-1] == "Gemm"
    assert_same(made, after)


def test_quantized_models_keep_their_order():
    body = """
  scale = Constant <value_float = 0.05> ()
  nought = Constant <value = uint8 {128}> ()
  codes = QuantizeLinear (x, scale, nought)
  q = DequantizeLinear (codes, scale, nought)
"""
    body += looked_up("q", "source", "m") + scattered("m", "max", "s") + "  z = Gemm (s, weight, bias)\n"
    body += (
        SUM.replace("m_at", "k_at")
        .replace("m ", "k ")
        .replace("m)", "k)")
        .replace("s_", "u_")
        .replace("  s =", "  u =")
    )
    made = model(body + "  v = Gemm (u, weight, bias)\n  y = Add (z, v)\n", tail=(2,), weights=[NARROW, bias(2)])
    after, outcomes, _ = rewritten(made)
    assert order(after).count("Gemm") == 2
    assert outcomes
    assert_same(made, after)
