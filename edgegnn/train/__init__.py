"""Training: fit a model to a task."""

from __future__ import annotations

from edgegnn.train.fit import EpochLog, FitConfig, FitResult, fit, fit_defaults

__all__ = ["EpochLog", "FitConfig", "FitResult", "fit", "fit_defaults"]
