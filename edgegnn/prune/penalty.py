"""Penalties that drive whole channels to zero while training, before they are cut.

    group-norm   torch-pruning's GroupNormPruner: every weight of a channel shrinks by `strength` times 1 to 16, more
                 where the channel matters less (DepGraph, Fang et al. 2023, arXiv 2301.12900)
    growing      torch-pruning's GrowingRegPruner: a factor of its own for each channel, which grows step by step,
                 faster where the channel matters less (Wang et al. 2021, arXiv 2012.09243)

Both are gradients of a weighted L2 norm, added to the loss's. The formulas are the library's; it would apply them to
`nn.Linear` and `nn.Conv` only, so here they work on the slices that `edgegnn.prune.groups` finds. The group's magnitude
is the one that decides afterwards which channels go.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from edgegnn.errors import UsageError
from edgegnn.prune.groups import Group, Inputs, channel_groups
from edgegnn.prune.structured import group_magnitude

__all__ = ["CHANNEL_VARIANTS", "channel_penalty"]

CHANNEL_VARIANTS = ("group-norm", "growing")

# The library's defaults (1e-4 and steps of 1e-5) are for SGD. Under Adam a penalty has to be as large as the loss's
# gradient to have an effect. Chosen on Cora's validation nodes: GCN without 90 % of its channels, one seed.
STRENGTH = {"group-norm": 1e-2, "growing": 0.1}
BASE = 16.0  # the library's: the least important channel is penalized so much more than the most important one


def channel_penalty(
    model: nn.Module, inputs: Inputs, variant: str, steps: int, *, strength: float | None = None
) -> Callable[[nn.Module], None]:
    """A function for `fit(..., before_step=...)` that adds the penalty's gradient.

    Args:
        model: its parameters are penalized, whatever module is passed later.
        inputs: a real graph: arguments of its forward, in order or by name.
        variant: "group-norm" or "growing".
        steps: optimizer steps that training will take; "growing" reaches its full strength at the last.
        strength: factor of a weight in its gradient; None for a default that works with Adam.

    Raises:
        UsageError: unknown variant.
        PruneError: a layer of the model can't be followed.
    """
    if variant not in CHANNEL_VARIANTS:
        raise UsageError(f"unknown variant {variant!r}: choose {' or '.join(CHANNEL_VARIANTS)}")
    groups, _ = channel_groups(model, inputs)
    own: dict[str, Tensor] = dict(model.named_parameters())
    full = STRENGTH[variant] if strength is None else strength
    factors = [torch.zeros(group.channels) for group in groups]

    @torch.no_grad()
    def before_step(_: nn.Module) -> None:
        for i, group in enumerate(groups):
            matters = group_magnitude(own, group)
            if variant == "group-norm":
                factors[i] = full * BASE ** unimportance(matters.sqrt())
            else:
                factors[i] = factors[i] + full / steps * unimportance(matters)
            add_decay(own, group, factors[i])

    return before_step


def unimportance(matters: Tensor) -> Tensor:
    """0 for the channel that matters most, 1 for the one that matters least."""
    return (matters.max() - matters) / (matters.max() - matters.min()).clamp_min(1e-8)


def add_decay(parameters: dict[str, Tensor], group: Group, factor: Tensor) -> None:
    """Add factor[channel] * weight to the gradient of every weight of a group.

    Args:
        parameters: name -> parameter.
        group: the channels.
        factor: float [channels].
    """
    for part in group.slices:
        weight = parameters.get(part.tensor)
        if part.weight and weight is not None and weight.grad is not None:
            of_position = torch.where(part.channel >= 0, factor[part.channel.clamp_min(0)], 0.0)
            shape = [-1 if dim == part.dim else 1 for dim in range(weight.dim())]
            weight.grad.add_(of_position.view(shape) * weight)
