"""Pruning: which weights go (magnitude, regularized), masks that keep them away, and how a model is compressed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgegnn.prune.methods import METHODS
from edgegnn.utils.lazy import on_first_use

if TYPE_CHECKING:
    from edgegnn.prune.magnitude import count_pruned, gradual_sparsity, magnitude_masks
    from edgegnn.prune.masks import Masks, Sparsity, masks_of, sparsity_of
    from edgegnn.prune.weights import find_weights
else:
    __getattr__ = on_first_use(
        __name__,
        {
            "magnitude": ("count_pruned", "gradual_sparsity", "magnitude_masks"),
            "masks": ("Masks", "Sparsity", "masks_of", "sparsity_of"),
            "weights": ("find_weights",),
        },
    )

__all__ = [
    "METHODS",
    "Masks",
    "Sparsity",
    "count_pruned",
    "find_weights",
    "gradual_sparsity",
    "magnitude_masks",
    "masks_of",
    "sparsity_of",
]
