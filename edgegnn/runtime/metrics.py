"""Compare outputs, and the task metrics in numpy.

What a model predicts (`target`): "classes" (logits, one class a row), "labels" (logits, several yes/no labels a row,
NaN where one isn't known), "values" (numbers in the units of the data) or "none" (numbers that nothing is known of:
embeddings, outputs without labels).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from edgegnn.errors import ArtifactError, DataError

__all__ = [
    "LOWER_IS_BETTER",
    "METRICS",
    "NO_ACCURACY",
    "NUMBERS",
    "TARGETS",
    "as_rows",
    "classes",
    "compare",
    "metric_name",
    "metric_text",
    "predictions",
    "probabilities",
    "score",
    "undefined",
    "without_metric",
]

Array = npt.NDArray[Any]

# Target -> its metrics, the default first.
TARGETS = {
    "classes": ("accuracy", "roc_auc", "average_precision"),
    "labels": ("mean_roc_auc",),
    "values": ("mae", "rmse"),
    "none": (),
}
# What is said in place of a metric where there are no labels.
NO_ACCURACY = "no accuracy is claimed: exported without labels (--task none)"
# Targets whose outputs are compared as numbers.
NUMBERS = ("values", "none")
METRICS = tuple(metric for metrics in TARGETS.values() for metric in metrics)
LOWER_IS_BETTER = TARGETS["values"]


def as_rows(values: Array) -> Array:
    """An output as a matrix: a row for each entry of its first axis."""
    return values.reshape(values.shape[0], math.prod(values.shape[1:])) if values.ndim != 2 else values


def without_metric(reason: str) -> str:
    """What is said where there is no metric."""
    return reason if reason == NO_ACCURACY else f"metric undefined: {reason}"


def classes(logits: Array) -> Array:
    """Predicted classes, int64 `[n]`, of logits `[n, C]`; the sign decides where there is one column."""
    if logits.shape[1] == 1:
        return (logits[:, 0] > 0).astype(np.int64)
    return logits.argmax(axis=1).astype(np.int64)


def predictions(outputs: Array, target: str = "classes") -> Array:
    """Predictions of outputs `[n, C]`: classes int64 `[n]`, labels int64 `[n, C]`, or the numbers themselves."""
    if target == "labels":
        return (outputs > 0).astype(np.int64)
    return outputs if target in NUMBERS else classes(outputs)


def probabilities(logits: Array) -> Array:
    """Probability of "yes", float64 `[n]`, of logits `[n, 1]`."""
    return 1.0 / (1.0 + np.exp(-np.clip(logits[:, 0].astype(np.float64), -500, 500)))


def compare(
    expected: Array, got: Array, *, target: str = "classes", within: Sequence[float] | None = None
) -> tuple[int, int, float]:
    """Compare two sets of outputs.

    Args:
        expected: float `[n, C]`.
        got: float `[n, C]`.
        target: what the outputs are.
        within: how far values may lie apart to count as the same, one for each column; for `NUMBERS` only.

    Returns:
        Rows, rows whose prediction is the same, and the largest absolute difference (infinite where `got` is not
        finite).

    Raises:
        ArtifactError: the shapes differ.
    """
    if expected.shape != got.shape or expected.ndim != 2:
        raise ArtifactError(f"the model gives logits of shape {list(got.shape)}, expected {list(expected.shape)}")
    if expected.size == 0:
        return expected.shape[0], expected.shape[0], 0.0
    same = same_rows(expected, got, target, within)
    if not np.isfinite(got).all():
        return expected.shape[0], int(same.sum()), math.inf
    error = float(np.abs(expected.astype(np.float64) - got.astype(np.float64)).max())
    return expected.shape[0], int(same.sum()), error


def same_rows(expected: Array, got: Array, target: str = "classes", within: Sequence[float] | None = None) -> Array:
    """Which rows have the same prediction, bool `[n]`; arguments as of `compare`."""
    finite: Array = np.asarray(np.isfinite(got).all(axis=1))
    if target in NUMBERS:
        with np.errstate(invalid="ignore"):
            apart = np.abs(expected.astype(np.float64) - got.astype(np.float64))
            near = apart <= np.asarray(within if within is not None else 0.0)
        return np.logical_and(finite, near.all(axis=1))
    same = np.equal(predictions(expected, target), predictions(got, target))
    return np.logical_and(finite, same if same.ndim == 1 else same.all(axis=1))


def score(metric: str, outputs: Array, labels: Array) -> float:
    """The task metric: in [0, 1] and higher is better, or for "mae" and "rmse" an error in the units of the data.

    Args:
        metric: "accuracy"; "roc_auc" and "average_precision" (two classes, or one logit; ties count half, or as one
            threshold); "mean_roc_auc" (mean over the columns of labels
            that have both classes); "mae" or "rmse" (mean over columns).
        outputs: float `[n, C]`.
        labels: int64 `[n]`; float `[n, C]` for "mean_roc_auc" (NaN: not known), "mae" and "rmse".

    Returns:
        The value; NaN for a ROC-AUC that isn't defined (`undefined` says why).

    Raises:
        DataError: an unknown metric, nothing to score, or labels and outputs that don't fit it.
    """
    if len(labels) == 0 or len(labels) != len(outputs):
        raise DataError(f"there is nothing to score: {len(outputs)} rows of logits, {len(labels)} labels")
    if metric not in METRICS:
        raise DataError(f"unknown metric {metric!r}: choose one of {', '.join(METRICS)}")
    if (metric in TARGETS["classes"]) != (labels.ndim == 1) or (labels.ndim == 2 and labels.shape != outputs.shape):
        raise DataError(f"{metric} doesn't fit labels of shape {list(labels.shape)}, outputs {list(outputs.shape)}")
    if metric == "accuracy":
        return float((classes(outputs) == labels).mean())
    if metric in LOWER_IS_BETTER:
        apart = outputs.astype(np.float64) - labels.astype(np.float64)
        errors = np.abs(apart).mean(axis=0) if metric == "mae" else np.sqrt((apart**2).mean(axis=0))
        return float(errors.mean())
    if metric == "mean_roc_auc":
        known = [~np.isnan(column) for column in labels.T]
        areas = [
            _roc_auc(outputs[rows, i].astype(np.float64), labels[rows, i] > 0.5)
            for i, rows in enumerate(known)
            if rows.any()
        ]
        defined = [area for area in areas if not math.isnan(area)]
        return float(np.mean(defined)) if defined else math.nan
    if outputs.shape[1] > 2:
        raise DataError(f"{metric} needs two classes, the model has {outputs.shape[1]}: use accuracy")
    margin = outputs[:, -1].astype(np.float64)
    if outputs.shape[1] == 2:
        margin = margin - outputs[:, 0].astype(np.float64)
    return (_roc_auc if metric == "roc_auc" else _average_precision)(margin, labels == 1)


def undefined(metric: str, labels: Array) -> str:
    """Why the metric has no value over these labels; "" when it has one."""
    if metric in ("roc_auc", "average_precision") and len(np.unique(labels)) < 2:
        return f"{metric} needs labels of both classes, all of these are of one"
    if metric == "mean_roc_auc" and not any(len(np.unique(c[~np.isnan(c)])) > 1 for c in labels.T):
        return "mean_roc_auc needs a column with labels of both classes, here is none"
    return ""


def metric_name(name: str) -> str:
    """A metric's name for people, which says where less is better."""
    return f"{name} (lower is better)" if name in LOWER_IS_BETTER else name


def metric_text(name: str, value: float | None) -> str:
    """A metric's value for people: percent, an error in the units of the data, or "undefined" for None."""
    if value is None:
        return "undefined"
    return f"{value:.4g}" if name in LOWER_IS_BETTER else f"{100 * value:.2f} %"


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


def _average_precision(margin: Array, positive: Array) -> float:
    """Sum over thresholds of precision times the recall that is won there; equal scores are one threshold."""
    if positive.all() or not positive.any():
        return math.nan
    order = np.argsort(-margin, kind="stable")
    hits = np.cumsum(positive[order])
    last = np.append(np.diff(margin[order]) != 0, True)  # of each run of equal scores
    precision = hits[last] / (np.flatnonzero(last) + 1)
    return float((precision * np.diff(hits[last], prepend=0)).sum() / hits[-1])
