"""Every operator of domain `ai.edgegnn` in plain numpy: what a kernel has to compute, and what OPS.md means.

One function an operator, named as the operator is in snake case; `OPS` maps operator names to them. Inputs come as
numpy arrays in the operator's order, attributes by name, and outputs go back as a tuple. Float sums are in float32, one
entry after the other in row order, so sum, mean and weighted kernels agree to the bit; kernels with an exponential in
them agree to a tolerance (OPS.md).

Both forms of a graph are understood: `indptr` filled (what the kernels make), or `indptr` empty and `row` filled (what
the function bodies make). Bad indices, shapes and sizes raise ValueError where a kernel gives INVALID_ARGUMENT.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from edgegnn.native.reference_edges import (
    dot_attention,
    dot_attention_edges,
    edge_product_max,
    gated_sum,
    gated_sum_edges,
    pair_attention,
    pair_attention_edges,
)
from edgegnn.native.reference_geometry import farthest_points, knn, radius
from edgegnn.native.reference_products import (
    HIGHEST,
    LOWEST,
    centred,
    finish,
    normalize_quantize_gemm,
    normalize_sparse_gemm,
    one_or,
    per_row,
    qedge_mlp_max,
    qedge_product_max,
    qgemm,
    quantize_gemm,
    quantize_rows,
    sparse_gemm,
)
from edgegnn.native.reference_rows import INT32, in_range, listed, reduce, rows_of, size_of, softmax

__all__ = ["OPS", "run"]

Array = npt.NDArray[Any]


def run(op: str, *inputs: Array, **attributes: float) -> tuple[Array, ...]:
    """Run the operator called `op`."""
    with np.errstate(all="ignore"):
        return OPS[op](*inputs, **attributes)


def _compress(index: Array, rows: int) -> tuple[Array, Array]:
    """Row pointers of an index list, and the stable order that sorts it."""
    order = np.argsort(index, kind="stable")
    indptr = np.zeros(rows + 1, np.int32)
    indptr[1:] = np.cumsum(np.bincount(index, minlength=rows)[:rows])
    return indptr, order


def _as_perm(order: Array) -> Array:
    """A permutation as the operators carry it: no elements when it changes nothing."""
    return order[:0].astype(np.int32) if np.array_equal(order, np.arange(order.size)) else order.astype(np.int32)


_NONE = np.zeros(0, np.int32)


def coo_to_csr(
    edge_index: Array, num_rows: Array, num_cols: Array, self_loops: int = 0
) -> tuple[Array, Array, Array, Array]:
    """Edge list int64 `[2, E]` (source, destination) to `indptr, col, row, perm`, grouped by destination, stable."""
    rows, cols = size_of(num_rows, "num_rows"), size_of(num_cols, "num_cols")
    if edge_index.ndim != 2 or edge_index.shape[0] != 2 or edge_index.shape[1] > INT32:
        raise ValueError("edge_index must have the shape [2, E]")
    source, target = edge_index
    in_range(source, cols, "edge_index[0]")
    in_range(target, rows, "edge_index[1]")
    if self_loops not in (0, 1):
        raise ValueError("self_loops must be 0 or 1")
    if self_loops:
        if rows != cols:
            raise ValueError("self_loops needs a square matrix")
        loops = np.arange(rows)
        keep = source != target
        source, target = np.concatenate([source[keep], loops]), np.concatenate([target[keep], loops])
    indptr, order = _compress(target, rows)
    perm = order.astype(np.int32) if self_loops else _as_perm(order)
    return indptr, source[order].astype(np.int32), _NONE, perm


def index_to_csr(index: Array, num_rows: Array) -> tuple[Array, Array, Array]:
    """Row of each entry, int64 `[E]`, to `indptr, row, perm`."""
    rows = size_of(num_rows, "num_rows")
    if index.ndim != 1 or index.size > INT32:
        raise ValueError("index must have the shape [E]")
    in_range(index, rows, "index")
    indptr, order = _compress(index, rows)
    return indptr, _NONE, _as_perm(order)


def csr_degree(indptr: Array, row: Array, num_rows: Array) -> tuple[Array]:
    """Number of entries of each row, float32 `[R]`."""
    index, count = rows_of(indptr, row, num_rows, int(indptr[-1]) if indptr.size else row.size)
    return (np.bincount(index, minlength=count).astype(np.float32),)


def _spmm(how: str) -> Callable[..., tuple[Array]]:
    def op(x: Array, indptr: Array, col: Array, row: Array, num_rows: Array) -> tuple[Array]:
        index, count = rows_of(indptr, row, num_rows, col.size)
        in_range(col, x.shape[0], "col")
        return (reduce(x[col], index, count, how),)

    op.__doc__ = f"The {how} of rows of x, float32 `[C, ...]`, over each row's neighbours: `[R, ...]`."
    return op


def spmm_channels(
    x: Array, w: Array, d: Array, indptr: Array, col: Array, row: Array, perm: Array, num_rows: Array, offset: int = 0
) -> tuple[Array]:
    """Sum of `d * (w * x[col])` by row: x `[C, P or 1, F]`, w `[E, W]` from column `offset` on, d `[E, P or 1]`."""
    index, count = rows_of(indptr, row, num_rows, col.size)
    if x.ndim != 3 or w.ndim != 2 or d.ndim != 2 or not 0 <= offset <= w.shape[1] - x.shape[2]:
        raise ValueError("x must have the shape [C, P, F], w [E, W], d [E, P]")
    if x.shape[1] < 1 or d.shape[1] < 1 or (d.shape[1] != 1 and x.shape[1] != 1 and d.shape[1] != x.shape[1]):
        raise ValueError("d and x must have one plane, or as many")
    in_range(col, x.shape[0], "col")
    weights = listed(w[:, offset : offset + x.shape[2]], perm, col.size)
    return (reduce(weights[:, None] * x[col] * listed(d, perm, col.size)[:, :, None], index, count, "sum"),)


def _segment(how: str) -> Callable[..., tuple[Array]]:
    def op(messages: Array, indptr: Array, row: Array, perm: Array, num_rows: Array) -> tuple[Array]:
        entries = messages.shape[0]
        index, count = rows_of(indptr, row, num_rows, entries)
        return (reduce(listed(messages, perm, entries), index, count, how),)

    op.__doc__ = f"The {how} of messages, float32 `[E, ...]`, over each row: `[R, ...]`."
    return op


def _weights(w: Array, x: Array, entries: int) -> Array:
    """Weights `[E]`, `[E, H]`, `[E, 1]`, `[E, H, 1]` shaped to multiply messages of x `[C, F]` or `[C, H, F]`."""
    if w.ndim == 0 or w.shape[0] != entries:
        raise ValueError("one weight an entry is needed")
    heads = w.size // entries if entries else int(np.prod(w.shape[1:]))
    if heads != 1 and (x.ndim != 3 or heads != x.shape[1]):
        raise ValueError("as many weights an entry as x has heads are needed, or one")
    if w.ndim > 3 or (w.ndim == 3 and w.shape[2] != 1):
        raise ValueError("w must have the shape [E], [E, H] or [E, H, 1]")
    return w.reshape(entries, heads, 1) if x.ndim == 3 else w.reshape(entries, *[1] * (x.ndim - 1))


def spmm_weighted(
    x: Array, w: Array, indptr: Array, col: Array, row: Array, perm: Array, num_rows: Array
) -> tuple[Array]:
    """Sum of w * x over each row's neighbours; w in the order of the edge list."""
    index, count = rows_of(indptr, row, num_rows, col.size)
    in_range(col, x.shape[0], "col")
    weights = listed(_weights(w, x, col.size), perm, col.size)
    return (reduce((x[col] * weights).astype(np.float32), index, count, "sum"),)


def segment_softmax(logits: Array, indptr: Array, row: Array, perm: Array, num_rows: Array) -> tuple[Array]:
    """Softmax of logits, float32 `[E]` or `[E, H]`, over each row; in and out in the order of the edge list."""
    if logits.ndim not in (1, 2):
        raise ValueError("logits must have the shape [E] or [E, H]")
    entries = logits.shape[0]
    index, count = rows_of(indptr, row, num_rows, entries)
    power = softmax(listed(logits, perm, entries), index, count)
    if perm.size == 0:
        return (power,)
    out = np.empty_like(power)
    out[perm] = power
    return (out,)


def _attention(a_src: Array, a_dst: Array, index: Array, col: Array, rows: int, slope: float) -> Array:
    """Attention of each entry in row order, `[E, H]`."""
    if a_src.ndim != 2 or a_dst.ndim != 2 or a_dst.shape != (rows, a_src.shape[1]):
        raise ValueError("a_src must have the shape [C, H] and a_dst [R, H]")
    in_range(col, a_src.shape[0], "col")
    logits = (a_src[col] + a_dst[index]).astype(np.float32)
    return softmax(np.where(logits > 0, logits, np.float32(slope) * logits), index, rows)


def attention_spmm(
    x: Array,
    a_src: Array,
    a_dst: Array,
    indptr: Array,
    col: Array,
    row: Array,
    num_rows: Array,
    negative_slope: float = 0.2,
) -> tuple[Array]:
    """GAT's attention and weighted sum at once: x float32 `[C, H, F]` to `[R, H, F]`."""
    if x.ndim != 3 or a_src.shape != x.shape[:2]:
        raise ValueError("x must have the shape [C, H, F] and a_src [C, H]")
    index, count = rows_of(indptr, row, num_rows, col.size)
    weights = _attention(a_src, a_dst, index, col, count, negative_slope)
    return (reduce((x[col] * weights[:, :, None]).astype(np.float32), index, count, "sum"),)


# Integer operators.


def _integer_sum(values: Array, index: Array, rows: int) -> Array:
    out = np.zeros((rows, *values.shape[1:]), np.int64)
    np.add.at(out, index, values)
    return out


def qspmm(
    x: Array,
    indptr: Array,
    col: Array,
    row: Array,
    num_rows: Array,
    row_scale: Array,
    bias: Array,
    *,
    x_scale: float,
    x_zero_point: int = 0,
    self_weight: float = 0.0,
    clip_low: float = LOWEST,
    clip_high: float = HIGHEST,
    y_scale: float | None = None,
    y_zero_point: int = 0,
) -> tuple[Array]:
    """Sum of codes uint8 or int8 `[C, F]` over each row's neighbours, exact in integers, then scale, bias and clip."""
    index, count = rows_of(indptr, row, num_rows, col.size)
    in_range(col, x.shape[0], "col")
    codes = centred(x, x_zero_point)
    v = _integer_sum(codes[col], index, count).astype(np.float32)
    if self_weight != 0.0:
        if count > x.shape[0]:
            raise ValueError("self_weight needs num_rows <= rows of x")
        v = v + np.float32(self_weight) * codes[:count].astype(np.float32)
    v = v * np.float32(x_scale) * per_row(one_or(row_scale, count, "row_scale"), v.ndim)
    v = v + one_or(bias, x.shape[1], "bias")
    return (finish(v, clip_low, clip_high, y_scale, y_zero_point),)


def _sixteen_bits(w: Array) -> Array:
    """Weights rounded to 16 significant bits, to even, so that their products with codes are exact in float32."""
    bits = np.ascontiguousarray(w, np.float32).view(np.uint32)
    even = (bits + np.uint32(0x7F) + ((bits >> np.uint32(8)) & np.uint32(1))) & np.uint32(0xFFFFFF00)
    return np.where(np.isnan(w), w, even.view(np.float32)).astype(np.float32)


def qspmm_weighted(
    x: Array,
    w: Array,
    indptr: Array,
    col: Array,
    row: Array,
    perm: Array,
    num_rows: Array,
    row_scale: Array,
    bias: Array,
    *,
    x_scale: float,
    x_zero_point: int = 0,
    clip_low: float = LOWEST,
    clip_high: float = HIGHEST,
    y_scale: float | None = None,
    y_zero_point: int = 0,
) -> tuple[Array]:
    """Sum of w * (code - zero point), codes `[C, F]` or `[C, H, F]`, float32 in row order; bias over flattened H*F.

    Weights are rounded to 16 significant bits.
    """
    numbers = centred(x, x_zero_point).astype(np.float32)
    (v,) = spmm_weighted(numbers, _sixteen_bits(w), indptr, col, row, perm, num_rows)
    v = v * np.float32(x_scale) * per_row(one_or(row_scale, v.shape[0], "row_scale"), v.ndim)
    width = int(np.prod(x.shape[1:]))
    v = (v.reshape(-1, width) + one_or(bias, width, "bias")).reshape(v.shape)
    return (finish(v, clip_low, clip_high, y_scale, y_zero_point),)


def qattention_spmm(
    x: Array,
    a_src: Array,
    a_dst: Array,
    indptr: Array,
    col: Array,
    row: Array,
    num_rows: Array,
    bias: Array,
    *,
    x_scale: float,
    x_zero_point: int = 0,
    negative_slope: float = 0.2,
    clip_low: float = LOWEST,
    clip_high: float = HIGHEST,
    y_scale: float | None = None,
    y_zero_point: int = 0,
) -> tuple[Array]:
    """AttentionSpMM over codes `[C, H, F]`, then scale, bias (over the flattened H*F) and clip."""
    numbers = centred(x, x_zero_point).astype(np.float32)
    (v,) = attention_spmm(numbers, a_src, a_dst, indptr, col, row, num_rows, negative_slope=negative_slope)
    width = int(np.prod(x.shape[1:]))
    v = ((v * np.float32(x_scale)).reshape(-1, width) + one_or(bias, width, "bias")).reshape(v.shape)
    return (finish(v, clip_low, clip_high, y_scale, y_zero_point),)


OPS: dict[str, Callable[..., tuple[Array, ...]]] = {
    "CooToCsr": coo_to_csr,
    "IndexToCsr": index_to_csr,
    "CsrDegree": csr_degree,
    "SpMM": _spmm("sum"),
    "SpMMMean": _spmm("mean"),
    "SpMMMax": _spmm("max"),
    "SpMMMin": _spmm("min"),
    "SpMMWeighted": spmm_weighted,
    "SpMMChannels": spmm_channels,
    "SegmentSum": _segment("sum"),
    "SegmentMean": _segment("mean"),
    "SegmentMax": _segment("max"),
    "SegmentMin": _segment("min"),
    "SegmentSoftmax": segment_softmax,
    "AttentionSpMM": attention_spmm,
    "PairAttention": pair_attention,
    "PairAttentionEdges": pair_attention_edges,
    "DotAttention": dot_attention,
    "DotAttentionEdges": dot_attention_edges,
    "EdgeProductMax": edge_product_max,
    "GatedSum": gated_sum,
    "GatedSumEdges": gated_sum_edges,
    "QSpMM": qspmm,
    "QSpMMFloat": qspmm,
    "QSpMMWeighted": qspmm_weighted,
    "QSpMMWeightedFloat": qspmm_weighted,
    "QAttentionSpMM": qattention_spmm,
    "QAttentionSpMMFloat": qattention_spmm,
    "QGemm": qgemm,
    "QGemmFloat": qgemm,
    "QuantizeGemm": quantize_gemm,
    "QuantizeGemmFloat": quantize_gemm,
    "QGemmNorm": qgemm,
    "QGemmNormFloat": qgemm,
    "QuantizeGemmNorm": quantize_gemm,
    "QuantizeGemmNormFloat": quantize_gemm,
    "NormalizeQuantizeGemm": normalize_quantize_gemm,
    "NormalizeQuantizeGemmFloat": normalize_quantize_gemm,
    "NormalizeQuantizeGemmNorm": normalize_quantize_gemm,
    "NormalizeQuantizeGemmNormFloat": normalize_quantize_gemm,
    "QEdgeMlpMax": qedge_mlp_max,
    "QEdgeProductMax": qedge_product_max,
    "QuantizeRows": quantize_rows,
    "SparseGemm": sparse_gemm,
    "NormalizeSparseGemm": normalize_sparse_gemm,
    "Knn": knn,
    "Radius": radius,
    "FarthestPoints": farthest_points,
}
