"""Quantizers of A2Q (2302.00193, ICLR 2023): step and bit width of every node are learnt.

    features in front of a product   one step and one bit width per node of a fixed graph; for graphs not seen before,
                                     groups of them, and each node takes the group that reaches closest to its largest
                                     value (the paper's Nearest Neighbour Strategy)
    rows in front of a sum           one step per column at fixed bits: rows of different steps can't be added as codes
    weights                          one step per output channel at fixed bits

A step is kept as its logarithm, so that a learning rate means the same at any magnitude and a step stays above 0. A
point that never saw a negative value while training has no sign bit: its codes are those of B - 1 bits (the paper's own
accounting), and negative values become 0.

What is not the paper's, so that widths really differ from node to node (with Adam on the raw gradients all end at the
target itself): gradients of steps and widths are relative to the tensor's mean magnitude, and followed in proportion
near 0; a width that changes keeps its reach, step times largest code; widths start around the paper's 4 bits, at those
that give all rows one step; groups follow their local error, too. No width is below 2, where only 0 would be left.

In eval mode every point is one operator of `edgegnn.quantize.ops`, which the export turns into integer codes.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from edgegnn.errors import QuantizeError
from edgegnn.quantize import ops  # noqa: F401 (registers the operators of eval mode)
from edgegnn.quantize.recipe import A2Q

__all__ = [
    "MAX_BITS",
    "A2QPoint",
    "a2q_quantize",
    "average_bits",
    "in_front_of_sum",
    "kind_and_size",
    "memory_penalty",
    "nearest_group",
    "parameter_groups",
]

MIN_BITS, MAX_BITS = 2, 8  # the paper's code has no limit; one bit with sign is always 0, and codes lie in bytes
_GROUP_SHARE = 0.1  # of the bit width's rate: a group is trained by many batches an epoch, a node by one
_SPARSE, _LARGE = 0.1, 1 << 16  # input features of which few are not zero: those alone are worked on
_CALM = 0.3  # of the gradient of a width, relative to the values: see `parameter_groups`
_EXACT = 1e-3  # share of a step's: where rows are exact already, rounding errors must not move them
_SHARES = (1.0, 0.8, 0.65, 0.5, 0.4, 0.3, 0.2, 0.15, 0.1)
_DECAY = 0.95  # of the count of rows by group, per batch


def _levels(bits: Tensor) -> Tensor:
    """B = round(|b|), the width in bits with sign, MIN_BITS to MAX_BITS."""
    return bits.detach().abs().round().clamp(MIN_BITS, MAX_BITS)


class _Quantize(torch.autograd.Function):
    """Sections 3.1 and 3.2 of the facts: symmetric codes, and the derivatives to step and bit width."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, step: Tensor, bits: Tensor, local: float | None) -> Tensor:
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
        if ctx.local is not None:  # mean absolute error over the values that share a step, in place of the task
            weight = torch.sign(out - x) * ctx.local
            # The slope of the error itself, codes held. The derivative above, times that sign, is never negative inside
            # the range: it would shrink the step of a row that is exact until half of it is clipped.
            of_step = out / step
        of_x = grad * inside if ctx.needs_input_grad[0] else None
        return of_x, (weight * of_step).sum_to_size(step.shape), (weight * of_bits).sum_to_size(ctx.bits_shape), None


class _ScaleGradient(torch.autograd.Function):
    """The tensor as it is; its gradient times a factor."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, factor: float) -> Tensor:
        ctx.factor = factor
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return grad * ctx.factor, None


def a2q_quantize(x: Tensor, step: Tensor, bits: Tensor, *, local: bool = False) -> Tensor:
    """Round to x_q = s * sign(x) * min(floor(|x| / s + 1/2), 2^(B-1) - 1), B = round(|b|), b learnable.

    Args:
        x: float32 `[rows, columns]`; its gradient is straight-through, 0 where it is clipped.
        step: float32 above 0, `[rows, 1]` or `[1, columns]`.
        bits: float32 b, `[rows, 1]` or `[1, 1]`.
        local: True gives step and bits the gradient of the mean absolute error |x_q - x| of the values that share a
            step (codes held, where the paper takes its straight-through derivative); False: the task's gradient.
    """
    share = step.numel() / max(1, x.numel()) if local else None
    if x.requires_grad or x.dim() != 2 or x.numel() < _LARGE or int(x.count_nonzero()) > _SPARSE * x.numel():
        return _Quantize.apply(x, step, bits, share)
    rows, columns = x.nonzero(as_tuple=True)  # a zero stays one and adds nothing to any gradient
    own, its = (v.expand(x.shape)[rows, columns].unsqueeze(1) for v in (step, bits))
    values = _Quantize.apply(x[rows, columns].unsqueeze(1), own, its, share)
    return torch.zeros_like(x).index_put((rows, columns), values.squeeze(1))


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


def in_front_of_sum(name: str) -> bool:
    """Whether the point of that name is what neighbours are sent: "conv.message", "conv.message.1"."""
    return name.rstrip("0123456789").rstrip(".").endswith(".message")


def kind_and_size(name: str, x: Tensor, nodes: int, groups: int) -> tuple[str, int]:
    """Which `A2QPoint` an activation gets, and its size.

    Args:
        name: of the point; ".message" is in front of a sum.
        x: `[rows, ...]`.
        nodes: nodes of the one graph that the model is for; 0 for any graphs.
        groups: how many groups.
    """
    if in_front_of_sum(name):
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
    below 0 was seen; `width`, columns of the tensor; `usage` float32 `[size]`, rows that lately chose each group. What
    `freeze` derives from them: `step` float32 and `whole_bits` int8 `[size]`, of groups those that are chosen, by their
    reach; `boundaries` float32 between neighbouring groups (`[0]` of other kinds); `signed`.
    """

    bits: nn.Parameter
    started: Tensor
    negative: Tensor
    width: Tensor
    usage: Tensor
    step: Tensor
    whole_bits: Tensor
    boundaries: Tensor
    zero_point: Tensor
    observer = "a2q"

    def __init__(self, name: str, kind: str, size: int, recipe: A2Q) -> None:
        super().__init__()
        self.name, self.kind, self.size, self.fixed = name, kind, size, recipe.bits
        self.local = kind == "column" or (kind in ("node", "group") and recipe.local_gradient)
        self.log_step = nn.Parameter(torch.zeros(size))
        self.learns_bits = kind in ("node", "group")
        if self.learns_bits:
            self.bits = nn.Parameter(torch.full((size,), float(recipe.bits)))
        self.register_buffer("started", torch.tensor(False))
        self.register_buffer("negative", torch.tensor(False))
        self.register_buffer("width", torch.tensor(0))
        self.register_buffer("usage", torch.zeros(size if kind == "group" else 0))
        self.signed = True
        self.register_buffer("step", torch.ones(size), persistent=False)
        self.register_buffer("whole_bits", torch.full((size,), recipe.bits, dtype=torch.int8), persistent=False)
        self.register_buffer("boundaries", torch.zeros(0), persistent=False)
        self.register_buffer("zero_point", torch.zeros(size, dtype=torch.int32), persistent=False)
        self.chosen: Tensor | None = None  # groups of the rows of the last training batch
        self.widths: Tensor | None = None  # as they were in that batch
        self.magnitude = 1.0  # mean magnitude of its values in that batch

    @property
    def channels(self) -> int:
        """Output channels of a weight's point; 0 of others."""
        return self.size if self.kind == "weight" else 0

    @property
    def seen(self) -> bool:
        """Whether the steps were set from any value."""
        return bool(self.started)

    @property
    def grid(self) -> str:
        """Along what values share a step: "columns", or "rows" (of a weight: output channels)."""
        return "columns" if self.kind == "column" else "rows"

    @torch.no_grad()
    def settle(self) -> None:
        """After an optimizer step: bring widths back into their limits; one that changed keeps its reach.

        Without that, a row that loses a bit clips half of its range until its step has doubled, which takes many
        steps, and gets the bit back at once.
        """
        if not self.learns_bits:
            return
        self.bits.clamp_(MIN_BITS - 0.49, MAX_BITS + 0.49)
        now = _levels(self.bits)
        before, self.widths = self.widths, now
        if before is not None:
            reach_before, reach_now = torch.exp2(before - 1) - 1, torch.exp2(now - 1) - 1
            self.log_step.add_((reach_before / reach_now).log())

    def train(self, mode: bool = True) -> A2QPoint:
        """Switch modes; eval mode reads what the parameters are now."""
        super().train(mode)
        if not mode:
            self.freeze()
        return self

    @torch.no_grad()
    def freeze(self) -> None:
        """Derive from the parameters what eval mode reads: steps, whole bits, and where groups meet."""
        step, self.signed = self.log_step.exp(), bool(self.negative) or self.kind == "weight"
        bits = _levels(self.bits) if self.learns_bits else torch.full_like(step, self.fixed)
        self.boundaries = step.new_zeros(0)
        if self.kind == "group":
            # A step is a bfloat16 in the file. Groups that no row came near to lately are not what training made them.
            known = self.usage > 0
            kept = known if bool(known.any()) else torch.ones_like(known)
            step, bits = step[kept].bfloat16().float(), bits[kept]
            reach, order = (step * (torch.exp2(bits - 1) - 1)).sort(stable=True)
            step, bits, self.boundaries = step[order], bits[order], (reach[:-1] + reach[1:]) / 2
        self.step, self.whole_bits = step.detach().clone(), bits.to(torch.int8)

    @torch.no_grad()
    def project(self, weight: Tensor) -> None:
        """Bring what lies beyond the last code of a weight's point back to it, in place: it rounds to the same.

        An exported code is in two's complement, which has one below the last that A2Q knows.
        """
        weight.copy_(self._inside(weight))

    def _inside(self, weight: Tensor) -> Tensor:
        last = self.step.view(-1, *([1] * (weight.dim() - 1))) * (2 ** (self.fixed - 1) - 1)
        return torch.maximum(torch.minimum(weight, last), -last)

    def forget(self) -> None:
        """Keep the steps of the dry run: they are where training starts."""

    def forward(self, x: Tensor, protected: Tensor | None = None) -> Tensor:
        """Quantize `x`, float32 `[rows, ...]`; nothing is ever protected.

        Raises:
            QuantizeError: a point of single nodes meets another graph.
        """
        if not self.training and self.kind == "weight":
            axis = 0 if self.size > 1 else -1
            if not torch.compiler.is_compiling():  # `project` has been at work on what is exported
                x = self._inside(x)
            return torch.ops.edgegnn.fake_quantize(x, self.step, self.zero_point, axis, self.fixed, self.name)
        flat = x.flatten(1) if x.dim() > 1 else x.unsqueeze(1)
        # An export traces any number of nodes; what it writes takes this one only.
        if self.kind == "node" and not torch.compiler.is_compiling() and len(flat) != self.size:
            raise QuantizeError(
                f"a2q learnt a bit width for each of {self.size} nodes, and this graph has {len(flat)}: "
                "it can only be run on the graph it was trained on"
            )
        if not self.training:
            frozen = self.step, self.whole_bits, self.boundaries, int(self.kind == "column"), self.signed, self.name
            return torch.ops.edgegnn.learnt_quantize(flat, *frozen).reshape(x.shape)
        self._watch(flat.detach())
        if self.learns_bits:
            self.magnitude = float(flat.detach().abs().mean()) if flat.numel() else 0.0
            self.widths = _levels(self.bits)
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
        bits = self.bits
        if self.local:  # in units of the mean magnitude, errors of all points and what a bit costs can be compared
            factor = 1 / max(self.magnitude, 1e-12)
            step, bits = _ScaleGradient.apply(self.log_step, factor).exp(), _ScaleGradient.apply(bits, factor)
        if self.kind == "node":
            return step.unsqueeze(1), bits.unsqueeze(1)
        largest = x.detach().abs().amax(1) if x.numel() else x.new_zeros(len(x))
        self.chosen = chosen = nearest_group(largest, step.detach(), self.bits)
        self.usage.mul_(_DECAY).add_(torch.bincount(chosen, minlength=self.size))
        return step[chosen].unsqueeze(1), bits[chosen].unsqueeze(1)

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
        largest = x.abs().amax(0 if self.kind == "column" else 1)
        if self.size == 1:
            largest = largest.amax().view(1)
        elif self.kind == "group":
            at = torch.linspace(0, len(largest) - 1, self.size).round().long()
            largest = largest.sort().values[at]
        largest = torch.where(largest > 0, largest, largest.max().clamp(min=1e-3))
        if self.learns_bits:  # one step for all, as far as widths can make up for the difference in reach
            reach = largest.log2()
            self.bits.add_(reach - reach.mean()).clamp_(MIN_BITS, MAX_BITS)
        bits = _levels(self.bits) if self.learns_bits else torch.tensor(float(self.fixed))
        reach = largest / (torch.exp2(bits - 1) - 1)
        if self.kind in ("weight", "column"):
            reach = _least_error(x if self.kind == "weight" else x.T, reach, bits)
        self.log_step.copy_(reach.log())
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

    def describe(self) -> dict[str, Any]:
        """Plain values: "kind", "columns", "histogram" (width -> rows; of groups how many), "average".

        For the nodes of a fixed graph also "code_bytes", what their codes take at their widths, and "float_bytes".
        """
        bits = self.stored_bits().to(torch.int64)
        counts = torch.bincount(bits, minlength=1).tolist()
        facts: dict[str, Any] = {"kind": self.kind, "columns": int(self.width), "average": round(self.average(), 4)}
        facts["histogram"] = {str(width): n for width, n in enumerate(counts) if n}
        if self.kind == "node":
            values = self.size * int(self.width)
            facts |= {"code_bytes": -(-int(bits.sum()) * int(self.width) // 8), "float_bytes": 4 * values}
        return facts


def _least_error(x: Tensor, step: Tensor, bits: Tensor) -> Tensor:
    """The step with the least squared error, among shares of the step that clips nothing.

    Sums over neighbours see few large values and many small ones: at 4 bits the largest of all nodes as reach would
    leave most of a column 0, and a learning rate takes long to leave that.

    Args:
        x: float `[size, values]`.
        step: float `[size]`, or `[1]` for all.
        bits: float `[]`.
    """
    best, least = step, torch.full_like(step, float("inf"))
    for share in _SHARES:
        tried = step * share
        off = a2q_quantize(x, tried.unsqueeze(1), bits.view(1, 1)) - x
        error = off.square().sum(1) if len(step) > 1 else off.square().sum().view(1)
        best, least = torch.where(error < least, tried, best), torch.minimum(error, least)
    return best


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


def memory_penalty(points: list[A2QPoint], target: float, weight: float) -> Tensor:
    """Return what has the gradient of weight * rows * max(0, mean bits - target)^2 over learnt widths (2302.00193).

    Every row counts the same, as in the released code; the factor `rows` makes the pull on a row's width independent of
    how many rows there are. The mean is over whole bits, as they are stored. A row keeps the bits that lower its
    error, relative to the mean magnitude of the point's values, by more than a bit costs; the cost rises with the
    excess.
    """
    widths = [p.bits if p.chosen is None else p.bits[p.chosen] for p in points]
    stored = [_levels(w) - (~p.negative).float() for p, w in zip(points, widths, strict=True)]
    excess = (torch.cat(stored).mean() - target).clamp(min=0)
    return 2 * weight * excess * torch.cat([w.abs() for w in widths]).sum()


def parameter_groups(points: list[A2QPoint], recipe: A2Q) -> list[dict[str, Any]]:
    """Groups for an optimizer: the learning rates of steps and widths; they have no weight decay."""
    rates = {"node": recipe.step_rate, "group": recipe.step_rate, "column": recipe.column_rate}
    groups: list[dict[str, Any]] = []
    for point in points:
        rate = rates.get(point.kind, recipe.weight_rate)
        steps: dict[str, Any] = {"params": [point.log_step], "lr": rate, "weight_decay": 0.0}
        groups.append({**steps, "eps": _EXACT} if point.learns_bits and point.local else steps)
        if point.learns_bits:
            rate = recipe.bits_rate * (_GROUP_SHARE if point.kind == "group" else 1.0)
            # Adam alone makes equal steps of any gradient; with this eps those below it are followed in proportion.
            widths: dict[str, Any] = {"params": [point.bits], "lr": rate, "weight_decay": 0.0}
            # A width has far to go to its target, in whole bits: it doesn't slow down with the steps.
            groups.append({**widths, "betas": (0.9, 0.99), "eps": _CALM, "constant_lr": True})
    return groups
