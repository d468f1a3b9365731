"""The one operator by which a quantized model says "this tensor is carried in b-bit codes".

`torch.ops.edgegnn.fake_quantize` rounds a float tensor to the grid of its integer codes. It is an opaque operator on
purpose: `torch.export` keeps it as one node, and the exporter makes one QuantizeLinear/DequantizeLinear pair of it.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["code_range", "fake_quantize"]


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
