"""Masks: which weights are pruned, and how they stay at zero while the rest is trained."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from edgegnn.errors import PruneError

__all__ = ["Masks", "Sparsity", "masks_of", "sparsity_of"]


@dataclass(frozen=True)
class Masks:
    """Which weights stay.

    Attributes:
        keep: name of a parameter (as in `model.named_parameters()`) -> bool tensor of its shape, False where pruned.
    """

    keep: dict[str, Tensor]

    def apply(self, model: nn.Module) -> None:
        """Set the pruned weights of `model` to zero.

        Raises:
            PruneError: a mask has no parameter, or one of another shape.
        """
        self.bind(model)(model)

    def bind(self, model: nn.Module) -> Callable[[nn.Module], None]:
        """Return a function for `fit(..., after_step=...)` that sets the pruned weights to zero.

        It is bound to the parameters as they are now, not to their names: they may be wrapped in another module (with
        fake quantization, say) afterwards, as long as they stay the same parameters. Zeroing after every step undoes
        whatever the step did, be it by gradient, momentum or weight decay.

        Raises:
            PruneError: a mask has no parameter, or one of another shape.
        """
        own = dict(model.named_parameters())
        pairs: list[tuple[nn.Parameter, Tensor]] = []
        for name, keep in self.keep.items():
            if name not in own:
                raise PruneError(f"the model has no parameter {name}, which is pruned: is it another model's mask?")
            if own[name].shape != keep.shape:
                raise PruneError(
                    f"the mask of {name} has shape {list(keep.shape)}, the parameter {list(own[name].shape)}: "
                    "is it another model's mask?"
                )
            pairs.append((own[name], ~keep))

        def zero(_: nn.Module) -> None:
            with torch.no_grad():
                for parameter, pruned in pairs:
                    parameter.masked_fill_(pruned, 0.0)

        return zero


@dataclass(frozen=True)
class Sparsity:
    """How many of `total` weights are zero."""

    zeros: int
    total: int

    @property
    def share(self) -> float:
        """Zeros in [0, 1]; 0 of nothing."""
        return self.zeros / self.total if self.total else 0.0


def masks_of(model: nn.Module, names: Iterable[str]) -> Masks:
    """The masks of a model that is pruned already: what is zero now stays zero.

    Raises:
        PruneError: the model has no parameter of that name.
    """
    own = dict(model.named_parameters())
    keep = {}
    for name in names:
        if name not in own:
            raise PruneError(f"the model has no parameter {name}, which is said to be pruned")
        keep[name] = own[name].detach() != 0
    return Masks(keep)


def sparsity_of(model: nn.Module, names: Iterable[str]) -> dict[str, Sparsity]:
    """Zeros and size of the parameters of those names."""
    own = dict(model.named_parameters())
    return {n: Sparsity(own[n].numel() - int(own[n].detach().count_nonzero()), own[n].numel()) for n in names}
