"""Training: fit a model to a task."""

from __future__ import annotations

from edgegnn.callable import make_callable
from edgegnn.train.config import FitConfig, fit_defaults
from edgegnn.train.fit import EpochLog, FitResult, fit, steps_per_epoch
from edgegnn.train.sparse import accelerate, csr_sum

__all__ = ["EpochLog", "FitConfig", "FitResult", "accelerate", "csr_sum", "fit", "fit_defaults", "steps_per_epoch"]

make_callable(__name__, "edgegnn.api:train")
