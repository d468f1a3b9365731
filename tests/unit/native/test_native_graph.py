"""CooToCsr, IndexToCsr and CsrDegree in the native library against their numpy reference, and on hostile input."""

from __future__ import annotations

import numpy as np
import pytest
from native_ops import EMPTY, csr, native, needs_library, random_edges, reference
from onnxruntime.capi.onnxruntime_pybind11_state import InvalidArgument

pytestmark = needs_library

# Lists up to 65,536 edges are sorted by one thread in one go, longer ones in chunks of 32,768 and buckets of rows.
SIZES = [
    (0, 0),
    (1, 0),
    (1, 1),
    (5, 0),
    (30, 70),
    (300, 4000),
    (2000, 65_536),
    (2000, 65_537),
    (1, 70_000),
    (200_000, 90_000),
]


def _same(got: tuple[np.ndarray, ...], expected: tuple[np.ndarray, ...]) -> None:
    for a, b in zip(got, expected, strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(("nodes", "edges"), SIZES)
@pytest.mark.parametrize("kind", ["random", "hub", "sorted"])
def test_edge_list(nodes: int, edges: int, kind: str):
    listed = random_edges(np.random.default_rng(edges), nodes, edges, hub=kind == "hub")
    if kind == "sorted":
        listed = listed[:, np.argsort(listed[1], kind="stable")]
    count = np.array(nodes)
    for self_loops in (0, 1):
        expected = reference("CooToCsr", listed, count, count, self_loops=self_loops)
        for threads in (1, 2):
            _same(native("CooToCsr", listed, count, count, self_loops=self_loops, threads=threads), expected)
        # An output that nobody reads is not made.
        _same(native("CooToCsr", listed, count, count, self_loops=self_loops, outputs=2), expected[:2])
    index = reference("IndexToCsr", listed[1], count)
    for threads in (1, 2):
        _same(native("IndexToCsr", listed[1], count, threads=threads), index)
    _same(native("CsrDegree", index[0], EMPTY, count), reference("CsrDegree", index[0], EMPTY, count))
    if kind == "sorted":
        assert native("CooToCsr", listed, count, count)[3].size == 0


def test_more_columns_than_rows():
    rng = np.random.default_rng(0)
    listed = random_edges(rng, 50, 400, columns=1000)
    _same(
        native("CooToCsr", listed, np.array(50), np.array(1000)),
        reference("CooToCsr", listed, np.array(50), np.array(1000)),
    )


def test_sources_of_31_bits():
    rng = np.random.default_rng(0)
    columns = 2**31 - 1
    listed = np.stack([rng.integers(0, columns, 70_000), rng.integers(0, 300_000, 70_000)])
    listed[0, 0] = columns - 1
    sizes = np.array(300_000), np.array(columns)
    _same(native("CooToCsr", listed, *sizes), reference("CooToCsr", listed, *sizes))
    _same(native("CooToCsr", listed, *sizes, outputs=2), reference("CooToCsr", listed, *sizes)[:2])


def test_only_the_last_chunk_is_out_of_order():
    rng = np.random.default_rng(0)
    listed = np.stack([rng.integers(0, 1000, 100_000), np.sort(rng.integers(0, 1000, 100_000))])
    listed[1, -1] = 3
    _same(
        native("CooToCsr", listed, np.array(1000), np.array(1000), threads=2),
        reference("CooToCsr", listed, np.array(1000), np.array(1000)),
    )


def test_sizes_as_one_element_lists():
    listed = random_edges(np.random.default_rng(0), 10, 30)
    expected = reference("CooToCsr", listed, np.array(10), np.array(10))
    _same(native("CooToCsr", listed, np.array([10]), np.array([[10]])), expected)


@pytest.mark.parametrize("edges", [10, 70_000, 100_000])
@pytest.mark.parametrize("in_order", [False, True])
@pytest.mark.parametrize("value", [-1, 100, 2**31, 2**32, 2**32 + 1, -(2**63), 2**63 - 1])
@pytest.mark.parametrize("row", [0, 1])
def test_index_out_of_range(edges: int, in_order: bool, value: int, row: int):
    rng = np.random.default_rng(0)
    listed = random_edges(rng, 100, edges)
    if in_order:
        listed = listed[:, np.argsort(listed[1], kind="stable")]
    place = int(rng.integers(0, edges))
    listed[row, place] = value
    count = np.array(100)
    for self_loops in (0, 1):
        with pytest.raises(InvalidArgument, match=rf"CooToCsr: edge_index\[{row}, {place}\] = {value} is outside"):
            native("CooToCsr", listed, count, count, self_loops=self_loops)
    if row == 1:
        with pytest.raises(InvalidArgument, match=rf"IndexToCsr: index\[{place}\] = {value} is outside"):
            native("IndexToCsr", listed[1], count)


LIST = np.zeros((2, 4), np.int64)
FIVE = np.array(5)


@pytest.mark.parametrize(
    ("op", "inputs", "attributes", "text"),
    [
        ("CooToCsr", (LIST[0], FIVE, FIVE), {}, "shape"),
        ("CooToCsr", (np.zeros((3, 4), np.int64), FIVE, FIVE), {}, "shape"),
        ("CooToCsr", (np.zeros((0, 2**40), np.int64), FIVE, FIVE), {}, "shape"),
        ("CooToCsr", (LIST, np.array([5, 5]), FIVE), {}, "num_rows must be one number"),
        ("CooToCsr", (LIST, np.array([], np.int64), FIVE), {}, "num_rows must be one number"),
        ("CooToCsr", (LIST, np.array(-1), FIVE), {}, "num_rows = -1"),
        ("CooToCsr", (LIST, np.array(2**31), FIVE), {}, "num_rows = 2147483648"),
        ("CooToCsr", (LIST, FIVE, np.array(2**62)), {}, "num_cols"),
        ("CooToCsr", (LIST, np.array(0), FIVE), {}, "outside"),
        ("CooToCsr", (LIST, FIVE, np.array(0)), {}, "outside"),
        ("CooToCsr", (LIST, FIVE, np.array(6)), {"self_loops": 1}, "self_loops"),
        ("CooToCsr", (np.zeros((2, 70_000), np.int64), np.array(0), FIVE), {}, "outside"),
        ("IndexToCsr", (LIST, FIVE), {}, "shape"),
        ("IndexToCsr", (LIST[0], np.array(-5)), {}, "num_rows"),
        ("CsrDegree", (EMPTY, EMPTY, FIVE), {}, "indptr"),
        ("CsrDegree", (np.array([0, 1, -1, 0], np.int32), EMPTY, np.array(3)), {}, "indptr"),
        ("CsrDegree", (np.array([0, 1, 1], np.int32), EMPTY, np.array(3)), {}, "indptr"),
    ],
)
def test_bad_shapes_and_sizes(op, inputs, attributes, text):
    with pytest.raises(InvalidArgument, match=f"{op}: .*{text}"):
        native(op, *inputs, **attributes)


def test_bad_attribute_and_type():
    with pytest.raises(Exception, match="self_loops must be 0 or 1"):
        native("CooToCsr", LIST, FIVE, FIVE, self_loops=2)
    with pytest.raises(Exception, match="CooToCsr"):
        native("CooToCsr", LIST.astype(np.int32), FIVE, FIVE)


def test_self_loops_give_every_node_one():
    listed = np.array([[0, 1, 1, 2, 2], [0, 1, 0, 2, 2]])
    indptr, col, _, perm, _ = csr(listed, 4)
    assert indptr.tolist() == [0, 2, 3, 5, 5]
    indptr, col, _, perm = native("CooToCsr", listed, np.array(4), np.array(4), self_loops=1)
    assert indptr.tolist() == [0, 2, 3, 4, 5]
    assert col.tolist() == [1, 0, 1, 2, 3]
    assert perm.tolist() == [0, 1, 2, 3, 4]
