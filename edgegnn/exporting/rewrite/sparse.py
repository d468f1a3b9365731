"""Sparse input features: most entries of a bag of words are zero.

SparseInput: the product of the input x with a constant weight -> SparseGemm, which skips zeros. Exact for any x; worth
it where most rows are mostly zeros, which only the data can tell (`sparse_features`). Where each row of x is divided by
its sum first (row normalisation), NormalizeSparseGemm; by another number of its own, the product is divided instead: it
has fewer columns.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from edgegnn.exporting.rewrite.functions import DOMAIN
from edgegnn.exporting.rewrite.graph_editor import Sheet, array, made_by, rank
from edgegnn.exporting.rewrite.row_normalisation import least_sum
from edgegnn.exporting.rewrite.rule import Miss, Rule

__all__ = ["SparseInput", "sparse_features"]

MOST = 0.1  # share of entries that are not zero, at most


def sparse_features(x: npt.NDArray[Any]) -> bool:
    """Whether few enough entries of x [N, F] are not zero."""
    return x.size > 0 and int(np.count_nonzero(x)) < MOST * x.size


@dataclass(frozen=True)
class _Product:
    x: ir.Value  # [M, K]
    rows: ir.Value | None  # [M, 1], what each row of x is divided by
    weight: npt.NDArray[np.float32]  # [K, N]
    bias: npt.NDArray[np.float32]


class SparseInput(Rule[tuple[ir.Node, _Product]]):
    """Gemm or MatMul of the graph's input x with a float weight."""

    def pattern(self, node: ir.Node, sheet: Sheet) -> tuple[ir.Node, _Product] | Miss | None:
        """X is the first input of the graph, a float matrix."""
        x, rows = _divided(node.inputs[0] if node.inputs else None)
        if node.op_type not in {"Gemm", "MatMul"} or node.domain or x is None or x is not sheet.graph.inputs[0]:
            return None
        weight = array(node.inputs[1])
        if rank(x) != 2 or weight is None or weight.ndim != 2 or weight.dtype != np.float32:
            return Miss("the sparse x is multiplied by what is no float32 matrix known at export")
        plain = all(node.attributes.get_float(k, 1.0) == 1.0 for k in ("alpha", "beta"))
        if not plain or node.attributes.get_int("transA", 0) == 1:
            return Miss("the product of the sparse x has alpha, beta or transA")
        weight = weight.T if node.attributes.get_int("transB", 0) == 1 else weight
        bias = array(node.inputs[2]) if len(node.inputs) > 2 else np.zeros(1, np.float32)
        if bias is None or bias.size not in (1, weight.shape[1]):
            return Miss("the bias of the product of the sparse x is not one number for each column, known at export")
        return node, _Product(x, rows, np.ascontiguousarray(weight), bias.reshape(-1))

    def rewrite(self, match: tuple[ir.Node, _Product], sheet: Sheet) -> ir.Value:
        """X @ weight + bias."""
        node, found = match
        out, weight = node.outputs[0], sheet.constant(found.weight)
        inputs = [found.x, weight, sheet.floats(found.bias)]
        if found.rows is None:
            return sheet.make("SparseGemm", inputs, at=node, like=out, domain=DOMAIN)
        least = least_sum(found.x, found.rows)
        if least is not None:
            return sheet.make("NormalizeSparseGemm", inputs, {"least_sum": least}, at=node, like=out, domain=DOMAIN)
        product = sheet.make("SparseGemm", [found.x, weight, sheet.floats([0.0])], at=node, like=out, domain=DOMAIN)
        product = sheet.make("Div", [product, found.rows], at=node, like=out)
        return (
            sheet.make("Add", [product, sheet.floats(found.bias)], at=node, like=out) if found.bias.any() else product
        )


def _divided(value: ir.Value | None) -> tuple[ir.Value | None, ir.Value | None]:
    """The dividend and the divisors of a division by one number for each row; the value itself and None otherwise."""
    node = made_by(value, "Div")
    rows = None if node is None else node.inputs[1]
    if node is None or rows is None or rank(rows) != 2 or rows.shape is None or rows.shape[1] != 1:
        return value, None
    return node.inputs[0], rows
