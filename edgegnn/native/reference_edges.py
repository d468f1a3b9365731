"""Operators on rows of both ends of an edge, in plain numpy: PairAttention, DotAttention, EdgeProductMax, GatedSum.

A sum over the channels of a head is made of sixteen sums, each of every sixteenth product in their order; then the
second half is added to the first, four times.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from edgegnn.native.reference_rows import in_range, listed, reduce, rows_of, softmax

__all__ = [
    "dot_attention",
    "dot_attention_edges",
    "edge_product_max",
    "gated_sum",
    "gated_sum_edges",
    "pair_attention",
    "pair_attention_edges",
]

Array = npt.NDArray[Any]


def _sums(*products: Array) -> Array:
    """The sum over the last axis of all products, float32 `[E, H, K]`, in the order of the kernels."""
    first = products[0]
    parts = np.zeros((16, *first.shape[:-1]), np.float32)
    for product in products:
        for k in range(product.shape[-1]):
            parts[k % 16] += product[..., k]
    while len(parts) > 1:
        parts = parts[: len(parts) // 2] + parts[len(parts) // 2 :]
    return parts[0]


def _check_ends(source: Array, target: Array, rows: int) -> None:
    if source.ndim != 3 or target.ndim != 3 or target.shape != (rows, *source.shape[1:]):
        raise ValueError("rows of the ends must have the shapes [C, H, K] and [R, H, K]")


def _features(features: Array, perm: Array, entries: int) -> Array:
    if features.ndim != 2 or features.shape[1] < 1:
        raise ValueError("features must have the shape [E, D]")
    return listed(features, perm, entries)


def _pair(
    source: Array, target: Array, att: Array, index: Array, col: Array, added: Array | None, slope: float
) -> Array:
    if att.shape != source.shape[1:]:
        raise ValueError("att must have the shape [H, K]")
    in_range(col, source.shape[0], "col")
    v = source[col] + target[index]
    if added is not None:
        v = v + added.reshape(v.shape)
    return softmax(_sums(np.where(v > 0, v, v * np.float32(slope)) * att), index, len(target))


def pair_attention(
    source: Array,
    target: Array,
    att: Array,
    indptr: Array,
    col: Array,
    row: Array,
    num_rows: Array,
    negative_slope: float = 0.2,
) -> tuple[Array]:
    """GATv2's attention: softmax over each row of `att . leaky_relu(source[col] + target[row])`, `[E, H]`."""
    index, count = rows_of(indptr, row, num_rows, col.size)
    _check_ends(source, target, count)
    return (_pair(source, target, att, index, col, None, negative_slope),)


def pair_attention_edges(
    source: Array,
    target: Array,
    att: Array,
    features: Array,
    product: Array,
    indptr: Array,
    col: Array,
    row: Array,
    perm: Array,
    num_rows: Array,
    negative_slope: float = 0.2,
) -> tuple[Array]:
    """PairAttention with `features[e] @ product` added to the rows of both ends; features in the order of the list."""
    index, count = rows_of(indptr, row, num_rows, col.size)
    _check_ends(source, target, count)
    own = _features(features, perm, col.size)
    if product.shape != (own.shape[1], source.shape[1] * source.shape[2]):
        raise ValueError("product must have the shape [D, H * K]")
    return (_pair(source, target, att, index, col, _multiplied(own, product), negative_slope),)


def _multiplied(features: Array, product: Array) -> Array:
    """Features times a matrix, one feature after the other."""
    added = np.zeros((len(features), product.shape[1]), np.float32)
    for d in range(features.shape[1]):
        added = added + features[:, d : d + 1] * product[d]
    return added


def dot_attention(
    query: Array, key: Array, indptr: Array, col: Array, row: Array, num_rows: Array, scale: float = 1.0
) -> tuple[Array]:
    """A transformer's attention: softmax over each row of `scale * query[row] . key[col]`, `[E, H]`."""
    index, count = rows_of(indptr, row, num_rows, col.size)
    _check_ends(key, query, count)
    in_range(col, key.shape[0], "col")
    return (softmax(_sums(query[index] * key[col]) * np.float32(scale), index, count),)


def dot_attention_edges(
    query: Array,
    key: Array,
    edge_query: Array,
    features: Array,
    indptr: Array,
    col: Array,
    row: Array,
    perm: Array,
    num_rows: Array,
    scale: float = 1.0,
) -> tuple[Array, Array]:
    """DotAttention, `edge_query[row] . features[e]` added to each product; and the weighted features, `[R, H, D]`."""
    index, count = rows_of(indptr, row, num_rows, col.size)
    _check_ends(key, query, count)
    in_range(col, key.shape[0], "col")
    own = _features(features, perm, col.size)
    if edge_query.shape != (count, key.shape[1], own.shape[1]):
        raise ValueError("edge_query must have the shape [R, H, D]")
    products = (query[index] * key[col], edge_query[index] * own[:, None])
    weights = softmax(_sums(*products) * np.float32(scale), index, count)
    return weights, reduce((own[:, None] * weights[:, :, None]).astype(np.float32), index, count, "sum")


def edge_product_max(
    source: Array,
    target: Array,
    w: Array,
    bias: Array,
    indptr: Array,
    col: Array,
    row: Array,
    num_rows: Array,
    low: float = -3.4028235e38,
    high: float = 3.4028235e38,
) -> tuple[Array]:
    """The maximum by row of the product of `source[col] + target[row]`, clipped, with w: `[R, N]`."""
    index, count = rows_of(indptr, row, num_rows, col.size)
    if source.ndim != 2 or target.shape != (count, source.shape[1]):
        raise ValueError("source must have the shape [C, K] and target [R, K]")
    if w.ndim != 2 or w.shape[0] != source.shape[1] or bias.shape not in ((1,), w.shape[1:]):
        raise ValueError("w must have the shape [K, N], bias [N] or [1]")
    in_range(col, source.shape[0], "col")
    ends = np.minimum(np.maximum(source[col] + target[index], np.float32(low)), np.float32(high))
    return (reduce((ends @ w + bias).astype(np.float32), index, count, "max"),)


def _gated(gate: Array, value: Array, index: Array, rows: int) -> Array:
    one = np.float32(1)
    softplus = np.maximum(value, 0) + np.log1p(np.exp(-np.abs(value)))
    return reduce((one / (one + np.exp(-gate)) * softplus).astype(np.float32), index, rows, "sum")


def gated_sum(
    gate_source: Array,
    gate_target: Array,
    value_source: Array,
    value_target: Array,
    indptr: Array,
    col: Array,
    row: Array,
    num_rows: Array,
) -> tuple[Array]:
    """CGConv's sum by row of `sigmoid(gate) * softplus(value)`, each `source[col] + target[row]`: `[R, F]`."""
    index, count = rows_of(indptr, row, num_rows, col.size)
    _check_gates(gate_source, gate_target, value_source, value_target, count)
    in_range(col, gate_source.shape[0], "col")
    gate, value = gate_source[col] + gate_target[index], value_source[col] + value_target[index]
    return (_gated(gate, value, index, count),)


def gated_sum_edges(
    gate_source: Array,
    gate_target: Array,
    value_source: Array,
    value_target: Array,
    features: Array,
    gate_product: Array,
    value_product: Array,
    indptr: Array,
    col: Array,
    row: Array,
    perm: Array,
    num_rows: Array,
) -> tuple[Array]:
    """GatedSum with `features[e]` times a product of its own added to each gate and each value."""
    index, count = rows_of(indptr, row, num_rows, col.size)
    _check_gates(gate_source, gate_target, value_source, value_target, count)
    in_range(col, gate_source.shape[0], "col")
    own = _features(features, perm, col.size)
    if not gate_product.shape == value_product.shape == (own.shape[1], gate_source.shape[1]):
        raise ValueError("the products must have the shape [D, F]")
    gate = gate_source[col] + gate_target[index] + _multiplied(own, gate_product)
    value = value_source[col] + value_target[index] + _multiplied(own, value_product)
    return (_gated(gate, value, index, count),)


def _check_gates(gate_source: Array, gate_target: Array, value_source: Array, value_target: Array, rows: int) -> None:
    if gate_source.ndim != 2 or gate_source.shape != value_source.shape:
        raise ValueError("gates and values of the sources must have the shape [C, F]")
    if not gate_target.shape == value_target.shape == (rows, gate_source.shape[1]):
        raise ValueError("gates and values of the targets must have the shape [R, F]")
