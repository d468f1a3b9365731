"""A copy of a model that goes on as the model does."""

from __future__ import annotations

import copy
import types
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from torch import nn

__all__ = ["copied"]

M = TypeVar("M", bound="nn.Module | Any")


def copied(model: M) -> M:
    """A deep copy, with the forwards that the model's modules were given.

    `torch.fx.GraphModule` (what `to_hetero` makes, say) leaves those out of its own copies.
    """
    new = copy.deepcopy(model)
    if not hasattr(model, "modules"):
        return new
    for old, own in zip(model.modules(), new.modules(), strict=True):
        given = vars(old).get("forward")
        if isinstance(given, types.MethodType) and given.__self__ is old and "forward" not in vars(own):
            own.forward = types.MethodType(given.__func__, own)
    return new
