"""The sparse kernels of a TorchScript model, written in the part of Python that TorchScript compiles.

The same functions are compiled into the file, and timed here by the export: a sum over edges as a product with a CSR
matrix, a product with a pruned weight in CSR form, and the codes of quantized tensors.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = [
    "csr",
    "csr_columns",
    "csr_sum",
    "csr_sum_heads",
    "dequantize",
    "fake_quantize",
    "filled",
    "learnt_quantize",
    "sparse_linear",
]


def csr(index: Tensor, rows: int) -> tuple[Tensor, Tensor]:
    """Group edges by row: what a CSR matrix needs besides its columns and values.

    Args:
        index: [E] int64, the row of each edge.
        rows: number of rows.

    Returns:
        Row pointers [rows + 1], and the edges in the order of their rows [E]; edges of one row keep their order.
    """
    ordered, order = torch.sort(index, stable=True, dim=0, descending=False)
    if index.numel() > 0:
        assert int(ordered[0]) >= 0, "index out of range: a negative target"
        assert int(ordered[-1]) < rows, "index out of range: a target that is not there"
    # PyTorch's own conversion to CSR writes without looking.
    counts = torch.bincount(ordered, minlength=rows)
    return torch.cat([torch.zeros([1], dtype=torch.int64), torch.cumsum(counts, 0)]), order


def csr_columns(index: Tensor, order: Tensor, columns: int) -> Tensor:
    """Columns of a CSR matrix: the sources of the edges, in the order of their rows [E]."""
    if index.numel() > 0:
        assert int(index.min()) >= 0, "index out of range: a negative source"
        assert int(index.max()) < columns, "index out of range: a source that is not there"
    return index.index_select(0, order)


def csr_sum(x: Tensor, rowptr: Tensor, columns: Tensor, weight: Tensor | None) -> Tensor:
    """Product of a CSR matrix with x: out[i] = sum over the k of row i of weight[k] * x[columns[k]].

    Args:
        x: [M, ...] float; the product is over its first axis.
        rowptr: [N + 1].
        columns: [E].
        weight: [E] in the order of the columns, or None for ones.

    Returns:
        [N, ...].
    """
    matrix = x.unsqueeze(1) if x.dim() == 1 else x.flatten(1).contiguous()
    # Of PyTorch's products with a CSR matrix on a CPU the fastest.
    out = torch.embedding_bag(matrix, columns, rowptr, False, 0, False, weight, True)[0]
    shape = list(x.size())
    shape[0] = rowptr.size(0) - 1
    return out.view(shape)


def csr_sum_heads(x: Tensor, rowptr: Tensor, columns: Tensor, weight: Tensor) -> Tensor:
    """`csr_sum` for x [M, H, C] with one weight for each edge and head, [E, H]."""
    heads = []
    for head in range(x.size(1)):
        heads.append(csr_sum(x.select(1, head), rowptr, columns, weight.select(1, head).contiguous()))
    return torch.stack(heads, 1)


def sparse_linear(x: Tensor, rowptr: Tensor, columns: Tensor, values: Tensor, bias: Tensor | None) -> Tensor:
    """`linear` with a weight [out, in] in CSR form.

    The result is a transposed view: a layer of the same kind after it needs no copy.

    Args:
        x: [..., in] float.
        rowptr: [out + 1] int32.
        columns: [K] int32.
        values: [K].
        bias: [out], or None.

    Returns:
        [..., out].
    """
    out = csr_sum(x.reshape(-1, x.size(-1)).t(), rowptr, columns, values).t()
    if bias is not None:
        out = out + bias
    shape = list(x.size())
    shape[-1] = out.size(1)
    return out.reshape(shape)  # a view where x is a matrix


def filled(bits: Tensor, values: Tensor, shape: list[int]) -> Tensor:
    """A pruned weight that is multiplied densely: its values where a bit is set, zeros elsewhere.

    Args:
        bits: uint8, eight entries of the weight in each, the lowest bit first.
        values: the entries that are not zero, in order.
        shape: of the weight.
    """
    out = torch.zeros(shape, dtype=values.dtype)
    flags = bits.unsqueeze(1).bitwise_right_shift(torch.arange(8, dtype=torch.uint8)).bitwise_and(1).view(-1)
    return out.masked_scatter(flags.narrow(0, 0, out.numel()).view(shape).to(torch.bool), values)


def fake_quantize(x: Tensor, scale: Tensor, zero_point: Tensor, axis: int, bits: int) -> Tensor:
    """What the operator `edgegnn::fake_quantize` computes: x rounded to the grid of its codes."""
    high = 2 ** (bits - 1) - 1
    if axis >= 0:
        shape = [1] * x.dim()
        shape[axis] = -1
        scale, zero_point = scale.view(shape), zero_point.view(shape)
    return torch.div(x, scale).round_().add_(zero_point).clamp_(-high - 1, high).sub_(zero_point).mul_(scale)


def learnt_quantize(x: Tensor, step: Tensor, bits: Tensor, boundaries: Tensor, axis: int, signed: bool) -> Tensor:
    """What the operator `edgegnn::learnt_quantize` computes: rows or columns of x rounded to codes of their own."""
    top = torch.exp2(bits.to(x.dtype) - 1) - 1
    if boundaries.numel() > 0:
        values = x.abs() if signed else x
        group = torch.searchsorted(boundaries, values.amax([1]))
        step, top = step[group], top[group]
    step, top = step.unsqueeze(1 - axis), top.unsqueeze(1 - axis)
    low = -top if signed else torch.zeros_like(top)
    return torch.maximum(torch.minimum(x / step, top), low).round() * step


def dequantize(codes: Tensor, scale: Tensor, zero_point: Tensor) -> Tensor:
    """Values of integer codes: (codes - zero_point) * scale, in scale's type."""
    # Nothing in place: `torch.jit.freeze` computes it once when the file is loaded.
    return (codes.to(scale.dtype) - zero_point) * scale
