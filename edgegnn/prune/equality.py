"""Does a model without some channels compute what the whole one does with zeros in their place?

One real graph may hide what is wrong: features that are zero, or outputs that lie far from zero and hardly move. So the
two are compared in double precision on several graphs with random features, by how far the outputs spread.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from edgegnn.errors import PruneError, first_line
from edgegnn.prune.groups import (
    OTHERWISE,
    Clock,
    Group,
    copied_model,
    known_layers,
    positions,
    tensors_by_name,
)

__all__ = ["misunderstood"]

Cut = Callable[[nn.Module, Sequence[Group], Sequence[Tensor]], None]
_GRAPHS = 3
_APART = 1e-3  # of how far outputs spread


def misunderstood(
    model: nn.Module, inputs: dict[str, Tensor], groups: list[Group], gone: list[Tensor], cut: Cut, clock: Clock
) -> dict[str, str]:
    """Name of each group whose channels can't go -> what happens without some of them.

    Args:
        model: stays as it is.
        inputs: a real graph, by name.
        groups: groups of channels.
        gone: bool `[channels]` for each group.
        cut: removes channels in place.
        clock: when to give up.

    Raises:
        PruneError: the groups are right one by one and not together; or it takes too long.
    """
    if not groups or _problem(model, inputs, groups, gone, cut) is None:
        return {}
    found = {}
    for group, going in zip(groups, gone, strict=True):
        clock.check()
        problem = _problem(model, inputs, [group], [going], cut)
        if problem is not None:
            found[group.name] = problem
    rest = [at for at, group in enumerate(groups) if group.name not in found]
    problem = _problem(model, inputs, [groups[at] for at in rest], [gone[at] for at in rest], cut) if rest else None
    if problem is not None:
        raise PruneError(f"structured pruning can't follow this model: without some channels {problem}; {OTHERWISE}")
    return found


def _problem(
    model: nn.Module, inputs: dict[str, Tensor], groups: list[Group], gone: list[Tensor], cut: Cut
) -> str | None:
    """What is wrong with the pruned model, compared with the whole one with zeros for the same channels."""
    whole, pruned = copied_model(model), copied_model(model)
    tensors = tensors_by_name(whole)
    with torch.no_grad():
        for (name, dim), drop in positions(tensors, groups, gone).items():
            tensors[name].index_fill_(dim, drop.nonzero().view(-1), 0)
    cut(pruned, groups, gone)
    for copied in (whole, pruned):
        for path, layer in known_layers(copied):
            if layer.mixes:  # mean and variance over fewer channels are others, and meant to be
                copied.get_submodule(path).forward = _Affine(copied.get_submodule(path))
    compared = 0
    for given in _graphs(inputs):
        for exact in (True, False):
            wanted = _outputs(whole, given, exact=exact)
            if not isinstance(wanted, str):
                break
        else:
            continue  # the model itself doesn't run on such a graph
        found = _outputs(pruned, given, exact=exact)
        if isinstance(found, str):
            return f"its forward fails ({found})"
        if not all(_alike(a, b) for a, b in zip(wanted, found, strict=True)):
            return "it computes something else"
        compared += 1
    return None if compared else "nothing can be compared: the model fails on the example"


def _graphs(inputs: dict[str, Tensor]) -> Iterator[dict[str, Tensor]]:
    """The graph with other features of a size about 1: those it has, multiplied by random factors, and some noise."""
    generator = torch.Generator().manual_seed(0)
    for _ in range(_GRAPHS):
        yield {name: _varied(value, generator) for name, value in inputs.items()}
    yield inputs  # where features must be what they are


def _varied(value: Tensor, generator: torch.Generator) -> Tensor:
    if not value.is_floating_point():
        return value
    factor = 0.5 + torch.rand(value.shape, generator=generator)
    size = float(value.abs().mean()) if value.numel() else 0.0
    return value / (size or 1.0) * factor + 0.1 * torch.rand(value.shape, generator=generator)


def _outputs(model: nn.Module, inputs: dict[str, Tensor], *, exact: bool) -> list[Tensor] | str:
    """What a model gives, in double precision if `exact`; why it fails, where it does."""
    dtype = torch.float64 if exact else torch.float32
    given = {name: value.to(dtype) if value.is_floating_point() else value for name, value in inputs.items()}
    try:
        with torch.no_grad():
            return [v for v in tree_leaves(model.to(dtype)(**given)) if isinstance(v, Tensor)]
    except Exception as error:
        return first_line(error)


def _alike(wanted: Tensor, found: Tensor) -> bool:
    if wanted.shape != found.shape:
        return False
    if not wanted.is_floating_point():
        return torch.equal(wanted, found)
    if not wanted.numel():
        return True
    rows = wanted.reshape(wanted.shape[0], -1) if wanted.dim() else wanted.reshape(1, 1)
    spread = float((rows - rows.mean(0)).abs().max()) if len(rows) > 1 else float(rows.abs().max())
    rounding = 1e-6 * float(rows.abs().max())
    return torch.allclose(wanted, found, rtol=0, atol=_APART * spread + rounding, equal_nan=True)


class _Affine:
    """What is left of a normalization without its normalizing."""

    def __init__(self, module: Any) -> None:
        self.module = module

    def __call__(self, x: Tensor, *_: Any, **__: Any) -> Tensor:
        if self.module.weight is not None:
            x = x * self.module.weight
        return x if self.module.bias is None else x + self.module.bias
