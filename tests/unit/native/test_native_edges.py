"""PairAttention, DotAttention and GatedSum of the native library: against numpy, over threads, and inputs that lie."""

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


def gates(op: str, graph: str, width: int, depth: int, *, ordered: bool = False) -> list[Array]:
    """Inputs that fit a sum of gated messages."""
    nodes, edges = GRAPHS[graph]
    rng = np.random.default_rng(width)
    indptr, col, row, perm, count = csr(random_edges(rng, nodes, edges, hub=graph == "hub"), nodes)
    tables = [rng.normal(size=(nodes, width)).astype(np.float32) * scale for scale in (3, 1, 30, 1)]
    if op == "GatedSum":
        return [*tables, indptr, col, row, count]
    own = [rng.normal(size=shape).astype(np.float32) for shape in ((edges, depth), (depth, width), (depth, width))]
    return [*tables, *own, indptr, col, row, EMPTY if ordered else perm, count]


@pytest.mark.parametrize("graph", GRAPHS)
@pytest.mark.parametrize("op", ["GatedSum", "GatedSumEdges"])
def test_gated_sums(op: str, graph: str):
    for width, depth in [(1, 1), (3, 5), (16, 8), (37, 3), (64, 17)]:
        for ordered in (False, True):
            inputs = gates(op, graph, width, depth, ordered=ordered)
            (want,) = reference(op, *inputs)
            (got,) = native(op, *inputs)
            np.testing.assert_allclose(got, want, rtol=2e-5, atol=2e-5)
            np.testing.assert_array_equal(got, native(op, *inputs, threads=2)[0])


def test_softplus_and_sigmoid_over_their_whole_range():
    """One message a row, gate 1 or value 1: within 1e-6 of the truth."""
    values = np.concatenate([np.linspace(-90, 90, 20_001), np.logspace(-30, 1, 500), [np.inf, -np.inf, np.nan]])
    rows = values.astype(np.float32)[:, None]
    nought, indptr = np.zeros_like(rows), np.arange(len(rows) + 1, dtype=np.int32)
    graph = (indptr, np.arange(len(rows), dtype=np.int32), EMPTY, np.array(len(rows)))
    exact = rows.astype(np.float64)
    with np.errstate(over="ignore", invalid="ignore"):
        sigmoid, softplus = 1 / (1 + np.exp(-exact)), np.logaddexp(0, exact)
    (got,) = native("GatedSum", rows, nought, nought, nought, *graph)
    np.testing.assert_allclose(got, sigmoid * np.log(2), rtol=1e-6, atol=1e-36)
    (got,) = native("GatedSum", nought + 100, nought, rows, nought, *graph)
    np.testing.assert_allclose(got, softplus, rtol=1e-6, atol=1e-36)


@pytest.mark.parametrize(
    ("at", "lie", "text"),
    [
        (0, lambda v: v[:, 0], "gate_source must have"),
        (1, lambda v: v[:-1], "gate_target must have"),
        (2, lambda v: v[:-1], "value_source must have"),
        (3, lambda v: v[:, :-1], "value_target must have"),
        (4, lambda v: v[:-1], "features must have"),
        (5, lambda v: v[:-1], "gate_product must have"),
        (6, lambda v: v[:, :-1], "value_product must have"),
        (8, lambda v: np.full_like(v, 30), r"col\[0\] = 30"),
        (10, lambda v: np.full_like(v, -1), r"perm\[0\] = -1"),
    ],
)
def test_gates_that_lie(at, lie, text):
    inputs = gates("GatedSumEdges", "small", 5, 3)
    inputs[at] = lie(inputs[at])
    with pytest.raises(InvalidArgument, match=f"GatedSumEdges: .*{text}"):
        native("GatedSumEdges", *inputs)
