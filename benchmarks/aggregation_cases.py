"""What `aggregation.py` measures: every way to sum over neighbours, with its inputs and what it must compute."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.sparse
import torch
from compiled import counting_sort
from graphs import Graph
from one_op import Bound, MissingOp, native, scatter

Array = npt.NDArray[Any]

# Column names of the tables.
TORCH_SCATTER, TORCH_INDEX, TORCH_CSR = "torch scatter_add", "torch index_add", "torch CSR"
ORT_SCATTER = "ORT ScatterElements"
SPMM, SPMM_WEIGHTED, SPMM_UNSORTED = "SpMM f32", "SpMMWeighted f32", "SpMMWeighted f32, by list"
QSPMM, QSPMM_FLOAT = "QSpMM u8→u8", "QSpMMFloat u8→f32"
QSPMM_WEIGHTED, QSPMM_UNSORTED = "QSpMMWeighted u8→u8", "QSpMMWeighted u8→u8, by list"
PEERS = (TORCH_SCATTER, TORCH_INDEX, TORCH_CSR, ORT_SCATTER)
OURS_FLOAT = (SPMM, SPMM_WEIGHTED, SPMM_UNSORTED)
OURS_INTEGER = (QSPMM, QSPMM_FLOAT, QSPMM_WEIGHTED, QSPMM_UNSORTED)
SUMS = (*PEERS, *OURS_FLOAT, *OURS_INTEGER)

SORT_C, SORT_TORCH = "counting sort in C", "torch stable sort"
CSR_UNSORTED, CSR_SORTED, CSR_LOOPS = "CooToCsr", "CooToCsr, sorted edges", "CooToCsr, adding loops"
SORTS = (SORT_C, SORT_TORCH, CSR_UNSORTED, CSR_SORTED, CSR_LOOPS)

X_SCALE, ZERO_POINT, Y_ZERO_POINT = 0.02, 117, 3


@dataclass(frozen=True)
class Contender:
    """One way to do it.

    Attributes:
        call: does it.
        error: largest difference of the last call's result from the reference, in units of what may differ: 1 for a
            float result means 1e-5 of the largest sum of magnitudes, for codes one step.
    """

    call: Callable[[], object]
    error: Callable[[], float]


def sums(graph: Graph, width: int, threads: int, *, only: tuple[str, ...] = SUMS) -> dict[str, Contender | str]:
    """Contenders of one aggregation `[N, width]`, or why there is none."""
    return _build(_Sums(graph, width, threads).makers(), only)


def sorts(graph: Graph, threads: int, *, only: tuple[str, ...] = SORTS) -> dict[str, Contender | str]:
    """Contenders of making CSR from an edge list, or why there is none."""
    return _build(_Sorts(graph, threads).makers(), only)


def _build(makers: dict[str, Callable[[], Contender | None]], only: tuple[str, ...]) -> dict[str, Contender | str]:
    found: dict[str, Contender | str] = {}
    for name in only:
        try:
            found[name] = makers[name]() or "no C compiler"
        except MissingOp as missing:
            found[name] = str(missing)
    return found


class _Sums:
    """Inputs shared by the contenders of one graph and width."""

    def __init__(self, graph: Graph, width: int, threads: int) -> None:
        self.graph, self.width, self.threads = graph, width, threads
        rng = np.random.default_rng(1)
        self.x = rng.standard_normal((graph.nodes, width), dtype=np.float32)
        self.codes = rng.integers(0, 256, (graph.nodes, width), dtype=np.uint8)
        self.w = rng.random(graph.edges, dtype=np.float32)  # in the order of the edge list
        self.row_scale = (1.0 / np.maximum(graph.degree, 1)).astype(np.float32)
        self.bias = rng.standard_normal(width, dtype=np.float32) * np.float32(0.1)
        indptr, col, perm = graph.csr
        self.rows = np.array(graph.nodes, np.int64)
        self.empty = np.zeros(0, np.int32)
        self.csr = {"indptr": indptr, "col": col, "row": self.empty}
        self.perm = perm

    def makers(self) -> dict[str, Callable[[], Contender | None]]:
        by_row, by_list = self.w[self.perm], self.w
        return {
            TORCH_SCATTER: lambda: self._torch(self._scatter_add),
            TORCH_INDEX: lambda: self._torch(self._index_add),
            TORCH_CSR: lambda: self._torch(self._csr()),
            ORT_SCATTER: lambda: self._float(scatter(self.x, self.graph.edge_index, self.graph.nodes, self.threads)),
            SPMM: lambda: self._float(self._op("SpMM", {"x": self.x, **self.csr, "n": self.rows}, np.float32)),
            SPMM_WEIGHTED: lambda: self._float(self._weighted_float(by_row, self.empty), weighted=True),
            SPMM_UNSORTED: lambda: self._float(self._weighted_float(by_list, self.perm), weighted=True),
            QSPMM: lambda: self._codes(self._quantized("QSpMM", {}, np.uint8)),
            QSPMM_FLOAT: lambda: self._float(self._quantized("QSpMMFloat", {}, np.float32), quantized=True),
            QSPMM_WEIGHTED: lambda: self._codes(self._weighted_codes(by_row, self.empty), weighted=True),
            QSPMM_UNSORTED: lambda: self._codes(self._weighted_codes(by_list, self.perm), weighted=True),
        }

    # torch ------------------------------------------------------------

    def _torch(self, call: Callable[[], torch.Tensor]) -> Contender:
        return Contender(call, lambda: self._off(call().numpy(), self._exact(self.x)))

    def _scatter_add(self) -> torch.Tensor:
        x, (src, dst) = torch.from_numpy(self.x), torch.from_numpy(self.graph.edge_index)
        messages = x.index_select(0, src)
        return x.new_zeros(x.shape).scatter_add_(0, dst.view(-1, 1).expand_as(messages), messages)

    def _index_add(self) -> torch.Tensor:
        x, (src, dst) = torch.from_numpy(self.x), torch.from_numpy(self.graph.edge_index)
        return x.new_zeros(x.shape).index_add_(0, dst, x.index_select(0, src))

    def _csr(self) -> Callable[[], torch.Tensor]:
        # int32 indices, which MKL is faster with than with the int64 that PyG makes; the invariants would forbid
        # duplicate edges, which a product just adds
        indptr, col, _ = self.graph.csr
        size = (self.graph.nodes, self.graph.nodes)
        ones = torch.ones(self.graph.edges)
        matrix = torch.sparse_csr_tensor(
            torch.from_numpy(indptr), torch.from_numpy(col), ones, size, check_invariants=False
        )
        x = torch.from_numpy(self.x)
        return lambda: matrix @ x

    # ours ------------------------------------------------------------

    def _op(self, op: str, inputs: dict[str, Array], dtype: Any, **attributes: float) -> Bound:
        return native(op, inputs, [(dtype, (self.graph.nodes, self.width))], self.threads, **attributes)

    def _weighted_float(self, w: Array, perm: Array) -> Bound:
        inputs = {"x": self.x, "w": w, **self.csr, "perm": perm, "n": self.rows}
        return self._op("SpMMWeighted", inputs, np.float32)

    def _quantized(self, op: str, extra: dict[str, Array], dtype: Any) -> Bound:
        """Mean over neighbours, bias, ReLU, and for codes requantization: a layer's epilogue."""
        weights = {k: v for k, v in extra.items() if k == "w"}
        order = {k: v for k, v in extra.items() if k == "perm"}
        inputs = {"x": self.codes, **weights, **self.csr, **order, "n": self.rows}
        inputs |= {"row_scale": self.row_scale, "bias": self.bias}
        attributes: dict[str, float] = {"x_scale": X_SCALE, "x_zero_point": ZERO_POINT, "clip_low": 0.0}
        if dtype == np.uint8:
            attributes |= {"y_scale": self.y_scale(bool(extra)), "y_zero_point": Y_ZERO_POINT}
        return self._op(op, inputs, dtype, **attributes)

    def _weighted_codes(self, w: Array, perm: Array) -> Bound:
        return self._quantized("QSpMMWeighted", {"w": w, "perm": perm}, np.uint8)

    # what must come out ------------------------------------------------------------

    def _float(self, op: Bound, *, weighted: bool = False, quantized: bool = False) -> Contender:
        def error() -> float:
            want = self._layer(weighted) if quantized else self._exact(self.x, self.w if weighted else None)
            return self._off(op.outputs()[0], want)

        return Contender(op.call, error)

    def _codes(self, op: Bound, *, weighted: bool = False) -> Contender:
        def error() -> float:
            exact = self._layer(weighted) / self.y_scale(weighted)
            want = np.clip(np.rint(exact) + Y_ZERO_POINT, 0, 255)
            return float(np.abs(op.outputs()[0].astype(np.float64) - want).max(initial=0.0))

        return Contender(op.call, error)

    def _exact(self, x: Array, w: Array | None = None) -> Array:
        """Sums in float64."""
        indptr, col, perm = self.graph.csr
        values = np.ones(self.graph.edges) if w is None else w[perm].astype(np.float64)
        matrix = scipy.sparse.csr_array((values, col, indptr), shape=(self.graph.nodes, self.graph.nodes))
        product: Array = matrix @ x.astype(np.float64)
        return product

    def _layer(self, weighted: bool) -> Array:
        """The quantized layer before its result is rounded, in float64."""
        sums = self._exact(self.codes.astype(np.int64) - ZERO_POINT, self.w if weighted else None)
        scaled: Array = np.maximum(sums * X_SCALE * self.row_scale[:, None] + self.bias, 0.0)
        return scaled

    def y_scale(self, weighted: bool) -> float:
        """The largest output fills about 250 steps."""
        return float(np.float32(self._layer(weighted).max() / 250))

    def _off(self, got: Array, want: Array) -> float:
        return float(np.abs(got - want).max(initial=0.0) / (1e-5 * max(1.0, np.abs(want).max(initial=0.0))))


class _Sorts:
    """Inputs shared by the contenders that make CSR."""

    def __init__(self, graph: Graph, threads: int) -> None:
        self.graph, self.threads = graph, threads
        self.sorted = graph.sorted()

    def makers(self) -> dict[str, Callable[[], Contender | None]]:
        return {
            SORT_C: self._c,
            SORT_TORCH: self._torch,
            CSR_UNSORTED: lambda: self._op(self.graph, self.graph.edges),
            CSR_SORTED: lambda: self._op(self.sorted, 0),
            CSR_LOOPS: self._loops,
        }

    def _c(self) -> Contender | None:
        made = counting_sort(self.graph.edge_index, self.graph.nodes)
        if made is None:
            return None
        call, arrays = made
        return Contender(call, lambda: _differs(arrays, self.graph.csr))

    def _torch(self) -> Contender:
        src, dst = torch.from_numpy(self.graph.edge_index)

        def call() -> tuple[torch.Tensor, ...]:
            _, perm = torch.sort(dst, stable=True)
            indptr = torch.zeros(self.graph.nodes + 1, dtype=torch.int64)
            torch.cumsum(torch.bincount(dst, minlength=self.graph.nodes), 0, out=indptr[1:])
            return indptr, src[perm], perm

        return Contender(call, lambda: _differs([t.numpy() for t in call()], self.graph.csr))

    def _op(self, graph: Graph, perm: int) -> Contender:
        op = self._make(graph, graph.edges, perm, 0)
        indptr, col, order = graph.csr
        return Contender(op.call, lambda: _differs(_picked(op), (indptr, col, order if perm else order[:0])))

    def _loops(self) -> Contender:
        kept = self.graph.edge_index[:, self.graph.edge_index[0] != self.graph.edge_index[1]]
        looped = np.concatenate([kept, np.tile(np.arange(self.graph.nodes), (2, 1))], axis=1)
        whole = Graph("loops", self.graph.nodes, looped)
        op = self._make(self.graph, whole.edges, whole.edges, 1)
        return Contender(op.call, lambda: _differs(_picked(op), whole.csr))

    def _make(self, graph: Graph, edges: int, perm: int, self_loops: int) -> Bound:
        rows = np.array(graph.nodes, np.int64)
        inputs = {"edge_index": graph.edge_index, "rows": rows, "cols": rows}
        shapes = [(graph.nodes + 1,), (edges,), (0,), (perm,)]
        return native("CooToCsr", inputs, [(np.int32, s) for s in shapes], self.threads, self_loops=self_loops)


def _picked(op: Bound) -> list[Array]:
    indptr, col, _, perm = op.outputs()
    return [indptr, col, perm]


def _differs(got: Any, want: Any) -> float:
    """0 when all arrays are equal, else infinity."""
    same = all(np.array_equal(a, b) for a, b in zip(got, want, strict=True))
    return 0.0 if same else float("inf")
