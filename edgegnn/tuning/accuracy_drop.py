"""How much worse a candidate is than the float model, on the validation split and nothing else.

The artifact's answers, run by its own runtime, are compared with the float model's in PyTorch. A validation split is a
sample: of 500 nodes, thirty of which two models answer differently, the difference in accuracy has a standard error of
about a point. A search that takes what looks best on it takes what was lucky, so a margin is kept: a candidate is
within the allowed drop when

    drop + min(standard error of the drop, half of the allowed drop) <= allowed drop

The standard error belongs to the paired difference, from resampled rows. Where the split is too small for its standard
error to fit, half of what is allowed is the margin.
"""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from torch import nn

from edgegnn.errors import DataError
from edgegnn.exporting.parity import torch_outputs
from edgegnn.exporting.samples import Sample, split_graphs
from edgegnn.runtime import make_session, open_artifact
from edgegnn.runtime.metrics import LOWER_IS_BETTER, same_rows, score, undefined
from edgegnn.runtime.session import run
from edgegnn.tasks import Task, model_inputs

if TYPE_CHECKING:
    from edgegnn.exporting.pipeline import ExportResult

__all__ = ["Judge", "Verdict"]

Array = npt.NDArray[Any]

_RESAMPLES, _FEWER, _MANY_ROWS = 200, 50, 20_000
_NEAR = 0.1  # values count as equal within this share of their standard deviation


@dataclasses.dataclass(frozen=True)
class Verdict:
    """A candidate on the validation split.

    Attributes:
        val: the task's metric.
        drop: by how much it is worse than the float model's, in the metric's own unit (accuracy: a share, not points).
        error: standard error of `drop`.
        agreement: share of rows that are answered as the float model does.
    """

    val: float
    drop: float
    error: float
    agreement: float

    def excess(self, allowed: float) -> float:
        """By how much the drop, with its margin, is above what is allowed; 0 or less: it is within."""
        return self.drop + min(self.error, allowed / 2) - allowed - 1e-9


class Judge:
    """The float model on the validation split, and what candidates are compared with.

    Args:
        model: the float model.
        task: its data.

    Attributes:
        metric: name of the task's metric.
        val: the float model's value.
        rows: rows of the validation split.

    Raises:
        DataError: there is no validation split, or its labels don't define the metric.
        ExportError: the model fails on it.
    """

    def __init__(self, model: nn.Module, task: Task) -> None:
        if len(task.index["val"]) == 0:
            raise DataError("there is no validation split to choose on: give one (val_mask, or --split)")
        self._task = task
        self.metric = task.spec.metric
        self._target = task.spec.target
        deviation = task.spec.scale.get("std")
        self._within = None if deviation is None else [_NEAR * each for each in deviation]
        samples = self._samples(model_inputs(model, task))
        self._outputs = _rows(samples, torch_outputs(model, samples))
        self._labels = np.concatenate([s.label[_counted(s)] for s in samples if s.label is not None])
        self.rows = len(self._labels)
        why = undefined(self.metric, self._labels)
        if why:
            raise DataError(f"the validation split can't be chosen on: {why}")
        self.val = score(self.metric, self._outputs, self._labels)
        number = _RESAMPLES if self.rows <= _MANY_ROWS else _FEWER
        self._picks = np.random.default_rng(0).integers(0, self.rows, (number, self.rows))
        self._own = np.array([self._score(self._outputs, pick) for pick in self._picks])

    def exported(self, result: ExportResult) -> Verdict:
        """Judge an artifact by the answers that its export compared with PyTorch's.

        Raises:
            ArtifactError: it takes some of the graphs only, and the rest shows that it can't be run on them.
        """
        found = result.validation
        outputs = _rows(found.samples, found.outputs)
        return self.outputs(outputs) if len(outputs) == self.rows else self.artifact(result.path)

    def artifact(self, path: Path) -> Verdict:
        """Judge an artifact that is opened and run.

        Raises:
            ArtifactError: it can't be run.
        """
        opened = open_artifact(path)
        session = make_session(opened, threads=1)
        samples = self._samples([spec.name for spec in opened.manifest.inputs])
        return self.outputs(_rows(samples, [run(session, opened.manifest, s.inputs) for s in samples]))

    def outputs(self, outputs: Array) -> Verdict:
        """Judge outputs [rows, C] for the rows of the validation split."""
        val = score(self.metric, outputs, self._labels)
        differences = np.array([self._score(outputs, pick) for pick in self._picks]) - self._own
        known = differences[np.isfinite(differences)]
        error = float(known.std()) if len(known) else 0.0
        same = same_rows(self._outputs, outputs, self._target, self._within)
        return Verdict(val, self.drop(val), error, float(same.mean()))

    def drop(self, val: float | None) -> float:
        """By how much a value of the metric is worse than the float model's; infinite for none."""
        if val is None or not math.isfinite(val):
            return math.inf
        return val - self.val if self.metric in LOWER_IS_BETTER else self.val - val

    def hopeless(self, allowed: float) -> float:
        """A drop from which the second half of a training doesn't bring a model back."""
        return 5 * allowed + 0.1 * abs(self.val)

    def nearly(self, allowed: float) -> float:
        """How much more than the allowed drop a full training may make good after a short one."""
        return 2 * allowed + 0.02 * abs(self.val)

    def _samples(self, names: Any) -> list[Sample]:
        return split_graphs(self._task, names, "val")

    def _score(self, outputs: Array, rows: Array) -> float:
        return score(self.metric, outputs[rows], self._labels[rows])


def _counted(sample: Sample) -> Any:
    return slice(None) if sample.mask is None else sample.mask


def _rows(samples: list[Sample], outputs: list[Any]) -> Array:
    return np.concatenate([out[_counted(sample)] for sample, out in zip(samples, outputs, strict=True)])
