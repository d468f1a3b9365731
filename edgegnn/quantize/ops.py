"""The operators by which a quantized model says "this tensor is carried in b-bit codes".

`torch.ops.edgegnn.fake_quantize` rounds a float tensor to the grid of its integer codes, `learnt_quantize` to one of
steps and widths of each row or column. They are opaque operators on purpose: `torch.export` keeps each as one node, and
the exporter makes a QuantizeLinear/DequantizeLinear pair of it.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["code_range", "fake_quantize", "learnt_quantize"]


def code_range(bits: int) -> tuple[int, int]:
    """Smallest and largest signed code of `bits` bits (Degree-Quant, 2008.05000, section 2.3 of its quantizer)."""
    return -(2 ** (bits - 1)), 2 ** (bits - 1) - 1


@torch.library.custom_op("edgegnn::fake_quantize", mutates_args=())
def fake_quantize(x: Tensor, scale: Tensor, zero_point: Tensor, axis: int, bits: int, name: str) -> Tensor:
    """Round `x` to its `bits`-bit codes and back.

    Rounds as ONNX's QuantizeLinear does, `clip(round(x / scale) + zero_point)` with halves to even, so that
    PyTorch and ONNX Runtime agree on every value that is not the result of a differently ordered sum.

    Args:
        x: float32, any shape.
        scale: float32 `[1]` (per tensor) or `[C]` (per channel of `axis`).
        zero_point: int32, the shape of `scale`; a signed code.
        axis: the channel axis, -1 for per tensor.
        bits: width of the codes, 2 to 8.
        name: unique name of the quantization point; the exporter names the Q/DQ pair after it.

    Returns:
        float32 of the shape of `x`.
    """
    low, high = code_range(bits)
    if axis >= 0:
        shape = [1] * x.dim()
        shape[axis] = -1
        scale, zero_point = scale.view(shape), zero_point.view(shape)
    codes = torch.div(x, scale).round_().add_(zero_point).clamp_(low, high)
    return codes.sub_(zero_point).mul_(scale)


@fake_quantize.register_fake
def _(x: Tensor, scale: Tensor, zero_point: Tensor, axis: int, bits: int, name: str) -> Tensor:
    return torch.empty_like(x)


@torch.library.custom_op("edgegnn::learnt_quantize", mutates_args=())
def learnt_quantize(
    x: Tensor, step: Tensor, bits: Tensor, boundaries: Tensor, axis: int, signed: bool, name: str
) -> Tensor:
    """Round each row (or column) to codes of its own step and width, and back: A2Q (2302.00193) as it is deployed.

        top = 2^(B - 1) - 1,    low = -top if signed else 0,    x_q = step * clip(round(x / step), low, top)

    Halves are rounded to even, as QuantizeLinear does.

    Args:
        x: float32 `[rows, columns]`.
        step: float32 `[size]` above 0; size is the number of rows (of columns with axis 1), of groups, or 1.
        bits: int8 `[size]`, B from 1 to 8.
        boundaries: float32 `[size - 1]`, rising: a row belongs to the group k with boundaries[k - 1] < largest <=
            boundaries[k], its largest magnitude (value where not `signed`); `[0]`: no groups.
        axis: 0: a step for each row, 1: for each column.
        signed: whether codes below 0 exist.
        name: unique name of the quantization point.

    Returns:
        float32 of the shape of `x`.
    """
    top = torch.exp2(bits.to(x.dtype) - 1) - 1
    if boundaries.numel():
        values = x.abs() if signed else x
        largest = values.amax(1) if x.shape[1] else x.new_zeros(x.shape[0])
        group = torch.searchsorted(boundaries, largest)
        step, top = step[group], top[group]
    step, top = step.unsqueeze(1 - axis), top.unsqueeze(1 - axis)
    low = -top if signed else torch.zeros_like(top)
    return torch.maximum(torch.minimum(x / step, top), low).round() * step


@learnt_quantize.register_fake
def _(x: Tensor, step: Tensor, bits: Tensor, boundaries: Tensor, axis: int, signed: bool, name: str) -> Tensor:
    return torch.empty_like(x)
