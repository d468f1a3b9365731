"""Training: fit a model to a task."""

from __future__ import annotations

from edgegnn.training.config import FitConfig, fit_defaults
from edgegnn.training.fit import EpochLog, FitResult, fit, steps_per_epoch, validate
from edgegnn.training.sparse import accelerate, csr_sum

__all__ = [
    "EpochLog",
    "FitConfig",
    "FitResult",
    "accelerate",
    "csr_sum",
    "fit",
    "fit_defaults",
    "steps_per_epoch",
    "validate",
]
