"""Training: fit a model to a task. How to train (`FitConfig`) is known without importing torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgegnn.training.config import FitConfig, fit_defaults
from edgegnn.utils.lazy import on_first_use

if TYPE_CHECKING:
    from edgegnn.training.fitting import EpochLog, FitResult, fit, steps_per_epoch, validate
    from edgegnn.training.sparse import accelerate, csr_sum
else:
    __getattr__ = on_first_use(
        __name__,
        {
            "fitting": ("EpochLog", "FitResult", "fit", "steps_per_epoch", "validate"),
            "sparse": ("accelerate", "csr_sum"),
        },
    )

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
