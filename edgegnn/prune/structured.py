"""Structured pruning: whole channels go, tensors really shrink.

The ratio is the share of channels that every group of coupled layers loses (uniformly, so that the speed that follows
is known before). With a ratio of 0.5 a weight between the input features and a hidden layer keeps a half of its
entries, one between two hidden layers a quarter. Attention heads stay, each with fewer channels.

Which channels: those with the smallest group magnitude, the mean over all weights that have a channel of the sum of
squares (torch-pruning's `GroupMagnitudeImportance`, p = 2; DepGraph, Fang et al. 2023, arXiv 2301.12900).

Before anything is returned, the pruned model is compared with the whole one whose same channels are set to zero, on
several graphs: they compute the same, or a layer was misunderstood and its channels stay (`edgegnn.prune.equality`).
Layers that nobody knows how to cut stay whole, too. What stays is named, with the reason.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from edgegnn.errors import PruneError, UsageError
from edgegnn.prune.count import Work, compare_work, count_work
from edgegnn.prune.equality import misunderstood
from edgegnn.prune.groups import (
    OTHERWISE,
    Clock,
    Group,
    Inputs,
    channel_groups,
    copied_model,
    known_layers,
    named_inputs,
    positions,
    tensors_by_name,
)
from edgegnn.prune.structure import owners
from edgegnn.quantize import QuantModel

__all__ = ["Structured", "cut_channels", "group_magnitude", "prune_structured"]

# How far parameters may end up from what the ratio says, as a share of the dense model's.
TOLERANCE = 0.1


@dataclass(frozen=True)
class Structured:
    """A model with fewer channels, and what it saves.

    Attributes:
        model: the pruned module, in eval mode; parameters that lost nothing are copies too.
        channels: path of the layer that makes them -> channels (before, after).
        parameters: before, after, and what the ratio says.
        work: multiply-adds of one forward on the example graph, before and after.
        whole: path and class of a layer that kept all its channels -> why.
    """

    model: nn.Module
    channels: dict[str, tuple[int, int]]
    parameters: tuple[int, int, float]
    work: tuple[Work, Work]
    whole: dict[str, str]

    @property
    def achieved(self) -> float:
        """Share of the prunable channels that went."""
        before, after = (sum(c[i] for c in self.channels.values()) for i in (0, 1))
        return 1 - after / before

    def facts(self) -> dict[str, Any]:
        """Plain values for a checkpoint or a table."""
        before, after, expected = self.parameters
        return {
            "channels": {name: list(pair) for name, pair in self.channels.items()},
            "parameters": {"before": before, "after": after, "expected": round(expected)},
            **compare_work(*self.work),
            "whole": self.whole,
        }


def prune_structured(model: nn.Module, inputs: Inputs, ratio: float) -> Structured:
    """Remove the share `ratio` of the channels of every group of layers. The given model stays as it is.

    Args:
        model: any float module whose layers `edgegnn.prune.layers` knows or can follow.
        inputs: a real graph: arguments of its forward, in order or by name.
        ratio: share of channels that go, in [0, 1).

    Raises:
        UsageError: ratio outside [0, 1).
        PruneError: the model can't be followed, or not in time; it has no channel that could go, a layer that would be
            emptied, or so few channels that the ratio can't be met.
    """
    if not 0 <= ratio < 1:
        raise UsageError(f"the share of channels to prune must be at least 0 and below 1, not {ratio}")
    if isinstance(model, QuantModel):
        raise PruneError("the model is quantized already: prune the float model, then quantize")
    named = named_inputs(model, inputs)
    clock = Clock()
    groups, whole = channel_groups(model, named, clock)
    gone = [_choose(model, group, ratio) for group in groups]
    wrong = misunderstood(model, named, groups, gone, cut_channels, clock)
    for group in groups:
        if group.name in wrong:
            whole[group.name] = f"its channels can't be followed: without some of them {wrong[group.name]}"
    kept = [at for at, group in enumerate(groups) if group.name not in wrong]
    groups, gone = [groups[at] for at in kept], [gone[at] for at in kept]
    if not groups:
        reason = "; ".join(f"{name}: {why}" for name, why in whole.items())
        raise PruneError(
            f"no channels can go: {reason or 'all are inputs or outputs of the model, or layers of one channel'}; "
            f"{OTHERWISE}"
        )
    pruned = _cut(model, named, groups, gone)
    before, after = (sum(p.numel() for p in m.parameters()) for m in (model, pruned))
    expected = _expected_parameters(model, groups, ratio)
    if abs(after - expected) > TOLERANCE * before:
        few = min(groups, key=lambda g: g.units)
        raise PruneError(
            f"the ratio {ratio:g} can't be reached: of {before} parameters {after} would be left instead of about "
            f"{expected:.0f}, because {few.name} has only {few.units} channels to choose from; choose another ratio"
        )
    return Structured(
        pruned,
        {g.layer: (g.channels, g.channels - int(d.sum())) for g, d in zip(groups, gone, strict=True)},
        (before, after, expected),
        (count_work(model, named), count_work(pruned, named)),
        whole,
    )


def group_magnitude(tensors: dict[str, Tensor], group: Group) -> Tensor:
    """How much each channel of a group matters: the mean over its weights of the sum of squares, relative to the mean.

    Args:
        tensors: name -> parameter or buffer.
        group: the channels.

    Returns:
        [channels] float, 1 on average.
    """
    total, count = torch.zeros(group.channels), 0
    for part in group.slices:
        if part.weight:
            value = tensors[part.tensor].detach()
            squares = value.float().square().movedim(part.dim, 0).reshape(len(part.channel), -1).sum(1)
            here = part.channel >= 0
            total.index_add_(0, part.channel[here], squares[here])
            count += 1
    return total / total.mean().clamp_min(torch.finfo(total.dtype).tiny)


def cut_channels(model: nn.Module, groups: Sequence[Group], gone: Sequence[Tensor]) -> None:
    """Remove channels from a model in place.

    Args:
        model: the model that the groups were found in, or a copy of it.
        groups: groups of channels.
        gone: bool `[channels]` for each group.
    """
    layers = dict(known_layers(model))
    tensors, places = tensors_by_name(model), {found[0][2]: found for found in owners(model).values()}
    keep = {key: ~drop for key, drop in positions(tensors, groups, gone).items()}
    for name in dict.fromkeys(name for name, _ in keep):
        value = tensors[name]
        less = value.detach()
        for dim in range(value.dim()):
            if (name, dim) in keep:
                less = less.index_select(dim, keep[name, dim].nonzero().view(-1))
        if isinstance(value, nn.Parameter):
            less = nn.Parameter(less, requires_grad=value.requires_grad)
        for module, attribute, _ in places[name]:
            setattr(module, attribute, less)
    for path, (before, after) in _port_sizes(groups, gone).items():
        layer, module = layers[path], model.get_submodule(path)
        layer.resize(module, after)
        for name in layer.rescale if "output" in after else ():
            _scale(module, name, math.sqrt(after["output"] / before["output"]))


# ---------------------------------------------------------------------------------------------------------------------


def _choose(model: nn.Module, group: Group, ratio: float) -> Tensor:
    """Mark the channels that go (bool `[channels]`): whole units, those that matter least."""
    free = group.unit >= 0
    left = math.floor(group.units * (1 - ratio) + 0.5)
    if left < 1:
        most = 1 - 1 / group.units
        raise PruneError(
            f"a ratio of {ratio:g} would leave nothing of the {group.units} channels of {group.name}: "
            f"ask for at most {most:.2g}"
        )
    matters = group_magnitude(tensors_by_name(model), group)
    size = torch.zeros(group.units).index_add_(0, group.unit[free], torch.ones(int(free.sum())))
    of_unit = torch.zeros(group.units).index_add_(0, group.unit[free], matters[free]) / size
    going = torch.zeros(group.units, dtype=torch.bool)
    going[of_unit.argsort(stable=True)[: group.units - left]] = True
    return free & going[group.unit.clamp_min(0)]


def _port_sizes(groups: Sequence[Group], gone: Sequence[Tensor]) -> dict[str, tuple[dict[str, int], dict[str, int]]]:
    """Path of a layer -> channels of its ports before and after."""
    sizes: dict[str, tuple[dict[str, int], dict[str, int]]] = {}
    for group, going in zip(groups, gone, strict=True):
        for path, port, channel in group.ports:
            before, after = sizes.setdefault(path, ({}, {}))
            before[port] = len(channel)
            after[port] = after.get(port, len(channel)) - int(going[channel[channel >= 0]].sum())
    return sizes


def _scale(module: nn.Module, name: str, factor: float) -> None:
    value = dict(module.named_parameters()).get(name)
    if value is not None:
        with torch.no_grad():
            value.mul_(factor)


def _expected_parameters(model: nn.Module, groups: Sequence[Group], ratio: float) -> float:
    """How many parameters would be left if every group lost exactly the ratio."""
    tensors = tensors_by_name(model)
    free = positions(tensors, groups, [g.unit >= 0 for g in groups])
    total = 0.0
    for name, value in tensors.items():
        if isinstance(value, nn.Parameter):
            share = 1.0
            for dim in range(value.dim()):
                if (name, dim) in free:
                    share *= 1 - ratio * float(free[name, dim].float().mean())
            total += share * value.numel()
    return total


# Cutting ------------------------------------------------------------


def _cut(model: nn.Module, inputs: dict[str, Tensor], groups: list[Group], gone: list[Tensor]) -> nn.Module:
    """A copy without these channels, in which modules that were followed from the inside say their widths."""
    pruned = copied_model(model)
    before = _widths(pruned, inputs)
    cut_channels(pruned, groups, gone)
    after = _widths(pruned, inputs)
    known = {path for path, _ in known_layers(pruned)}
    for path, module in pruned.named_modules():
        if path in before and path not in known:
            _follow_widths(module, before[path], after[path])
    return pruned


def _widths(model: nn.Module, inputs: dict[str, Tensor]) -> dict[str, tuple[Any, Any]]:
    """Path of a module -> last dimension of its first argument (of each, for a pair) and of its result."""
    widths: dict[str, tuple[Any, Any]] = {}
    model = copied_model(model)  # some layers keep what they have seen

    def note(path: str) -> Any:
        def hook(_: nn.Module, args: Any, kwargs: Any, out: Any) -> None:
            widths[path] = (_width([*args, *kwargs.values()][0]) if args or kwargs else None, _width(out))

        return hook

    for path, module in model.named_modules():
        module.register_forward_hook(note(path), with_kwargs=True)
    with torch.no_grad():
        model(**inputs)
    return widths


def _width(value: Any) -> Any:
    if isinstance(value, (tuple, list)):
        return tuple(_width(v) for v in value)
    return value.shape[-1] if isinstance(value, Tensor) and value.dim() > 0 else None


def _follow_widths(module: nn.Module, before: tuple[Any, Any], after: tuple[Any, Any]) -> None:
    """Correct what a module that was followed from the inside says of its own channels."""
    for side, names in enumerate((("in_channels", "in_features"), ("out_channels", "out_features"))):
        for name in names:
            if before[side] is not None and module.__dict__.get(name) == before[side] != after[side]:
                setattr(module, name, after[side])
