"""Quantizers of A2Q (2302.00193, ICLR 2023): step and bit width of every node are learnt.

    features in front of a product   one step and one bit width per node of a fixed graph; for graphs not seen before,
                                     groups of them, and each node takes the group that reaches closest to its largest
                                     value (the paper's Nearest Neighbour Strategy)
    rows in front of a sum           one step per column at fixed bits: rows of different steps can't be added as codes
    weights                          one step per output channel at fixed bits

A step is kept as its logarithm, so that a learning rate means the same at any magnitude and a step stays above 0. A
point that never saw a negative value while training has no sign bit: its codes are those of B - 1 bits (the paper's own
accounting), and negative values become 0.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from edgegnn.errors import QuantizeError
from edgegnn.quantize.recipe import Recipe

__all__ = [
    "MAX_BITS",
    "A2QPoint",
    "a2q_quantize",
    "average_bits",
    "kind_and_size",
    "memory_penalty",
    "nearest_group",
    "parameter_groups",
]

MAX_BITS = 8  # the paper's code has no limit; codes are stored in bytes
_GROUP_SHARE = 0.1  # of the bit width's rate: a group is trained by many batches an epoch, a node by one
_DECAY = 0.95  # of the count of rows by group, per batch


def _levels(bits: Tensor) -> Tensor:
    """B = round(|b|), the width in bits with sign, 1 to MAX_BITS."""
    return bits.detach().abs().round().clamp(1, MAX_BITS)


class _Quantize(torch.autograd.Function):
    """Sections 3.1 and 3.2 of the facts: symmetric codes, and the derivatives to step and bit width."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, step: Tensor, bits: Tensor, local: bool) -> Tensor:
        top = torch.exp2(_levels(bits) - 1) - 1
        codes = torch.floor(x.abs() / step + 0.5)
        inside = codes <= top
        out = torch.sign(x) * torch.minimum(codes, top) * step
        ctx.save_for_backward(x, step, top, inside, out)
        ctx.bits_shape, ctx.local = bits.shape, local
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor, Tensor, None]:
        x, step, top, inside, out = ctx.saved_tensors
        sign = torch.sign(x)
        of_step = torch.where(inside, (out - x) / step, sign * top)
        of_bits = torch.where(inside, torch.zeros_like(x), sign * (top + 1) * (math.log(2) * step))
        weight = grad
        if ctx.local:  # mean absolute error over the values that share a step, in place of the task
            weight = torch.sign(out - x) * (step.numel() / max(1, x.numel()))
        of_x = grad * inside if ctx.needs_input_grad[0] else None
        return of_x, (weight * of_step).sum_to_size(step.shape), (weight * of_bits).sum_to_size(ctx.bits_shape), None


def a2q_quantize(x: Tensor, step: Tensor, bits: Tensor, *, local: bool = False) -> Tensor:
    """Round to x_q = s * sign(x) * min(floor(|x| / s + 1/2), 2^(B-1) - 1), B = round(|b|), b learnable.

    Args:
        x: float32 `[rows, columns]`; its gradient is straight-through, 0 where it is clipped.
        step: float32 above 0, `[rows, 1]` or `[1, columns]`.
        bits: float32 b, `[rows, 1]` or `[1, 1]`.
        local: True gives step and bits the gradient of the mean absolute error |x_q - x| of the values that share a
            step; False that of the task.
    """
    return _Quantize.apply(x, step, bits, local)


def nearest_group(largest: Tensor, step: Tensor, bits: Tensor) -> Tensor:
    """For each row the group k with the least |f_i - q_k|, q_k = s_k (2^(B_k - 1) - 1) (the paper's Algorithm 1).

    Args:
        largest: float `[rows]`, f_i = max_j |x_ij|.
        step: float `[groups]`.
        bits: float `[groups]`.

    Returns:
        int64 `[rows]`.
    """
    reach, order = (step * (torch.exp2(_levels(bits) - 1) - 1)).sort(stable=True)
    above = torch.searchsorted(reach, largest.contiguous()).clamp(max=len(reach) - 1)
    below = (above - 1).clamp(min=0)
    closer = (largest - reach[below]).abs() <= (largest - reach[above]).abs()
    return order[torch.where(closer, below, above)]


def kind_and_size(name: str, x: Tensor, nodes: int, groups: int) -> tuple[str, int]:
    """Which `A2QPoint` an activation gets, and its size.

    Args:
        name: of the point; ".message" is in front of a sum.
        x: `[rows, ...]`.
        nodes: nodes of the one graph that the model is for; 0 for any graphs.
        groups: how many groups.
    """
    if name.endswith(".message"):
        return "column", math.prod(x.shape[1:])
    return ("node", nodes) if len(x) == nodes else ("group", groups)


class A2QPoint(nn.Module):
    """The learnt step and bit width of one tensor.

    Args:
        name: unique, the path of the tensor in the model.
        kind: "weight" (a step per output channel), "column" (a step per column), "node" or "group" (step and bits).
        size: how many steps: channels, columns, nodes or groups.
        recipe: the bits of weights and columns, where bit widths start, and whether gradients are local.

    Parameters `log_step` and, of "node" and "group", `bits` are float32 `[size]`. Buffers: `negative`, whether a value
    below 0 was seen; `width`, columns of the tensor; `usage` float32 `[size]`, rows that lately chose each group.
    """

    bits: nn.Parameter
    started: Tensor
    negative: Tensor
    width: Tensor
    usage: Tensor
    observer = "a2q"

    def __init__(self, name: str, kind: str, size: int, recipe: Recipe) -> None:
        super().__init__()
        self.name, self.kind, self.size, self.fixed = name, kind, size, recipe.bits
        self.local = kind == "column" or (kind == "node" and recipe.local_gradient)
        self.log_step = nn.Parameter(torch.zeros(size))
        self.learns_bits = kind in ("node", "group")
        if self.learns_bits:
            self.bits = nn.Parameter(torch.full((size,), float(recipe.bits)))
        self.register_buffer("started", torch.tensor(False))
        self.register_buffer("negative", torch.tensor(False))
        self.register_buffer("width", torch.tensor(0))
        self.register_buffer("usage", torch.zeros(size if kind == "group" else 0))
        self.chosen: Tensor | None = None  # groups of the rows of the last training batch

    @property
    def channels(self) -> int:
        """Output channels of a weight's point; 0 of others."""
        return self.size if self.kind == "weight" else 0

    @property
    def seen(self) -> bool:
        """Whether the steps were set from any value."""
        return bool(self.started)

    def freeze(self) -> None:
        """Nothing to derive: parameters are the state."""

    def forget(self) -> None:
        """Keep the steps of the dry run: they are where training starts."""

    def forward(self, x: Tensor, protected: Tensor | None = None) -> Tensor:
        """Quantize `x`, float32 `[rows, ...]`; nothing is ever protected.

        Raises:
            QuantizeError: a point of single nodes meets another graph.
        """
        flat = x.flatten(1) if x.dim() > 1 else x.unsqueeze(1)
        if self.kind == "node" and len(flat) != self.size:
            raise QuantizeError(
                f"a2q learnt a bit width for each of {self.size} nodes, and this graph has {len(flat)}: "
                "it can only be run on the graph it was trained on"
            )
        if self.training:
            self._watch(flat.detach())
        if self.kind != "weight" and not bool(self.negative):
            flat = flat.clamp(min=0)
        step, bits = self._of_rows(flat)
        return a2q_quantize(flat, step, bits, local=self.local).reshape(x.shape)

    def _of_rows(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Step and bits in the shapes of `a2q_quantize`."""
        step = self.log_step.exp()
        if not self.learns_bits:
            bits = step.new_full((1, 1), float(self.fixed))
            return (step.unsqueeze(0) if self.kind == "column" else step.unsqueeze(1)), bits
        if self.kind == "node":
            return step.unsqueeze(1), self.bits.unsqueeze(1)
        largest = x.detach().abs().amax(1) if x.numel() else x.new_zeros(len(x))
        chosen = nearest_group(largest, step.detach(), self.bits)
        if self.training:
            self.chosen = chosen
            self.usage.mul_(_DECAY).add_(torch.bincount(chosen, minlength=self.size))
        return step[chosen].unsqueeze(1), self.bits[chosen].unsqueeze(1)

    @torch.no_grad()
    def _watch(self, x: Tensor) -> None:
        """Note signs, and set the first steps from the first values."""
        if x.numel() == 0:
            return
        self.negative.logical_or_((x < 0).any())
        if self.seen:
            return
        self.width.fill_(x.shape[1])
        if self.learns_bits and not bool(self.negative):
            self.bits.add_(1)  # the sign bit of the paper's codes is idle
        top = 2 ** ((float(self.bits[0]) if self.learns_bits else self.fixed) - 1) - 1
        largest = x.abs().amax(0 if self.kind == "column" else 1)
        if self.size == 1:
            largest = largest.amax().view(1)
        elif self.kind == "group":
            at = torch.linspace(0, len(largest) - 1, self.size).round().long()
            largest = largest.sort().values[at]
        largest = torch.where(largest > 0, largest, largest.max().clamp(min=1e-3))
        self.log_step.copy_((largest / top).log())
        self.started.fill_(True)

    def stored_bits(self) -> Tensor:
        """Bits of each node's or group's codes as they would be stored, float `[size]`."""
        return _levels(self.bits) - (~self.negative).float()

    def average(self) -> float:
        """Mean of `stored_bits`; groups count as often as they were chosen lately."""
        bits = self.stored_bits()
        if self.kind == "group" and float(self.usage.sum()) > 0:
            return float((bits * self.usage).sum() / self.usage.sum())
        return float(bits.mean())


def average_bits(points: list[A2QPoint]) -> dict[str, float]:
    """Mean stored bits over "rows", over "values", and by the name of the point.

    A point of single nodes counts with all its rows. One of groups, which has other rows in every batch, counts as one
    row, of the mean width of the rows that lately passed it.
    """
    means = {p.name: p.average() for p in points}
    rows = {p.name: float(p.size if p.kind == "node" else 1) for p in points}
    values = {p.name: rows[p.name] * max(1, int(p.width)) for p in points}
    totals = {
        what: sum(means[n] * count[n] for n in means) / sum(count.values())
        for what, count in (("rows", rows), ("values", values))
    }
    return {**totals, **means}


def _average_learning(points: list[A2QPoint]) -> Tensor:
    """Mean of the real widths over the rows of all points; of groups, those that the last batch chose."""
    rows = [(p.bits if p.chosen is None else p.bits[p.chosen]).abs() - (~p.negative).float() for p in points]
    return torch.cat(rows).mean()


def memory_penalty(points: list[A2QPoint], target: float, weight: float) -> Tensor:
    """Return weight * rows * max(0, mean bits - target)^2 over points with learnt bits (2302.00193).

    Every row counts the same, as in the released code; the factor `rows` makes the pull on a row's width independent of
    how many rows there are.
    """
    rows = sum(p.size if p.chosen is None else len(p.chosen) for p in points)
    return weight * rows * (_average_learning(points) - target).clamp(min=0) ** 2


def parameter_groups(points: list[A2QPoint], recipe: Recipe) -> list[dict[str, Any]]:
    """Groups for an optimizer: the learning rates of steps and widths; they have no weight decay."""
    rates = {"node": recipe.step_rate, "group": recipe.step_rate, "column": recipe.column_rate}
    groups: list[dict[str, Any]] = []
    for point in points:
        rate = rates.get(point.kind, recipe.weight_rate)
        groups.append({"params": [point.log_step], "lr": rate, "weight_decay": 0.0})
        if point.learns_bits:
            rate = recipe.bits_rate * (_GROUP_SHARE if point.kind == "group" else 1.0)
            groups.append({"params": [point.bits], "lr": rate, "weight_decay": 0.0})
    return groups
