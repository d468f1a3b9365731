"""Regularized pruning: a penalty while training drives weights to zero, then they are cut.

    l1           single weights: a growing L1 penalty, applied as its proximal step (this module)
    group-norm   whole channels: torch-pruning's group sparsity (edgegnn.prune.structured)
    growing      whole channels: torch-pruning's growing regularization (edgegnn.prune.structured)

The L1 penalty: after each optimizer step every weight moves towards zero by delta_t and stops there (soft threshold,
the proximal operator of delta_t |w|; Parikh & Boyd 2014, section 6.5.2). Under Adam this is not the same as adding the
penalty to the loss: Adam divides by the gradient's size, so that an L1 term in the gradient loses its strength
(Loshchilov & Hutter 2019, arXiv 1711.05101, say the same of L2). delta_t grows linearly from zero, so that the network
can adapt while it is small (Wang et al. 2021, arXiv 2012.09243, grow their penalty for that reason), and adds up to the
magnitude that the wanted sparsity would cut today: the penalty alone carries a weight at that threshold to zero, and
what the loss needs grows back against it.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from edgegnn.prune.magnitude import count_pruned
from edgegnn.prune.methods import check_sparsity

__all__ = ["growing_l1"]


def growing_l1(
    model: nn.Module, names: list[str], sparsity: float, steps: int, *, strength: float = 1.0
) -> Callable[[nn.Module], None]:
    """A function for `fit(..., after_step=...)` that applies the growing L1 penalty during `steps` optimizer steps.

    Args:
        model: its parameters of these `names` are penalized, whatever the module passed later.
        names: the weights.
        sparsity: what will be cut afterwards, in [0, 1): sets how strong the penalty becomes.
        steps: how many steps it grows for; later steps are not penalized.
        strength: sum of all shrinkage, in units of the magnitude that the cut would have today.

    Raises:
        UsageError: sparsity outside [0, 1).
    """
    check_sparsity(sparsity)
    own = dict(model.named_parameters())
    weights = [own[name] for name in names]
    total = strength * _threshold([w.detach() for w in weights], sparsity)
    step = 0

    def after_step(_: nn.Module) -> None:
        nonlocal step
        step += 1
        if step > steps:
            return
        delta = total * 2 * step / (steps * (steps + 1))
        with torch.no_grad():
            for weight in weights:
                weight.copy_(nn.functional.softshrink(weight, delta))

    return after_step


def _threshold(weights: list[Tensor], sparsity: float) -> float:
    """Magnitude below which the smallest `sparsity` of all weights lie."""
    values = torch.cat([w.abs().flatten() for w in weights])
    pruned = count_pruned(values.numel(), sparsity)
    return float(values.kthvalue(pruned).values) if pruned else 0.0
