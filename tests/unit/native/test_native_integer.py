"""Integer operators of the native library against their numpy reference: sums over neighbours."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from native_ops import EMPTY, csr, native, needs_library, random_edges, reference

Array = npt.NDArray[Any]
pytestmark = needs_library

ONE = np.ones(1, np.float32)
NONE = np.zeros(1, np.float32)
CODES = {"uint8": (0, 255), "int8": (-128, 127)}


def codes(rng: np.random.Generator, shape: tuple[int, ...], dtype: str = "uint8") -> Array:
    low, high = CODES[dtype]
    return rng.integers(low, high + 1, shape).astype(dtype)


def check(op: str, *inputs: Array, **attributes: float) -> Array:
    """Run both output types on one and two threads: integers have to be equal, floats to the bit."""
    float_attributes = {k: v for k, v in attributes.items() if not k.startswith("y_")}
    for name, given in ((op, attributes), (op + "Float", float_attributes)):
        (wanted,) = reference(name, *inputs, **given)
        (one,) = native(name, *inputs, **given)
        (two,) = native(name, *inputs, threads=2, **given)
        assert one.dtype == wanted.dtype
        np.testing.assert_array_equal(one, wanted)
        np.testing.assert_array_equal(one, two)
    return native(op, *inputs, **attributes)[0]


def close(op: str, *inputs: Array, tolerance: float = 2e-5, **attributes: float) -> None:
    """The same for operators with float sums: floats within `tolerance` of the largest, codes off by one at most."""
    float_attributes = {k: v for k, v in attributes.items() if not k.startswith("y_")}
    (wanted,) = reference(op + "Float", *inputs, **float_attributes)
    (one,) = native(op + "Float", *inputs, **float_attributes)
    scale = float(np.abs(wanted).max(initial=0)) + 1e-6
    np.testing.assert_allclose(one, wanted, rtol=0, atol=tolerance * scale)
    np.testing.assert_array_equal(one, native(op + "Float", *inputs, threads=2, **float_attributes)[0])
    (wanted,) = reference(op, *inputs, **attributes)
    (one,) = native(op, *inputs, **attributes)
    assert one.dtype == np.uint8
    difference = np.abs(one.astype(int) - wanted.astype(int))
    assert difference.max(initial=0) <= 1
    assert difference.mean() < 0.01 if difference.size > 1000 else True
    np.testing.assert_array_equal(one, native(op, *inputs, threads=2, **attributes)[0])


# Few different ones: each is a session of its own.
SETS: tuple[dict[str, float], ...] = (
    {"x_scale": 0.031, "x_zero_point": 0, "y_scale": 0.07, "y_zero_point": 0, "clip_low": 0.0, "clip_high": 6.0},
    {"x_scale": 0.0123, "x_zero_point": 77, "y_scale": 0.117, "y_zero_point": 131, "self_weight": 1.0},
    {"x_scale": 0.0017, "x_zero_point": 127, "y_scale": 0.011, "y_zero_point": 255, "self_weight": -0.37},
    {"x_scale": 0.09, "x_zero_point": 3, "y_scale": 0.31, "y_zero_point": 12},
)
WEIGHTED = tuple({k: v for k, v in s.items() if k != "self_weight"} for s in SETS)


@pytest.mark.parametrize("dtype", CODES)
def test_widths(dtype: str) -> None:
    rng = np.random.default_rng(0)
    for width in [*range(1, 141), 191, 192, 193, 255, 256, 257, 300, 513]:
        nodes = int(rng.integers(1, 40))
        columns = int(rng.integers(nodes, 50))
        graph = csr(random_edges(rng, nodes, int(rng.integers(0, 200)), columns=columns), nodes, columns)
        indptr, col, row, _, count = graph
        row_scale = rng.uniform(-1, 1, nodes).astype(np.float32) if width % 5 else ONE
        bias = rng.normal(size=width).astype(np.float32) if width % 7 else NONE
        check("QSpMM", codes(rng, (columns, width), dtype), indptr, col, row, count, row_scale, bias, **SETS[width % 4])


@pytest.mark.parametrize("nodes", [0, 1, 5])
@pytest.mark.parametrize("width", [0, 1, 64])
def test_nothing_to_sum(nodes: int, width: int) -> None:
    rng = np.random.default_rng(1)
    indptr, col, row, _, count = csr(np.zeros((2, 0), np.int64), nodes)
    bias = rng.normal(size=width).astype(np.float32) if width else NONE
    x = codes(rng, (nodes, width))
    y = check("QSpMM", x, indptr, col, row, count, ONE, bias, x_scale=0.1, y_scale=0.01, y_zero_point=7)
    assert y.shape == (nodes, width)


@pytest.mark.parametrize("dtype", CODES)
def test_every_zero_point(dtype: str) -> None:
    rng = np.random.default_rng(2)
    indptr, col, row, _, count = csr(random_edges(rng, 20, 90), 20)
    x = codes(rng, (20, 70), dtype)
    low, high = CODES[dtype]
    for zero_point in range(low, high + 1, 51):  # both ends, and what lies between
        for y_zero_point in (0, 255):
            attributes = {"x_zero_point": zero_point, "y_zero_point": y_zero_point}
            check("QSpMM", x, indptr, col, row, count, ONE, NONE, x_scale=0.1, y_scale=0.3, **attributes)


EVERY = [pytest.mark.every]


@pytest.mark.parametrize("dtype", CODES)
@pytest.mark.parametrize(
    "width",
    [
        1,
        7,
        16,
        *(
            pytest.param(w, marks=[pytest.mark.slow, *more])
            for w, more in ((64, []), (200, []), (40, EVERY), (128, EVERY))
        ),
    ],
)
def test_hub_of_extremes(dtype: str, width: int) -> None:
    """Rows of 255, 256, 257, 512, 513, 65,536 and 100,000 entries of the largest code."""
    degrees = np.array([255, 256, 257, 512, 513, 65_536, 100_000, 0, 1])
    edges = np.stack([np.tile([0, 1], degrees.sum() // 2 + 1)[: degrees.sum()], np.repeat(np.arange(9), degrees)])
    indptr, col, row, _, count = csr(edges, 9)
    low, high = CODES[dtype]
    x = np.full((9, width), high, dtype)
    for zero_point in (low, high):
        attributes = {"x_scale": 1e-3, "x_zero_point": zero_point, "y_scale": 50.0, "self_weight": 1.0}
        check("QSpMM", x, indptr, col, row, count, ONE, NONE, **attributes)
    x[1] = low
    attributes = {"x_scale": 1e-3, "x_zero_point": low, "y_scale": 50.0}
    check("QSpMM", x, indptr, col, row, count, ONE, NONE, **attributes)


def test_large_graph_is_the_same_on_two_threads() -> None:
    rng = np.random.default_rng(3)
    for width in (64, 100):
        indptr, col, row, _, count = csr(random_edges(rng, 3000, 40_000, hub=True), 3000)
        scale = rng.uniform(0, 1, 3000).astype(np.float32)
        bias = rng.normal(size=width).astype(np.float32)
        x = codes(rng, (3000, width))
        check(
            "QSpMM", x, indptr, col, row, count, scale, bias, x_scale=0.02, x_zero_point=3, y_scale=0.05, clip_low=0.0
        )


def test_ties_round_to_even() -> None:
    """Every half step, exactly: scales are powers of two."""
    x = np.arange(256, dtype=np.uint8).reshape(256, 1)
    indptr, col, row, _, count = csr(np.stack([np.arange(256), np.arange(256)]), 256)
    y = check("QSpMM", x, indptr, col, row, count, ONE, NONE, x_scale=0.5, y_scale=1.0)
    np.testing.assert_array_equal(y[:6, 0], [0, 0, 1, 2, 2, 2])


def test_quotients_are_those_of_a_division() -> None:
    """Quotients near half steps, for scales for which multiplying by the inverse goes wrong."""
    rng = np.random.default_rng(4)
    x = np.arange(256, dtype=np.uint8).repeat(16).reshape(-1, 16)
    nodes = len(x)
    indptr, col, row, _, count = csr(np.stack([np.arange(nodes), np.arange(nodes)]), nodes)
    for _ in range(10):
        y_scale = np.float32(rng.uniform(0.001, 10))
        x_scale = np.float32(y_scale / 2 * (1 + rng.integers(0, 8)))
        check("QSpMM", x, indptr, col, row, count, ONE, NONE, x_scale=float(x_scale), y_scale=float(y_scale))


def test_not_a_number_and_infinities() -> None:
    x = np.ones((3, 20), np.uint8)
    indptr, col, row, _, count = csr(np.array([[0, 1, 2], [0, 1, 2]]), 3)
    scale = np.array([np.nan, np.inf, -np.inf], np.float32)
    (y,) = native("QSpMM", x, indptr, col, row, count, scale, NONE, x_scale=1.0, y_scale=1.0, y_zero_point=9)
    np.testing.assert_array_equal(y, np.repeat([[0], [255], [0]], 20, 1))
    (y,) = native("QSpMMFloat", x, indptr, col, row, count, scale, NONE, x_scale=1.0)
    assert np.isnan(y[0]).all()
    assert (y[1] == np.float32(3.4028235e38)).all()


@pytest.mark.parametrize("dtype", CODES)
def test_weighted_widths(dtype: str) -> None:
    rng = np.random.default_rng(5)
    for width in [*range(1, 70), 96, 100, 127, 128, 200, 257, 300]:
        nodes, entries = int(rng.integers(1, 40)), int(rng.integers(0, 200))
        indptr, col, row, perm, count = csr(random_edges(rng, nodes, entries), nodes)
        w = rng.normal(size=entries).astype(np.float32)
        row_scale = rng.uniform(-1, 1, nodes).astype(np.float32) if width % 5 else ONE
        bias = rng.normal(size=width).astype(np.float32) if width % 7 else NONE
        x = codes(rng, (nodes, width), dtype)
        check("QSpMMWeighted", x, w, indptr, col, row, perm, count, row_scale, bias, **WEIGHTED[width % 4])


@pytest.mark.parametrize("heads", [1, 2, 3, 4, 8, 9, 16, 17, 33])
def test_heads(heads: int) -> None:
    rng = np.random.default_rng(6)
    for width in (1, 2, 3, 4, 6, 7, 8, 12, 16, 20, 32, 33, 64):
        nodes, entries = int(rng.integers(1, 40)), int(rng.integers(0, 200))
        indptr, col, row, perm, count = csr(random_edges(rng, nodes, entries), nodes)
        x = codes(rng, (nodes, heads, width), "int8" if width % 2 else "uint8")
        w = rng.normal(size=(entries, heads)).astype(np.float32)
        bias = rng.normal(size=heads * width).astype(np.float32)
        attributes = WEIGHTED[width % 4]
        check("QSpMMWeighted", x, w, indptr, col, row, perm, count, ONE, bias, **attributes)
        a_src = rng.normal(size=(nodes, heads)).astype(np.float32) * 3
        a_dst = rng.normal(size=(nodes, heads)).astype(np.float32) * 3
        close("QAttentionSpMM", x, a_src, a_dst, indptr, col, row, count, bias, negative_slope=0.2, **attributes)


def test_one_weight_for_all_heads() -> None:
    rng = np.random.default_rng(7)
    indptr, col, row, perm, count = csr(random_edges(rng, 30, 200), 30)
    x = codes(rng, (30, 4, 8))
    for shape in ((200,), (200, 1), (200, 1, 1)):
        w = rng.normal(size=shape).astype(np.float32)
        check(
            "QSpMMWeighted", x, w, indptr, col, row, perm, count, ONE, NONE, x_scale=0.1, y_scale=0.1, y_zero_point=99
        )


def test_weighted_hub_and_large_graph() -> None:
    rng = np.random.default_rng(8)
    edges = random_edges(rng, 2000, 60_000, hub=True)
    indptr, col, row, perm, count = csr(edges, 2000)
    x = codes(rng, (2000, 64))
    w = rng.uniform(0, 0.01, 60_000).astype(np.float32)
    check("QSpMMWeighted", x, w, indptr, col, row, perm, count, ONE, NONE, x_scale=0.1, y_scale=9.0)
    x = x.reshape(2000, 8, 8)
    a = rng.normal(size=(2, 2000, 8)).astype(np.float32)
    close(
        "QAttentionSpMM",
        x,
        a[0],
        a[1],
        indptr,
        col,
        row,
        count,
        NONE,
        x_scale=0.1,
        x_zero_point=99,
        y_scale=0.1,
        y_zero_point=128,
    )


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 3e38])
def test_weights_that_are_no_numbers(value: float) -> None:
    rng = np.random.default_rng(9)
    indptr, col, row, perm, count = csr(random_edges(rng, 10, 50), 10)
    x = codes(rng, (10, 20))
    w = np.full(50, value, np.float32)
    native("QSpMMWeighted", x, w, indptr, col, row, perm, count, ONE, NONE, x_scale=0.1, y_scale=1.0)
    (y,) = native("QSpMMWeightedFloat", x, w, indptr, col, row, perm, count, ONE, NONE, x_scale=0.1)
    if np.isnan(value):
        assert np.isnan(y[np.diff(indptr) > 0]).all()
    a = np.full((10, 1), value, np.float32)
    native("QAttentionSpMM", x[:, None], a, a, indptr, col, row, count, NONE, x_scale=0.1, y_scale=1.0)


GRAPH = csr(np.array([[0, 1, 2, 3], [1, 1, 0, 2]]), 4)
X = np.ones((4, 8), np.uint8)
ATTRIBUTES = {"x_scale": 0.1, "y_scale": 0.1}


def bad_csr() -> list[tuple[Array, Array, Array]]:
    indptr, col, _, _, count = GRAPH
    wild = np.array([0, 1, 2, -1], np.int32)
    return [
        (indptr, wild, count),
        (indptr, np.array([0, 1, 2, 4], np.int32), count),
        (indptr, np.array([0, 1, 2, 2**31 - 1], np.int32), count),
        (indptr[:-1], col, count),
        (indptr + np.int32(1), col, count),
        (np.array([0, 3, 1, 4, 4], np.int32), col, count),
        (np.array([0, 2**31 - 1, 1, 4, 4], np.int32), col, count),
        (np.array([0, -5, 1, 4, 4], np.int32), col, count),
        (np.array([0, 1, 3, 4, 5], np.int32), col, count),
        (EMPTY, col, count),
        (indptr, col, np.array(-1)),
        (indptr, col, np.array(2**40)),
        (indptr, col[None], count),
    ]


@pytest.mark.parametrize("case", range(len(bad_csr())))
def test_bad_graphs_are_refused(case: int) -> None:
    indptr, col, count = bad_csr()[case]
    row = np.zeros(4, np.int32)
    with pytest.raises(Exception, match=r"ai\.edgegnn\.QSpMM: "):
        native("QSpMM", X, indptr, col, row, count, ONE, NONE, **ATTRIBUTES)
    w = np.ones(4, np.float32)
    with pytest.raises(Exception, match=r"ai\.edgegnn\.QSpMMWeighted: "):
        native("QSpMMWeighted", X, w, indptr, col, row, EMPTY, count, ONE, NONE, **ATTRIBUTES)
    a = np.ones((4, 2), np.float32)
    with pytest.raises(Exception, match=r"ai\.edgegnn\.QAttentionSpMM: "):
        native("QAttentionSpMM", X.reshape(4, 2, 4), a, a, indptr, col, row, count, NONE, **ATTRIBUTES)


@pytest.mark.parametrize(
    "attributes",
    [
        {"x_scale": 0.0},
        {"x_scale": -1.0},
        {"x_scale": float("nan")},
        {"x_scale": float("inf")},
        {"y_scale": 0.0},
        {"y_scale": float("nan")},
        {"y_scale": 1e-38},
        {"x_zero_point": 256},
        {"x_zero_point": -1},
        {"y_zero_point": -1},
        {"y_zero_point": 2**40},
        {"clip_low": float("nan")},
    ],
)
def test_bad_attributes_are_refused(attributes: dict[str, float]) -> None:
    indptr, col, row, _, count = GRAPH
    with pytest.raises(Exception, match=f"ai.edgegnn.QSpMM: {next(iter(attributes))}"):
        native("QSpMM", X, indptr, col, row, count, ONE, NONE, **(ATTRIBUTES | attributes))


def test_bad_shapes_are_refused() -> None:
    indptr, col, row, perm, count = GRAPH
    w = np.ones(4, np.float32)
    two = np.ones(2, np.float32)
    for bad in (
        (X[0], indptr, col, row, count, ONE, NONE),
        (X, indptr, col, row, count, two, NONE),
        (X, indptr, col, row, count, ONE, two),
        (X, indptr, col, row, count, ONE[:0], NONE),
        (X[:0], indptr, col, row, count, ONE, NONE),
    ):
        with pytest.raises(Exception, match=r"ai\.edgegnn\.QSpMM: "):
            native("QSpMM", *bad, **ATTRIBUTES)
    with pytest.raises(Exception, match="self_weight needs"):
        native("QSpMM", X[:3], indptr, np.zeros(4, np.int32), row, count, ONE, NONE, self_weight=1.0, **ATTRIBUTES)
    for weights, order in (
        (w[:3], perm),
        (np.ones((4, 2), np.float32), perm),
        (w, np.zeros(3, np.int32)),
        (w, np.full(4, 4, np.int32)),
    ):
        with pytest.raises(Exception, match=r"ai\.edgegnn\.QSpMMWeighted: "):
            native("QSpMMWeighted", X, weights, indptr, col, row, order, count, ONE, NONE, **ATTRIBUTES)
