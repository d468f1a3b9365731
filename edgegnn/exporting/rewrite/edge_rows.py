"""Sums of rows that are looked up at the ends of the edges, and of products of the edges' own features."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from edgegnn.exporting.rewrite.codes import dequantized_weight
from edgegnn.exporting.rewrite.csr import edge_row
from edgegnn.exporting.rewrite.graph_editor import array, axis_of, made_by, number, rank, same_values, tail_of

__all__ = ["SOURCE", "TARGET", "EndRows", "Ends", "FeatureProduct", "end_rows", "feature_product", "known_numbers"]

Floats = npt.NDArray[np.float32]
SOURCE, TARGET = 0, 1


@dataclass(frozen=True)
class FeatureProduct:
    """Features of the edges times a constant: [E, D] by [D, H * K]."""

    features: ir.Value
    weight: Floats


@dataclass(frozen=True)
class EndRows:
    """A sum [E, H, K] of rows that are looked up at the ends of the edges, and of products of the edges' features.

    Attributes:
        ends: what is looked up, by the end; each once.
        product: of the features, None where there is none.
        tail: (H, K).
    """

    ends: dict[int, ir.Value]
    product: FeatureProduct | None
    tail: tuple[int, int]


@dataclass(frozen=True)
class Ends:
    """The edges that a weighted sum is over: which end an index names."""

    edges: ir.Value
    turned: int

    def of(self, index: ir.Value | None) -> int | None:
        """SOURCE or TARGET, None for an index of other edges."""
        found = edge_row(index)
        return None if found is None or found[0] is not self.edges else found[1] ^ self.turned


def end_rows(value: ir.Value | None, ends: Ends) -> EndRows | None:
    """A sum of rows, None where something else is in it."""
    tail = None if value is None else tail_of(value)
    if tail is None:
        return None
    found: dict[int, ir.Value] = {}
    products: list[FeatureProduct] = []
    summands = [value]
    while summands:
        same = same_values(summands.pop())
        node = made_by(same, "Add")
        if node is not None and all(v is not None and tail_of(v) == tail for v in (same, *node.inputs)):
            summands += list(node.inputs)
            continue
        rows = made_by(same, "Gather")
        end = None if rows is None or axis_of(rows) or rank(rows.inputs[1]) != 1 else ends.of(rows.inputs[1])
        if rows is not None and end is not None and end not in found and rows.inputs[0] is not None:
            found[end] = rows.inputs[0]
            continue
        product = feature_product(same)
        if product is None:
            return None
        products.append(product)
    if len(products) > 1 or len(tail) > 2:
        return None
    heads = tail if len(tail) == 2 else (1, *tail)
    return EndRows(found, products[0] if products else None, (heads[0], heads[1]))


def feature_product(value: ir.Value | None) -> FeatureProduct | None:
    """Narrow features of the edges times a constant matrix, without a bias."""
    node = made_by(value, "MatMul", "Gemm")
    if node is None or node.domain or len([v for v in node.inputs if v is not None]) != 2:
        return None
    features = node.inputs[0]
    if features is None or rank(features) != 2 or features.dtype != ir.DataType.FLOAT or features.shape is None:
        return None
    if any(node.attributes.get_float(name, 1.0) != 1.0 for name in ("alpha", "beta")) or number(node, "transA"):
        return None
    tail, weight = tail_of(features), known_numbers(node.inputs[1])
    if weight is None or weight.ndim != 2 or features.shape[0] == 1 or tail is None:
        return None
    weight = weight.T if number(node, "transB") else weight
    return FeatureProduct(features, np.ascontiguousarray(weight)) if tail == weight.shape[:1] else None


def known_numbers(value: ir.Value | None) -> Floats | None:
    """A constant's numbers, also those of one that is stored in codes."""
    node = dequantized_weight(value)
    if node is None:
        known = array(value)
        return None if known is None else known.astype(np.float32)
    codes, scale, zero = (array(v) for v in (*node.inputs, None)[:3])
    if codes is None or scale is None:
        return None
    axis, shift = number(node, "axis") if "axis" in node.attributes else 1, np.zeros(1) if zero is None else zero
    along = [-1 if i == axis % max(codes.ndim, 1) else 1 for i in range(codes.ndim)]
    if any(v.size != 1 and (v.ndim != 1 or v.size != codes.shape[axis]) for v in (scale, shift)):
        return None
    steps, middle = (v.astype(np.float32).reshape(along if v.size > 1 else ()) for v in (scale, shift))
    return ((codes.astype(np.float32) - middle) * steps).astype(np.float32)
