"""Magnitude pruning: the weights closest to zero go (2510.22058; Han et al. 2015, arXiv 1506.02626).

    fine-grained   in each tensor the same share goes
    global         one threshold over all tensors: small output layers usually stay nearly dense

Both cut exact counts: of equal magnitudes the earlier entries go first.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from edgegnn.errors import PruneError, UsageError
from edgegnn.prune.masks import Masks
from edgegnn.prune.methods import METHODS, check_sparsity

__all__ = ["count_pruned", "gradual_masks", "gradual_sparsity", "magnitude_masks"]


def count_pruned(size: int, sparsity: float) -> int:
    """How many of `size` weights go: the nearest whole number, but never all."""
    return max(0, min(round(sparsity * size), size - 1))


def magnitude_masks(
    weights: Mapping[str, Tensor], sparsity: float, method: str = "fine-grained", *, held: Masks | None = None
) -> Masks:
    """Masks that prune the smallest weights.

    Args:
        weights: name -> tensor of any shape; not changed.
        sparsity: share that goes, in [0, 1).
        method: "fine-grained" (of each tensor; one weight of it always stays) or "global" (of all together).
        held: masks of what is pruned already: that goes first. Where it is more than is asked, it stays as it is.

    Raises:
        UsageError: sparsity outside [0, 1), or another method.
        PruneError: a global threshold would leave nothing of a tensor.
    """
    check_sparsity(sparsity)
    if method not in METHODS:
        raise UsageError(f"unknown magnitude method {method!r}: choose {' or '.join(METHODS)}")
    importance = {name: _importance(w, held.keep.get(name) if held else None) for name, w in weights.items()}
    if method == "fine-grained":
        return Masks({name: _keep(value, sparsity).view_as(weights[name]) for name, value in importance.items()})
    kept = _keep(torch.cat(list(importance.values())), sparsity)
    parts = kept.split([value.numel() for value in importance.values()])
    for name, part in zip(importance, parts, strict=True):
        if not part.any():
            raise PruneError(
                f"global pruning at {sparsity:g} would empty {name} (none of its {part.numel():,} weights is above "
                "the threshold): lower the sparsity, or use --prune fine-grained"
            )
    return Masks({name: part.view_as(weights[name]) for name, part in zip(importance, parts, strict=True)})


def gradual_sparsity(final: float, progress: float, initial: float = 0.0) -> float:
    """Sparsity at `progress` in [0, 1] of the ramp: s_f + (s_i - s_f) (1 - progress)^3.

    Source: Zhu & Gupta 2017, arXiv 1710.01878, equation 1.
    """
    return final + (initial - final) * (1 - min(max(progress, 0.0), 1.0)) ** 3


def gradual_masks(
    model: nn.Module, names: list[str], sparsity: float, method: str, steps: int, *, held: Masks | None = None
) -> Callable[[nn.Module], None]:
    """A function for `fit(..., after_step=...)` that prunes more and more, and all of `sparsity` from step `steps` on.

    What has gone never comes back. Sparsity grows from what `held` has, at most a hundred times.

    Args:
        model: its parameters of these `names` are pruned, whatever the module passed later.
        names: the weights.
        sparsity: the share that is gone in the end, in [0, 1).
        method: "fine-grained" or "global".
        steps: length of the ramp in optimizer steps.
        held: masks of what is pruned already.

    Raises (also while training):
        UsageError, PruneError: as `magnitude_masks`.
    """
    check_sparsity(sparsity)
    own = dict(model.named_parameters())
    weights = {name: own[name].detach() for name in names}
    masks = held or Masks({name: torch.ones_like(w, dtype=torch.bool) for name, w in weights.items()})
    gone = sum(int((~keep).sum()) for keep in masks.keep.values())
    initial = min(sparsity, gone / max(1, sum(w.numel() for w in weights.values())))
    every = max(1, steps // 100)
    step, hold = 0, masks.bind(model)

    def after_step(_: nn.Module) -> None:
        nonlocal step, masks, hold
        step += 1
        hold(model)
        if step <= steps and (step % every == 0 or step == steps):
            now = gradual_sparsity(sparsity, step / steps, initial)
            masks = magnitude_masks(weights, now, method, held=masks)
            hold = masks.bind(model)
            hold(model)

    return after_step


def _importance(weight: Tensor, held: Tensor | None) -> Tensor:
    """|w| of every weight, in one dimension; -1 for what is pruned already."""
    value = weight.detach().abs().flatten()
    return value if held is None else value.masked_fill(~held.flatten(), -1.0)


def _keep(importance: Tensor, sparsity: float) -> Tensor:
    pruned = max(count_pruned(importance.numel(), sparsity), int((importance < 0).sum()))
    keep = torch.ones(importance.numel(), dtype=torch.bool, device=importance.device)
    keep[torch.argsort(importance, stable=True)[:pruned]] = False
    return keep
