"""Row normalisation in front of a product: rows of x divided by their sums (bags of words), as the product reads them.

RowNormalisation: QuantizeGemm of such rows -> NormalizeQuantizeGemm, which sums, divides and quantizes the entries of a
row that are not zero, and writes no normalised copy of x.
"""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir

from edgegnn.exporting.rewrite.functions import DOMAIN
from edgegnn.exporting.rewrite.graph_editor import Sheet, alone, array, made_by, rank, uniform
from edgegnn.exporting.rewrite.rule import Miss, Rule

__all__ = ["RowNormalisation", "least_sum"]

_SMALLEST, _LARGEST = 1e-30, 1e30  # of a least sum


@dataclass(frozen=True)
class _Product:
    node: ir.Node
    x: ir.Value
    least: float


class RowNormalisation(Rule[_Product]):
    """QuantizeGemm of rows that are divided by their sums."""

    def pattern(self, node: ir.Node, sheet: Sheet) -> _Product | Miss | None:
        """Rows that nothing else reads, of a matrix."""
        divide = made_by(node.inputs[0], "Div") if node.inputs else None
        if node.domain != DOMAIN or not node.op_type.startswith("QuantizeGemm") or divide is None:
            return None
        x, least = divide.inputs[0], least_sum(divide.inputs[0], divide.inputs[1])
        if x is None or least is None:
            return Miss("the rows are divided, but not by their sums with a lower limit")
        if not alone(divide.outputs[0]):
            return Miss("other nodes read the normalised rows, too")
        return _Product(node, x, least)

    def rewrite(self, match: _Product, sheet: Sheet) -> ir.Value:
        """The same product of the rows as they are."""
        node = match.node
        attributes = {**{k: v.value for k, v in node.attributes.items()}, "least_sum": match.least}
        kind, inputs = f"Normalize{node.op_type}", [match.x, *node.inputs[1:]]
        return sheet.make(kind, inputs, attributes, at=node, like=node.outputs[0], domain=DOMAIN)


def least_sum(x: ir.Value | None, divisors: ir.Value | None) -> float | None:
    """The number c where `divisors` are max(sum of the row, c) of each row of the matrix x; None where they aren't."""
    least = made_by(divisors, "Clip", "Max")
    if x is None or rank(x) != 2 or least is None:
        return None
    bounds = list(least.inputs[1:])
    floor = uniform(bounds[0]) if bounds else None
    open_above = least.op_type == "Max" or len(bounds) < 2 or bounds[1] is None
    total = made_by(least.inputs[0], "ReduceSum")
    if total is None or total.inputs[0] is not x or not open_above or (least.op_type == "Max" and len(bounds) != 1):
        return None
    axes = array(total.inputs[1]) if len(total.inputs) > 1 else None
    by_row = axes is not None and axes.size == 1 and int(axes.reshape(-1)[0]) in (-1, 1)
    keeps = total.attributes.get_int("keepdims", 1) == 1
    known = floor is not None and _SMALLEST <= floor <= _LARGEST
    return floor if by_row and keeps and known else None
