"""PairAttention and DotAttention of the native library: against numpy, over threads, and with inputs that lie."""

from __future__ import annotations

import numpy as np
import pytest
from native_ops import EMPTY, Array, csr, native, needs_library, random_edges, reference
from onnxruntime.capi.onnxruntime_pybind11_state import InvalidArgument

pytestmark = needs_library

GRAPHS = {"empty": (0, 0), "no edges": (5, 0), "one": (1, 3), "small": (30, 70), "hub": (300, 5000)}
SIZES = [(1, 1, 1), (1, 16, 3), (2, 7, 4), (3, 17, 8), (4, 16, 8), (5, 8, 16), (8, 8, 5), (11, 33, 20)]
OPS = ["PairAttention", "PairAttentionEdges", "DotAttention", "DotAttentionEdges"]


def given(op: str, graph: str, heads: int, width: int, depth: int, *, ordered: bool = False) -> list[Array]:
    """Inputs that fit an operator; with `ordered`, features that are in row order already."""
    nodes, edges = GRAPHS[graph]
    rng = np.random.default_rng(heads)
    indptr, col, row, perm, count = csr(random_edges(rng, nodes, edges, hub=graph == "hub"), nodes)
    floats = [rng.normal(size=(nodes, heads, width)).astype(np.float32) for _ in range(2)]
    features = rng.normal(size=(edges, depth)).astype(np.float32)
    if op.startswith("Pair"):
        floats.append(rng.normal(size=(heads, width)).astype(np.float32))
    if op == "PairAttentionEdges":
        floats += [features, rng.normal(size=(depth, heads * width)).astype(np.float32)]
    if op == "DotAttentionEdges":
        floats += [rng.normal(size=(nodes, heads, depth)).astype(np.float32), features]
    order = [EMPTY if ordered else perm] if op.endswith("Edges") else []
    return [*floats, indptr, col, row, *order, count]


@pytest.mark.parametrize("graph", GRAPHS)
@pytest.mark.parametrize("op", OPS)
def test_attention_of_both_ends(op: str, graph: str):
    name = "negative_slope" if op.startswith("Pair") else "scale"
    for heads, width, depth in SIZES[::3] if graph == "hub" else SIZES:
        for ordered in (False, True):
            inputs = given(op, graph, heads, width, depth, ordered=ordered)
            for value in (0.2, 1.5):
                wanted = reference(op, *inputs, **{name: value})
                first = native(op, *inputs, **{name: value})
                for got, want in zip(first, wanted, strict=True):
                    assert got.shape == want.shape
                    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)
                for got, again in zip(first, native(op, *inputs, threads=2, **{name: value}), strict=True):
                    np.testing.assert_array_equal(got, again)


@pytest.mark.parametrize("op", OPS)
def test_nan_and_infinity_stay_in_their_row(op: str):
    inputs = given(op, "small", 2, 5, 3)
    inputs[1 if op.startswith("Pair") else 0][7] = np.nan  # the row's own
    got, want = native(op, *inputs), reference(op, *inputs)
    for one, other in zip(got, want, strict=True):
        np.testing.assert_array_equal(np.isnan(one), np.isnan(other))
        assert np.isnan(one).any()
        assert np.isfinite(one).any()


LIES = [
    ("PairAttention", 0, lambda v: v[:, 0], "source must have"),
    ("PairAttention", 1, lambda v: v[:-1], "target must have"),
    ("PairAttention", 1, lambda v: v[..., :-1], "target must have"),
    ("PairAttention", 2, lambda v: v[:, :-1], "att must have"),
    (
        "PairAttention",
        4,
        lambda v: np.where(np.arange(v.size) == 5, 30, v).astype(np.int32),
        r"col\[5\] = 30 is outside",
    ),
    ("PairAttentionEdges", 3, lambda v: v[:-1], "features must have"),
    ("PairAttentionEdges", 3, lambda v: v[:, :0], "features must have"),
    ("PairAttentionEdges", 4, lambda v: v[:-1], "product must have"),
    ("PairAttentionEdges", 8, lambda v: v[:-1], "perm must be"),
    ("PairAttentionEdges", 8, lambda v: np.where(np.arange(v.size) == 9, -1, v).astype(np.int32), r"perm\[9\] = -1"),
    ("DotAttention", 0, lambda v: v[:-1], "query must have"),
    ("DotAttention", 1, lambda v: v[:, :, None], "key must have"),
    ("DotAttentionEdges", 2, lambda v: v[:, :, :-1], "edge_query must have"),
    ("DotAttentionEdges", 3, lambda v: v[:-1], "features must have"),
    ("DotAttentionEdges", 7, lambda v: np.full_like(v, 70), r"perm\[0\] = 70"),
    ("DotAttentionEdges", 4, lambda v: np.array([0, *v[1:-1], 71], np.int32), "indptr must rise"),
]


@pytest.mark.parametrize(("op", "at", "lie", "text"), LIES, ids=[f"{op} {at}" for op, at, *_ in LIES])
def test_inputs_that_lie(op, at, lie, text):
    inputs = given(op, "small", 2, 5, 3)
    inputs[at] = lie(inputs[at])
    with pytest.raises(InvalidArgument, match=f"{op}: .*{text}"):
        native(op, *inputs)
    with pytest.raises(ValueError, match=r"must|is needed|outside"):
        reference(op, *inputs)


@pytest.mark.parametrize("op", OPS)
def test_columns_of_nothing(op: str):
    inputs = given(op, "no edges", 2, 5, 3)
    inputs[1 if op.startswith("Dot") else 0] = np.zeros((0, 2, 5), np.float32)
    weights, *mixed = native(op, *inputs)
    assert weights.shape == (0, 2)
    assert all(v.shape == (5, 2, 3) and not v.any() for v in mixed)
