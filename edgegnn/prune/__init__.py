"""Pruning: which weights go (magnitude, regularized), masks that keep them away, and how a model is compressed."""

from edgegnn.prune.magnitude import METHODS, count_pruned, gradual_sparsity, magnitude_masks
from edgegnn.prune.masks import Masks, Sparsity, masks_of, sparsity_of
from edgegnn.prune.weights import find_weights

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
