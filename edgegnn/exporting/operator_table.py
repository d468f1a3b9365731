"""Operators of PyTorch that its ONNX exporter lacks, or translates to something slow or inexact."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from onnxscript import opset18

__all__ = ["own_table"]


def own_table() -> dict[Callable[..., Any], Callable[..., Any]]:
    """Operator -> what gives its ONNX form."""
    return _OURS


def _sort_stable(x, *, stable: bool = False, dim: int = -1, descending: bool = False):  # type: ignore[no-untyped-def]
    """`aten::sort.stable`, which the exporter lacks: ONNX's TopK puts the lower of two equal entries first."""
    size = opset18.Gather(opset18.Shape(x), [dim])
    return opset18.TopK(x, size, axis=dim, largest=descending, sorted=True)


def _amax(x, dim=(), keepdim: bool = False):  # type: ignore[no-untyped-def]
    """`aten::amax`, which the exporter knows with axes only."""
    return opset18.ReduceMax(x, dim, keepdims=keepdim) if dim else opset18.ReduceMax(x, keepdims=keepdim)


def _amin(x, dim=(), keepdim: bool = False):  # type: ignore[no-untyped-def]
    """`aten::amin`, which the exporter knows with axes only."""
    return opset18.ReduceMin(x, dim, keepdims=keepdim) if dim else opset18.ReduceMin(x, keepdims=keepdim)


def _log1p(x):  # type: ignore[no-untyped-def]
    """`aten::log1p`; the exporter's own rounds x away in 1 + x."""
    near = opset18.Mul(opset18.Atanh(opset18.Div(x, opset18.Add(x, 2.0))), 2.0)
    return opset18.Where(opset18.Less(opset18.Abs(x), 1.0), near, opset18.Log(opset18.Add(x, 1.0)))


def _expm1(x):  # type: ignore[no-untyped-def]
    """`aten::expm1`; the exporter's own rounds a small result away in exp(x) - 1."""
    half = opset18.Mul(x, 0.5)
    near = opset18.Mul(opset18.Mul(opset18.Sinh(half), opset18.Exp(half)), 2.0)
    return opset18.Where(opset18.Less(opset18.Abs(x), 1.0), near, opset18.Sub(opset18.Exp(x), 1.0))


def _log_sigmoid(x):  # type: ignore[no-untyped-def]
    """`aten::log_sigmoid`; the exporter's own is the logarithm of 0 below -18."""
    return opset18.Neg(opset18.Softplus(opset18.Neg(x)))


def _atan2(y, x):  # type: ignore[no-untyped-def]
    """`aten::atan2`; the exporter's own gives -pi for y = 0 and x < 0, and turns the sign where x is -0."""
    slope = opset18.Atan(opset18.Div(y, opset18.Add(x, 0.0)))
    zero = opset18.CastLike(0.0, y)
    turn = opset18.Where(opset18.Less(y, zero), math.pi * -1.0, math.pi)
    angle = opset18.Where(opset18.Less(x, zero), opset18.Add(slope, turn), slope)
    return opset18.Where(opset18.And(opset18.Equal(x, zero), opset18.Equal(y, zero)), zero, angle)


def _repeated(repeats, *, output_size=None):  # type: ignore[no-untyped-def]
    """`aten::repeat_interleave.Tensor`; the exporter's own compares every repeat with every row."""
    ends = opset18.CumSum(repeats, 0)
    total = opset18.ReduceSum(repeats, keepdims=True)
    # How many rows end at each place: one place more, where the last rows end.
    none = opset18.Expand(opset18.CastLike(0, repeats), opset18.Add(total, 1))
    marks = opset18.ScatterElements(
        none, ends, opset18.Expand(opset18.CastLike(1, repeats), opset18.Shape(ends)), axis=0, reduction="add"
    )
    return opset18.Slice(opset18.CumSum(marks, 0), [0], total, [0])


def _repeated_rows(x, repeats, dim=None, *, output_size=None):  # type: ignore[no-untyped-def]
    """`aten::repeat_interleave.self_Tensor`; the exporter's own takes axis 0 for any."""
    flat = opset18.Reshape(x, [-1]) if dim is None else x
    axis = dim or 0
    size = opset18.Gather(opset18.Shape(flat), [axis])
    each = opset18.Expand(opset18.Reshape(repeats, [-1]), size)  # one number is for all
    return opset18.Gather(flat, _repeated(each), axis=axis)


_OURS: dict[Callable[..., Any], Callable[..., Any]] = {
    torch.ops.aten.atan2.default: _atan2,
    torch.ops.aten.log1p.default: _log1p,
    torch.ops.aten.expm1.default: _expm1,
    torch.ops.aten.log_sigmoid.default: _log_sigmoid,
    torch.ops.aten.sort.stable: _sort_stable,
    torch.ops.aten.repeat_interleave.Tensor: _repeated,
    torch.ops.aten.repeat_interleave.self_Tensor: _repeated_rows,
    torch.ops.aten.amax.default: _amax,
    torch.ops.aten.amin.default: _amin,
}
