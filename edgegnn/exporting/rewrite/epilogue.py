"""How much of what follows an integer operator goes into it.

    y = quantize(clip(clip((acc * factor) * row_scale[i] + bias[f] + summand[i, f]) * gain[f] + shift[f])) * late[f]

`absorb` walks from the operator's output along single uses, as long as the next node fits this form.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from edgegnn.exporting.rewrite.graph_editor import Sheet, alone, array, made_by, rank, tail_of

__all__ = ["Epilogue", "absorb"]

_MAX = float(np.finfo(np.float32).max)
_LAYOUT = {"Reshape", "Unsqueeze", "Squeeze", "Flatten", "Identity"}


@dataclass
class Epilogue:
    """What an operator does to its integer sums; `absorb` fills it in.

    Attributes:
        columns: elements of one row.
        factor: float32 `[columns]`, or one number where the operator has no factor for each column.
        bias: float32 `[columns]`, or None.
        per_column: the operator has a factor for each column.
        takes_row_scale: it has a factor for each row.
        takes_summand: it adds another matrix.
        own_rows: the dequantized rows that it adds up: the node's own row may be added to the sum (`self_weight`).
        self_weight: how often.
        row_scales: `[rows]` or `[rows, 1]` each; their product is one factor for each row.
        summand: `[rows, columns]`, or None.
        clip_low, clip_high: limits of the result.
        norm: gain and shift, float32 `[columns]` each, of a batch norm behind the clip; None without one.
        normed_low, normed_high: limits of the result of the batch norm.
        quantize: scale and unsigned zero point of the result's codes; None for a float result.
        late: float32 `[columns]` above 0, a factor for each column of a float result that the operator doesn't apply:
            a Mul behind it; None without one.
    """

    columns: int
    factor: Any = 1.0
    bias: npt.NDArray[np.float32] | None = None
    per_column: bool = False
    takes_row_scale: bool = True
    takes_summand: bool = False
    own_rows: ir.Value | None = None
    self_weight: float = 0.0
    row_scales: tuple[ir.Value, ...] = ()
    summand: ir.Value | None = None
    clip_low: float = -_MAX
    clip_high: float = _MAX
    norm: tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]] | None = None
    normed_low: float = -_MAX
    normed_high: float = _MAX
    quantize: tuple[float, int] | None = None
    late: npt.NDArray[np.float32] | None = None

    def row_scale_input(self, sheet: Sheet, at: ir.Node) -> ir.Value:
        """float32 [rows], or [1]."""
        if not self.row_scales:
            return sheet.floats([1.0])
        product, *more = (sheet.shaped(v, (), at) for v in self.row_scales)
        for factor in more:
            product = sheet.make("Mul", [product, factor], at=at, like=factor)
        return product

    def bias_input(self, sheet: Sheet) -> ir.Value:
        """float32 [columns], or [1]."""
        return sheet.floats([0.0] if self.bias is None else self.bias)

    @property
    def clipped(self) -> bool:
        """Only further limits, a batch norm and the codes can follow."""
        return self.norm is not None or self.clip_low > -_MAX or self.clip_high < _MAX


def absorb(value: ir.Value, fit: Epilogue) -> ir.Value:
    """Take what follows `value` into `fit`; the value that the operator gives instead."""
    while fit.quantize is None and alone(value):
        (use,) = value.uses()
        step = _STEPS.get(use.node.op_type)
        if use.node.domain or step is None or not step(use.node, value, fit):
            break
        value = use.node.outputs[0]
    return value


def _other(node: ir.Node, value: ir.Value) -> ir.Value | None:
    return node.inputs[1] if node.inputs[0] is value else node.inputs[0]


def _columns(other: ir.Value | None, fit: Epilogue) -> npt.NDArray[np.float32] | None:
    """A constant as one number a column (or one for all); None for anything else."""
    known = array(other)
    if known is None or known.size not in (1, fit.columns) or known.dtype.kind != "f":
        return None
    if known.ndim > 1 and known.size > 1 and known.shape[0] != 1 and known.size == known.shape[0]:
        return None  # [columns, 1]: one number a row
    return known.astype(np.float32).reshape(-1)


def _scale_by(node: ir.Node, value: ir.Value, fit: Epilogue) -> bool:
    other = _other(node, value)
    divides = node.op_type == "Div"
    if fit.clipped or (divides and node.inputs[0] is not value):
        return False
    factor = _columns(other, fit)
    if factor is not None:
        if fit.summand is not None or (factor.size > 1 and not fit.per_column):
            return False
        factor = (1 / factor if divides else factor).astype(np.float32)
        if not np.isfinite(factor).all():
            return False
        fit.own_rows = None  # from here on the sums are other numbers than the rows
        fit.factor = (fit.factor * factor).astype(np.float32) if fit.per_column else float(fit.factor * factor[0])
        if fit.bias is not None:
            fit.bias = (fit.bias * factor).astype(np.float32)
        return True
    if other is None or divides or not fit.takes_row_scale or not rank(other) == rank(value) == 2:
        return False
    known = array(other)
    if tail_of(other) != (1,) or (known is not None and len(known) < 2):
        return False
    if fit.bias is not None or fit.summand is not None:
        return False
    fit.row_scales += (other,)
    return True


def _add(node: ir.Node, value: ir.Value, fit: Epilogue) -> bool:
    other = _other(node, value)
    if fit.clipped or other is None or other is value:
        return False
    bias = _columns(other, fit)
    if bias is not None:
        bias = bias if fit.late is None else bias / fit.late
        before = np.zeros(fit.columns, np.float32) if fit.bias is None else fit.bias
        fit.bias = (before + bias).astype(np.float32)
        return True
    own = _times_own_rows(other, fit)
    if own is not None and fit.self_weight == 0 and not fit.row_scales and fit.bias is None:
        fit.self_weight = own
        return True
    same = rank(other) == rank(value) == 2 and tail_of(other) == tail_of(value) == (fit.columns,)
    if same and fit.takes_summand and fit.summand is None and array(other) is None and _same_rows(other, value):
        fit.summand = other
        return True
    return False


def _times_own_rows(other: ir.Value, fit: Epilogue) -> float | None:
    if fit.own_rows is None:
        return None
    if other is fit.own_rows:
        return 1.0
    node = made_by(other, "Mul")
    if node is None or fit.own_rows not in node.inputs:
        return None
    factor = array(_other(node, fit.own_rows))
    return float(factor.flat[0]) if factor is not None and factor.size == 1 else None


def _same_rows(a: ir.Value, b: ir.Value) -> bool:
    """A row of one is broadcast; only equal sizes may be added in place."""
    if a.shape is None or b.shape is None:
        return False
    first = a.shape[0], b.shape[0]
    return first[0] != 1 and first[1] != 1


def _norm(node: ir.Node, value: ir.Value, fit: Epilogue) -> bool:
    """Batch norm with constant statistics is a factor and a bias for each column."""
    if fit.norm is not None or not fit.per_column or node.inputs[0] is not value:
        return False
    known = [array(v) for v in node.inputs[1:5]]
    if any(k is None or k.size != fit.columns for k in known) or rank(value) != 2:
        return False
    gain, shift, mean, variance = (k.astype(np.float64) for k in known if k is not None)
    factor = gain / np.sqrt(variance + node.attributes.get_float("epsilon", 1e-5))
    if fit.clipped or fit.summand is not None:
        fit.norm = factor.astype(np.float32), (shift - mean * factor).astype(np.float32)
        return True
    bias = (0.0 if fit.bias is None else fit.bias.astype(np.float64)) - mean
    fit.bias = (bias * factor + shift).astype(np.float32)
    fit.factor = (fit.factor * factor).astype(np.float32)
    return True


def _clip(node: ir.Node, value: ir.Value, fit: Epilogue) -> bool:
    low, high = (0.0, _MAX) if node.op_type == "Relu" else (-_MAX, _MAX)
    for i, given in enumerate(node.inputs[1:]):
        known = array(given)
        if given is None:
            continue
        if known is None or known.size != 1:
            return False
        low, high = (float(known.flat[0]), high) if i == 0 else (low, float(known.flat[0]))
    if fit.late is not None and (low not in (0.0, -_MAX) or high != _MAX):
        return False  # only a limit of 0 is the same in front of the late factor
    earlier = (fit.clip_low, fit.clip_high) if fit.norm is None else (fit.normed_low, fit.normed_high)
    both = max(low, earlier[0]), min(high, earlier[1])
    if node.inputs[0] is not value or both[0] > both[1]:
        return False  # min(max(x, a), b) twice is once only where the ranges overlap
    if fit.norm is None:
        fit.clip_low, fit.clip_high = both
    else:
        fit.normed_low, fit.normed_high = both
    return True


def _quantize(node: ir.Node, value: ir.Value, fit: Epilogue) -> bool:
    scale, zero = array(node.inputs[1]), array(node.inputs[2]) if len(node.inputs) > 2 else np.zeros(1, np.uint8)
    codes = node.outputs[0]
    if scale is None or zero is None or scale.size != 1 or zero.dtype not in (np.uint8, np.int8):
        return False
    if fit.late is not None:
        return False
    if node.inputs[0] is not value or codes.is_graph_output():
        return False
    if zero.dtype == np.int8 and not all(use.node.op_type == "DequantizeLinear" for use in codes.uses()):
        return False
    fit.quantize = float(scale.flat[0]), int(zero.flat[0]) + (128 if zero.dtype == np.int8 else 0)
    return True


def _layout(node: ir.Node, value: ir.Value, fit: Epilogue) -> bool:
    """A new layout of each row; the rows stay."""
    tails = tail_of(value), tail_of(node.outputs[0])
    return node.inputs[0] is value and all(t is not None and int(np.prod(t)) == fit.columns for t in tails)


_STEPS = {
    "Mul": _scale_by,
    "Div": _scale_by,
    "Add": _add,
    "BatchNormalization": _norm,
    "Relu": _clip,
    "Clip": _clip,
    "QuantizeLinear": _quantize,
    **dict.fromkeys(_LAYOUT, _layout),
}
