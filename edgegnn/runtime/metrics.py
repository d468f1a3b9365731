"""Compare logits, and the task metrics in numpy."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from edgegnn.errors import ArtifactError, DataError

__all__ = ["classes", "compare", "score"]

Array = npt.NDArray[Any]


def classes(logits: Array) -> Array:
    """Predicted classes, int64 `[n]`, of logits `[n, C]`; the sign decides where there is one column."""
    if logits.shape[1] == 1:
        return (logits[:, 0] > 0).astype(np.int64)
    return logits.argmax(axis=1).astype(np.int64)


def compare(expected: Array, got: Array) -> tuple[int, int, float]:
    """Compare two sets of logits.

    Args:
        expected: float `[n, C]`.
        got: float `[n, C]`.

    Returns:
        Rows, rows whose predicted class is the same, and the largest absolute difference (infinite where `got` is not
        finite).

    Raises:
        ArtifactError: the shapes differ.
    """
    if expected.shape != got.shape or expected.ndim != 2:
        raise ArtifactError(f"the model gives logits of shape {list(got.shape)}, expected {list(expected.shape)}")
    if expected.size == 0:
        return expected.shape[0], expected.shape[0], 0.0
    finite = np.isfinite(got).all(axis=1)
    agreeing = int(((classes(expected) == classes(got)) & finite).sum())
    if not finite.all():
        return expected.shape[0], agreeing, math.inf
    error = float(np.abs(expected.astype(np.float64) - got.astype(np.float64)).max())
    return expected.shape[0], agreeing, error


def score(metric: str, logits: Array, labels: Array) -> float:
    """The task metric, in [0, 1].

    Args:
        metric: "accuracy", or "roc_auc" (two classes, ties count half).
        logits: float `[n, C]`.
        labels: int64 `[n]`.

    Returns:
        The value; NaN for a roc_auc over labels of one class only.

    Raises:
        DataError: an unknown metric, nothing to score, or roc_auc with another number of classes than two.
    """
    if len(labels) == 0 or len(labels) != len(logits):
        raise DataError(f"there is nothing to score: {len(logits)} rows of logits, {len(labels)} labels")
    if metric == "accuracy":
        return float((classes(logits) == labels).mean())
    if metric != "roc_auc":
        raise DataError(f"unknown metric {metric!r}: choose accuracy or roc_auc")
    if logits.shape[1] > 2:
        raise DataError(f"roc_auc needs two classes, the model has {logits.shape[1]}: use accuracy")
    margin = logits[:, -1].astype(np.float64)
    if logits.shape[1] == 2:
        margin = margin - logits[:, 0].astype(np.float64)
    return _roc_auc(margin, labels == 1)


def _roc_auc(margin: Array, positive: Array) -> float:
    """Mann-Whitney: the share of (positive, negative) pairs in the right order."""
    n_positive = int(positive.sum())
    n_negative = len(positive) - n_positive
    if n_positive == 0 or n_negative == 0:
        return math.nan
    _, inverse, counts = np.unique(margin, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    ranks = (last - (counts - 1) / 2.0)[inverse.reshape(-1)]
    u = float(ranks[positive].sum()) - n_positive * (n_positive + 1) / 2.0
    return u / (n_positive * n_negative)
