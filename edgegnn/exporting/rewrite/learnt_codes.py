"""Codes whose steps and widths were learnt (A2Q): one operator in the place of the five that make them.

LearntCodes     Div by learnt steps, limits and QuantizeLinear -> QuantizeRows
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from edgegnn.exporting.rewrite.functions import DOMAIN
from edgegnn.exporting.rewrite.graph_editor import Sheet, alone, array, made_by, rank, tail_of
from edgegnn.exporting.rewrite.rule import Miss, Rule

__all__ = ["LearntCodes"]


@dataclass(frozen=True)
class _Learnt:
    codes: ir.Node
    x: ir.Value
    step: ir.Value
    top: ir.Value
    signed: bool


class LearntCodes(Rule[_Learnt]):
    """Div by a step, limits and QuantizeLinear become QuantizeRows; so does a number for each column in front of them.

    Learnt steps and widths (A2Q), see `lower_learnt.py`. The rules for sums and products come first: their
    epilogues take the same nodes in where the steps are those of columns.
    """

    def pattern(self, node: ir.Node, sheet: Sheet) -> _Learnt | Miss | None:
        """Q(max(min(x / step, top), -top)), or 0 in the place of -top where codes have no sign."""
        if node.op_type != "QuantizeLinear" or node.domain or len(node.inputs) < 3 or node.inputs[0] is None:
            return None
        scale, zero = (array(v) for v in node.inputs[1:3])
        one = scale is not None and scale.size == 1 and float(scale.flat[0]) == 1.0
        if not one or zero is None or zero.dtype != np.uint8 or zero.size != 1 or int(zero.flat[0]) not in (0, 128):
            return None
        signed, inside = int(zero.flat[0]) == 128, node.inputs[0]
        clip = made_by(inside, "Clip", "Max")
        if clip is None or len(clip.inputs) < 2:
            return None
        if clip.op_type == "Clip":
            scaled, low, top = (*clip.inputs, None)[:3]
        else:
            below, low = made_by(clip.inputs[0], "Min"), clip.inputs[1]
            if below is None or len(below.inputs) != 2:
                return None
            if not alone(below.outputs[0]):
                return Miss("other nodes use the limited values in front of learnt codes, too")
            scaled, top = below.inputs
        divide = made_by(scaled, "Div")
        if divide is None or top is None:
            return None
        if not all(alone(v) for v in (inside, divide.outputs[0])):
            return Miss("other nodes use the scaled values in front of learnt codes, too")
        x, step = divide.inputs
        if x is None or step is None or rank(x) != 2 or tail_of(x) != tail_of(divide.outputs[0]):
            return Miss("learnt codes of what is no matrix of known width")
        spread = {_spread(step), _spread(top)}
        if "" in spread or spread == {"rows", "columns"}:
            return Miss("learnt steps and limits are not both one number, one for each row, or one for each column")
        if not _is_lower_end(low, top, signed=signed):
            return Miss("the lower limit of learnt codes is neither the upper one with a minus nor 0")
        return _Learnt(node, x, step, top, signed)

    def rewrite(self, found: _Learnt, sheet: Sheet) -> ir.Value:
        """Take in a product with a constant for each column, too: a sum of learnt columns is followed by one."""
        x, factor, codes = found.x, sheet.floats([1.0]), found.codes.outputs[0]
        product = made_by(x, "Mul")
        if product is not None and alone(x):
            for value, other in (product.inputs, product.inputs[::-1]):
                known = array(other)
                if value is None or other is None or known is None or rank(value) != 2:
                    continue
                if known.shape == (1, *(tail_of(value) or ())):
                    x, factor = value, other
        inputs, signed = [x, found.step, found.top, factor], {"signed": int(found.signed)}
        return sheet.make("QuantizeRows", inputs, signed, at=found.codes, like=codes, domain=DOMAIN)


def _spread(value: ir.Value) -> str:
    """Whether there is "one" number for all, or one for each of the "rows" or "columns"; "" for anything else."""
    known = array(value)
    if known is not None and known.size == 1:
        return "one"
    if rank(value) != 2 or value.shape is None or 1 not in tuple(value.shape):
        return ""
    return "rows" if value.shape[1] == 1 else "columns"


def _is_lower_end(low: ir.Value | None, top: ir.Value, *, signed: bool) -> bool:
    ends, tops = array(low), array(top)
    if not signed:
        return ends is not None and not ends.any()
    negative = made_by(low, "Neg")
    if negative is not None:
        return negative.inputs[0] is top
    return ends is not None and tops is not None and ends.shape == tops.shape and bool((ends == -tops).all())
