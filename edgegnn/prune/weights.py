"""Which parameters are weights that can be pruned one by one, decided by how the model uses them.

The rule: a floating-point parameter of two or more dimensions is a weight when, in a forward pass, it meets data in an
operation that is not elementwise (a matrix product, a gathered row, a spline kernel, ...). One that only ever meets
data elementwise is a vector laid out in more dimensions, such as the attention vectors `[1, heads, channels]` of a GAT
layer or learned positions: it has few entries and each of them scales a whole channel, so it stays as it is. What a
model does to a parameter alone (transposing, normalising, mixing it with other parameters) doesn't count as meeting
data.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from edgegnn.errors import PruneError
from edgegnn.tasks.collating import by_name

__all__ = ["find_weights"]

ELEMENTWISE = "used element by element, as an attention vector is, and not as a matrix"
UNUSED = "the forward pass doesn't use it"


def find_weights(
    model: nn.Module, args: Mapping[str, Tensor] | Sequence[Tensor]
) -> tuple[list[str], list[dict[str, str]]]:
    """Find the weights of a model that can be pruned one by one.

    Args:
        model: any module; it is run once, in eval mode and without gradients.
        args: arguments of its forward, by name or in its order (a real graph).

    Returns:
        Names of the weights, in the order of `named_parameters()`; and the other parameters of two or more dimensions,
        each as {"tensor": name, "why": reason}.

    Raises:
        PruneError: there is nothing to prune.
    """
    candidates = {n: p for n, p in model.named_parameters() if p.dim() >= 2 and p.is_floating_point()}
    watch = _Watch({n: p.detach() for n, p in candidates.items()})
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad(), watch:
            model(**by_name(model, args))
    finally:
        model.train(was_training)
    names = [n for n in candidates if n in watch.matrices]
    excluded = [
        {"tensor": n, "why": ELEMENTWISE if n in watch.elementwise else UNUSED}
        for n in candidates
        if n not in watch.matrices
    ]
    if not names:
        raise PruneError("nothing to prune: the model has no weight of two or more dimensions that its forward uses")
    return names, excluded


class _Watch(TorchDispatchMode):
    """Note how each parameter meets data: elementwise, or in another way."""

    def __init__(self, parameters: dict[str, Tensor]) -> None:
        super().__init__()
        self.matrices: set[str] = set()
        self.elementwise: set[str] = set()
        self._of = {_place(p): frozenset([n]) for n, p in parameters.items()}
        self._alive: list[Tensor] = []  # a freed tensor's memory would be taken for what it held before

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        given = [t for t in tree_leaves((args, kwargs or {})) if isinstance(t, Tensor)]
        found = [self._of.get(_place(t)) for t in given]
        names = frozenset[str]().union(*(f for f in found if f))
        if not names:
            return out
        if all(f is not None or t.dim() == 0 for f, t in zip(found, given, strict=True)):
            for made in tree_leaves(out):
                if isinstance(made, Tensor):
                    self._alive.append(made)
                    self._of[_place(made)] = self._of.get(_place(made), frozenset()) | names
        elif torch.Tag.pointwise in func.tags:
            self.elementwise |= names
        else:
            self.matrices |= names
        return out


def _place(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()
