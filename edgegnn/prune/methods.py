"""The names of pruning methods and their limits, without torch."""

from __future__ import annotations

from edgegnn.errors import UsageError

__all__ = ["METHODS", "VARIANTS", "check_sparsity"]

METHODS = ("fine-grained", "global")  # by magnitude
VARIANTS = ("l1", "group-norm", "growing")  # of "regularized"


def check_sparsity(sparsity: float) -> None:
    """Refuse a sparsity outside [0, 1).

    Raises:
        UsageError: it is outside, or not a number.
    """
    if not 0 <= sparsity < 1:
        raise UsageError(f"sparsity must lie in [0, 1), not {sparsity}: 0.5 prunes half of the weights")
