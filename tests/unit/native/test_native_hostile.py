"""Graphs, shapes and sizes that lie: the float kernels refuse them with INVALID_ARGUMENT and the operator's name."""

from __future__ import annotations

import os

import numpy as np
import pytest
from native_ops import EMPTY, Array, native, needs_library
from onnxruntime.capi.onnxruntime_pybind11_state import InvalidArgument

pytestmark = needs_library

INT_MIN, INT_MAX = -(2**31), 2**31 - 1
N, E, H, F = 4, 6, 2, 3
X = np.ones((N, F), np.float32)
X3 = np.ones((N, H, F), np.float32)
A = np.ones((N, H), np.float32)
M = np.ones((E, F), np.float32)
W = np.ones(E, np.float32)
GOOD_INDPTR = np.array([0, 2, 2, 5, 6], np.int32)
COL = np.array([0, 1, 2, 3, 0, 1], np.int32)
PERM = np.array([5, 4, 3, 2, 1, 0], np.int32)
ROWS = np.array(N)


def _run(
    op: str,
    *,
    indptr: Array = GOOD_INDPTR,
    col: Array = COL,
    perm: Array = PERM,
    row: Array = EMPTY,
    rows: Array = ROWS,
) -> tuple[Array, ...]:
    if op.startswith("Segment"):
        return native(op, W if op == "SegmentSoftmax" else M, indptr, row, perm, rows)
    if op == "SpMMWeighted":
        return native(op, X, W, indptr, col, row, perm, rows)
    if op == "AttentionSpMM":
        return native(op, X3, A, A, indptr, col, row, rows, negative_slope=0.2)
    return native(op, X, indptr, col, row, rows)


SPMM = ["SpMM", "SpMMMean", "SpMMMax", "SpMMMin", "SpMMWeighted", "AttentionSpMM"]
SEGMENT = ["SegmentSum", "SegmentMean", "SegmentMax", "SegmentMin", "SegmentSoftmax"]


@pytest.mark.parametrize("op", SPMM + SEGMENT)
@pytest.mark.parametrize(
    "indptr",
    [
        [0, 2, 2, 5, 7],
        [0, 2, 2, 5, 5],
        [1, 2, 2, 5, 6],
        [0, 2, 1, 5, 6],
        [0, 2, 100, 5, 6],
        [0, 2, -1, 5, 6],
        [0, INT_MAX, INT_MIN, -1, 6],
        [0, INT_MAX, INT_MIN, 0, 6],
        [-1, 2, 2, 5, 6],
        [0, 2, 2, 5, -6],
        [0, 2, 5, 6],
        [0, 2, 2, 5, 6, 6],
        [6],
        [],
    ],
)
def test_row_pointers(op: str, indptr: list[int]):
    with pytest.raises(InvalidArgument, match=f"{op}: "):
        _run(op, indptr=np.array(indptr, np.int32))


@pytest.mark.parametrize("op", SPMM)
@pytest.mark.parametrize("value", [-1, N, INT_MAX, INT_MIN])
def test_columns(op: str, value: int):
    for place in range(E):
        col = COL.copy()
        col[place] = value
        with pytest.raises(InvalidArgument, match=rf"{op}: col\[{place}\] = {value} is outside \[0, {N}\)"):
            _run(op, col=col)


@pytest.mark.parametrize("op", ["SpMMWeighted", *SEGMENT])
@pytest.mark.parametrize("value", [-1, E, INT_MAX, INT_MIN])
def test_positions(op: str, value: int):
    for place in range(E):
        perm = PERM.copy()
        perm[place] = value
        with pytest.raises(InvalidArgument, match=rf"{op}: perm\[{place}\] = {value} is outside \[0, {E}\)"):
            _run(op, perm=perm)


@pytest.mark.parametrize("op", ["SpMM", "SpMMWeighted", "AttentionSpMM", "SegmentSum", "SegmentSoftmax"])
def test_large_graph_with_one_bad_index(op: str):
    """In many blocks, on two threads: the one block that finds it is heard."""
    rng = np.random.default_rng(0)
    rows, edges = 3000, 200_000
    indptr = np.sort(rng.integers(0, edges, rows + 1)).astype(np.int32)
    indptr[0], indptr[-1] = 0, edges
    index = rng.integers(0, rows, edges).astype(np.int32)
    index[123_456] = rows if "Segment" not in op else edges
    x = np.ones((rows, 2, 8), np.float32)
    a = np.ones((rows, 2), np.float32)
    count = np.array(rows)
    inputs = {
        "SpMM": (x, indptr, index, EMPTY, count),
        "SpMMWeighted": (x, np.ones(edges, np.float32), indptr, index, EMPTY, EMPTY, count),
        "AttentionSpMM": (x, a, a, indptr, index, EMPTY, count),
        "SegmentSum": (np.ones((edges, 8), np.float32), indptr, EMPTY, index, count),
        "SegmentSoftmax": (np.ones((edges, 2), np.float32), indptr, EMPTY, index, count),
    }[op]
    with pytest.raises(InvalidArgument, match=r"\[123456\]"):
        native(op, *inputs, threads=2)


@pytest.mark.parametrize("op", SPMM + SEGMENT)
@pytest.mark.parametrize("rows", [-1, 2**31, 3, 5, 0])
def test_number_of_rows(op: str, rows: int):
    with pytest.raises(InvalidArgument, match=f"{op}: "):
        _run(op, rows=np.array(rows))


@pytest.mark.parametrize("op", SPMM)
def test_graph_of_a_function_body(op: str):
    with pytest.raises(InvalidArgument, match=f"{op}: indptr is empty and row is not"):
        _run(op, indptr=EMPTY, row=np.zeros(E, np.int32))


@pytest.mark.parametrize("op", ["SpMM", "SpMMWeighted", "AttentionSpMM", "SegmentSum", "SegmentSoftmax"])
@pytest.mark.parametrize("rows", [0, 3])
def test_columns_of_nothing(op: str, rows: int):
    """No column is in range where there are none."""
    count = np.array(rows)
    indptr = np.zeros(rows + 1, np.int32)
    x, a = np.zeros((0, 2, 8), np.float32), np.zeros((0, 2), np.float32)
    inputs = {
        "SpMM": (x, indptr, EMPTY, EMPTY, count),
        "SpMMWeighted": (x, np.zeros(0, np.float32), indptr, EMPTY, EMPTY, EMPTY, count),
        "AttentionSpMM": (x, a, np.zeros((rows, 2), np.float32), indptr, EMPTY, EMPTY, count),
        "SegmentSum": (x, indptr, EMPTY, EMPTY, count),
        "SegmentSoftmax": (a, indptr, EMPTY, EMPTY, count),
    }[op]
    (got,) = native(op, *inputs)
    assert got.shape[0] == (0 if op == "SegmentSoftmax" else rows)
    assert not got.any()


@pytest.mark.parametrize(
    ("op", "inputs", "text"),
    [
        ("SpMM", (np.array(1, np.float32), GOOD_INDPTR, COL, EMPTY, ROWS), "at least one dimension"),
        ("SpMM", (np.ones((4,) + (1,) * 8, np.float32), GOOD_INDPTR, COL, EMPTY, ROWS), "9 dimensions"),
        ("SpMM", (np.zeros((0, 2**50), np.float32), GOOD_INDPTR, COL, EMPTY, ROWS), "too large"),
        ("SpMM", (X, GOOD_INDPTR[None], COL, EMPTY, ROWS), "indptr"),
        ("SpMM", (X, GOOD_INDPTR, COL[None], EMPTY, ROWS), "col must have"),
        ("SpMMWeighted", (X, W[:-1], GOOD_INDPTR, COL, EMPTY, PERM, ROWS), "w must have"),
        ("SpMMWeighted", (X, np.ones((E, 2), np.float32), GOOD_INDPTR, COL, EMPTY, PERM, ROWS), "w must have"),
        ("SpMMWeighted", (X3, np.ones((E, 3), np.float32), GOOD_INDPTR, COL, EMPTY, PERM, ROWS), "w must have"),
        ("SpMMWeighted", (X3, np.ones((E, 2, 3), np.float32), GOOD_INDPTR, COL, EMPTY, PERM, ROWS), "w must have"),
        ("SpMMWeighted", (X3, np.ones((E, 0), np.float32), GOOD_INDPTR, COL, EMPTY, PERM, ROWS), "w must have"),
        ("SpMMWeighted", (X, np.array(1, np.float32), GOOD_INDPTR, COL, EMPTY, PERM, ROWS), "w must have"),
        ("SpMMWeighted", (X, W, GOOD_INDPTR, COL, EMPTY, PERM[:-1], ROWS), "perm must be"),
        ("SegmentSum", (M[:-1], GOOD_INDPTR, EMPTY, PERM, ROWS), "one row for each"),
        ("SegmentSum", (M, GOOD_INDPTR, EMPTY, PERM[:3], ROWS), "perm must be"),
        ("SegmentSum", (np.array(1, np.float32), GOOD_INDPTR, EMPTY, PERM, ROWS), "one row for each"),
        ("SegmentSoftmax", (np.ones((E, 2, 2), np.float32), GOOD_INDPTR, EMPTY, PERM, ROWS), "shape"),
        ("SegmentSoftmax", (np.ones((E + 1, 2), np.float32), GOOD_INDPTR, EMPTY, PERM, ROWS), "shape"),
        ("AttentionSpMM", (X, A, A, GOOD_INDPTR, COL, EMPTY, ROWS), "x must have"),
        ("AttentionSpMM", (X3, A[:-1], A, GOOD_INDPTR, COL, EMPTY, ROWS), "a_src"),
        ("AttentionSpMM", (X3, A[:, :1], A, GOOD_INDPTR, COL, EMPTY, ROWS), "a_src"),
        ("AttentionSpMM", (X3, A, A[:-1], GOOD_INDPTR, COL, EMPTY, ROWS), "a_dst"),
        ("AttentionSpMM", (X3, A, A[:, :1], GOOD_INDPTR, COL, EMPTY, ROWS), "a_dst"),
    ],
)
def test_shapes(op: str, inputs: tuple[Array, ...], text: str):
    with pytest.raises(InvalidArgument, match=f"{op}: .*{text}"):
        native(op, *inputs)


@pytest.mark.skipif("EDGEGNN_TEST_LIBRARY" in os.environ, reason="AddressSanitizer ends such a process")
def test_output_too_large_for_any_machine():
    x = np.zeros((0, 2**45), np.float32)
    with pytest.raises(Exception, match="SpMM"):
        native("SpMM", x, np.zeros(4, np.int32), EMPTY, EMPTY, np.array(3))


def test_wrong_type():
    with pytest.raises(Exception, match="SpMM"):
        native("SpMM", X.astype(np.float64), GOOD_INDPTR, COL, EMPTY, ROWS)
    with pytest.raises(Exception, match="SpMM"):
        native("SpMM", X, GOOD_INDPTR.astype(np.int64), COL, EMPTY, ROWS)


def test_softmax_of_nan_with_any_payload():
    """Every NaN has bits of its own, which the exponential must not take for a number (UndefinedBehaviorSanitizer)."""
    bits = (np.uint32(0x7FC00000) + np.arange(512, dtype=np.uint32)).astype(np.uint32)
    nans = np.concatenate([bits, bits | np.uint32(0x80000000)]).view(np.float32)
    logits = np.concatenate([nans, np.zeros(2, np.float32)])
    indptr = np.array([0, len(nans), len(logits)], np.int32)
    (got,) = native("SegmentSoftmax", logits, indptr, EMPTY, EMPTY, np.array(2))
    assert np.isnan(got[: len(nans)]).all()
    np.testing.assert_array_equal(got[len(nans) :], [0.5, 0.5])


def test_an_entry_that_no_perm_names_is_zero() -> None:
    (out,) = native("SegmentSoftmax", W, GOOD_INDPTR, EMPTY, np.zeros(E, np.int32), ROWS)
    assert out[0] > 0
    np.testing.assert_array_equal(out[1:], 0)


@pytest.mark.parametrize("op", ["CooToCsr", "IndexToCsr"])
def test_rows_that_no_edge_asks_for(op: str) -> None:
    edges, many = np.zeros((2, 3), np.int64), np.array(INT_MAX)
    inputs = (edges, many, many) if op == "CooToCsr" else (edges[0], many)
    with pytest.raises(InvalidArgument, match=rf"{op}: num_rows = {INT_MAX} is too much for 3 edges"):
        native(op, *inputs)
