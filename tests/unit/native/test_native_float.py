"""The float kernels of the native library against their numpy reference, in sizes that reach every vector width."""

from __future__ import annotations

import numpy as np
import pytest
from native_ops import EMPTY, Array, csr, native, needs_library, random_edges, reference
from sweep import sweep

pytestmark = needs_library

GRAPHS = {"empty": (0, 0), "no edges": (5, 0), "one": (1, 3), "small": (30, 70), "hub": (300, 5000)}
WIDTHS = [*range(1, 20), 31, 32, 33, 47, 64, 65, 96, 112, 127, 128, 129, 130, 140, 143, 144, 145, 260]
REDUCTIONS = ["SpMM", "SpMMMean", "SpMMMax", "SpMMMin"]
SEGMENTS = ["SegmentSum", "SegmentMean", "SegmentMax", "SegmentMin"]


def _graph(name: str) -> tuple[Array, int]:
    nodes, edges = GRAPHS[name]
    return random_edges(np.random.default_rng(len(name)), nodes, edges, hub=name == "hub"), nodes


def _softmax(logits: Array, index: Array, rows: int) -> Array:
    """Softmax by row in float64: the kernels are held against the truth, not against another rounding of it."""
    exact = logits.astype(np.float64)
    top = np.full((rows, *logits.shape[1:]), -np.inf)
    np.maximum.at(top, index, exact)
    power = np.exp(exact - top[index])
    total = np.zeros_like(top)
    np.add.at(total, index, power)
    return power / total[index]


@pytest.mark.parametrize("name", GRAPHS)
def test_reductions(name: str):
    edges, nodes = _graph(name)
    indptr, col, row, perm, count = csr(edges, nodes)
    rng = np.random.default_rng(0)
    for width in WIDTHS[::4] if name == "hub" else WIDTHS:
        x = rng.normal(size=(nodes, width)).astype(np.float32)
        messages = rng.normal(size=(col.size, width)).astype(np.float32)
        for op in REDUCTIONS:
            (expected,) = reference(op, x, indptr, col, row, count)
            for threads in (1, 2):
                (got,) = native(op, x, indptr, col, row, count, threads=threads)
                np.testing.assert_array_equal(got, expected, err_msg=f"{op} {width}")
        for op in SEGMENTS:
            (expected,) = reference(op, messages, indptr, row, perm, count)
            (got,) = native(op, messages, indptr, row, perm, count)
            np.testing.assert_array_equal(got, expected, err_msg=f"{op} {width}")


@pytest.mark.parametrize("shape", [(), (3, 5), (2, 3, 4), (1,)])
def test_trailing_dimensions(shape: tuple[int, ...]):
    edges, nodes = _graph("small")
    indptr, col, row, perm, count = csr(edges, nodes)
    rng = np.random.default_rng(0)
    x = rng.normal(size=(nodes, *shape)).astype(np.float32)
    messages = rng.normal(size=(col.size, *shape)).astype(np.float32)
    for op in REDUCTIONS:
        np.testing.assert_array_equal(native(op, x, indptr, col, row, count), reference(op, x, indptr, col, row, count))
    for op in SEGMENTS:
        for order in (perm, EMPTY):
            np.testing.assert_array_equal(
                native(op, messages, indptr, row, order, count), reference(op, messages, indptr, row, order, count)
            )


def test_more_columns_than_rows_and_fewer():
    rng = np.random.default_rng(0)
    for rows, columns in ((10, 100), (100, 10)):
        edges = random_edges(rng, rows, 300, columns=columns)
        indptr, col, row, _, count = csr(edges, rows, columns)
        x = rng.normal(size=(columns, 20)).astype(np.float32)
        (got,) = native("SpMM", x, indptr, col, row, count)
        assert got.shape == (rows, 20)
        np.testing.assert_array_equal(got, reference("SpMM", x, indptr, col, row, count)[0])


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("width", [1, 5, 12, 40])
def test_special_values(value: float, width: int):
    edges, nodes = _graph("small")
    indptr, col, row, perm, count = csr(edges, nodes)
    rng = np.random.default_rng(0)
    x = rng.normal(size=(nodes, width)).astype(np.float32)
    x[rng.integers(0, nodes, 6), rng.integers(0, width, 6)] = value
    for op in REDUCTIONS:
        np.testing.assert_array_equal(native(op, x, indptr, col, row, count), reference(op, x, indptr, col, row, count))
    logits = rng.normal(size=col.size).astype(np.float32)
    logits[:3] = value
    (got,) = native("SegmentSoftmax", logits, indptr, row, perm, count)
    (expected,) = reference("SegmentSoftmax", logits, indptr, row, perm, count)
    np.testing.assert_array_equal(np.isnan(got), np.isnan(expected))


HEADS = [1, 2, 3, 4, 5, 8, 9, 12, 16, 17, 33]


@pytest.mark.parametrize(
    ("name", "heads"),
    [
        *((n, h) for n in ("no edges", "small") for h in HEADS),
        *sweep([("hub", h) for h in HEADS], lambda i: i % 5 == 0),
    ],
)
def test_heads(heads: int, name: str):
    edges, nodes = _graph(name)
    indptr, col, row, perm, count = csr(edges, nodes)
    rng = np.random.default_rng(heads)
    widths = [1, 3, 4, 7, 8, 9, 16, 17, 33, 64, 70, 129] if heads <= 4 else [2, 5, 8, 16, 20]
    index = np.repeat(np.arange(nodes), np.diff(indptr))
    a_src, a_dst = (rng.normal(size=(nodes, heads)).astype(np.float32) * 4 for _ in range(2))
    w = rng.normal(size=(col.size, heads)).astype(np.float32)
    raw = a_src[col] + a_dst[index]
    exact = _softmax(np.where(raw > 0, raw, np.float32(0.2) * raw), index, nodes)
    for width in widths:
        x = rng.normal(size=(nodes, heads, width)).astype(np.float32)
        for weights in (w, w[:, :, None]):
            for order in (perm, EMPTY):
                (expected,) = reference("SpMMWeighted", x, weights, indptr, col, row, order, count)
                for threads in (1, 2):
                    (got,) = native("SpMMWeighted", x, weights, indptr, col, row, order, count, threads=threads)
                    np.testing.assert_array_equal(got, expected, err_msg=f"width {width}")
        truth = np.zeros((nodes, heads, width))
        np.add.at(truth, index, x[col].astype(np.float64) * exact[:, :, None])
        first = native("AttentionSpMM", x, a_src, a_dst, indptr, col, row, count, negative_slope=0.2)[0]
        np.testing.assert_allclose(first, truth, rtol=0, atol=1e-4)
        second = native("AttentionSpMM", x, a_src, a_dst, indptr, col, row, count, negative_slope=0.2, threads=2)[0]
        np.testing.assert_array_equal(first, second)


def test_one_weight_for_all_heads():
    edges, nodes = _graph("small")
    indptr, col, row, perm, count = csr(edges, nodes)
    rng = np.random.default_rng(0)
    w = rng.normal(size=col.size).astype(np.float32)
    for shape in ((nodes, 3, 7), (nodes, 21), (nodes, 1, 5), (nodes,), (nodes, 2, 3, 4)):
        x = rng.normal(size=shape).astype(np.float32)
        for weights in (w, w[:, None]):
            np.testing.assert_array_equal(
                native("SpMMWeighted", x, weights, indptr, col, row, perm, count),
                reference("SpMMWeighted", x, weights, indptr, col, row, perm, count),
            )


@pytest.mark.parametrize("heads", [0, 1, 2, 3, 4, 7, 8, 16, 17, 40])
@pytest.mark.parametrize("name", ["empty", "no edges", "one", "small", "hub"])
def test_segment_softmax(heads: int, name: str):
    edges, nodes = _graph(name)
    indptr, col, row, perm, count = csr(edges, nodes)
    rng = np.random.default_rng(heads)
    index = np.repeat(np.arange(nodes), np.diff(indptr))
    logits = (rng.normal(size=(col.size, heads) if heads else col.size) * 10).astype(np.float32)
    for order in (perm, EMPTY):
        listed = order if order.size else np.arange(col.size)
        first = native("SegmentSoftmax", logits, indptr, row, order, count)[0]
        expected = np.empty(logits.shape)
        expected[listed] = _softmax(logits[listed], index, nodes)
        np.testing.assert_allclose(first, expected, rtol=1e-5, atol=1e-30)
        np.testing.assert_array_equal(first, native("SegmentSoftmax", logits, indptr, row, order, count, threads=2)[0])


def test_exponential():
    """The kernels' own exponential over its whole range: within 2e-7 of the truth."""
    values = np.concatenate([np.linspace(-100, 0, 200_001), -np.logspace(-30, 0, 1000)]).astype(np.float32)
    # Rows of two: the larger is 0, so the smaller one's share is e / (1 + e).
    logits = np.stack([np.zeros_like(values), values], 1).reshape(-1)
    indptr = np.arange(0, logits.size + 1, 2, dtype=np.int32)
    (got,) = native("SegmentSoftmax", logits, indptr, EMPTY, EMPTY, np.array(values.size))
    power = np.exp(values.astype(np.float64))
    share = got.reshape(-1, 2)[:, 1]
    normal = values > -86.6
    np.testing.assert_allclose(share[normal], (power / (1 + power))[normal], rtol=3e-7)
    assert (share[~normal] < 1e-37).all()
