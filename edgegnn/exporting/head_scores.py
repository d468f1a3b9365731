"""The metric of each further head, of PyTorch's model and of the artifact."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from edgegnn.exporting.building import Built
from edgegnn.exporting.comparing import Comparison, with_edges
from edgegnn.exporting.parity import torch_outputs
from edgegnn.exporting.request import ExportRequest
from edgegnn.exporting.samples import Sample
from edgegnn.manifest import Compared, HeadMetric
from edgegnn.runtime import score
from edgegnn.runtime.metrics import as_rows, undefined
from edgegnn.tasks.evaluation import labels_of
from edgegnn.tasks.spec import Head

__all__ = ["head_scores"]

Array = npt.NDArray[Any]


def head_scores(request: ExportRequest, built: Built, found: Comparison) -> list[HeadMetric]:
    """The metric of each further head on the test and the validation split."""
    return [_scored(head, request, built, found) for head in request.task.heads]


def _scored(head: Head, request: ExportRequest, built: Built, found: Comparison) -> HeadMetric:
    test, labels = _compared(head, "test", found.test.samples, request, built)
    validation, _ = _compared(head, "val", found.validation.samples, request, built)
    return HeadMetric(
        output=head.output,
        attribute=head.attribute,
        target=head.target,
        name=head.metric,
        pytorch=test.pytorch,
        artifact=test.artifact,
        n=len(labels),
        reason=undefined(head.metric, labels),
        caveat=request.task.caveat,
        split="test",
        validation=validation,
    )


def _compared(
    head: Head, split: str, samples: list[Sample], request: ExportRequest, built: Built
) -> tuple[Compared, Array]:
    whole, task = built.real[0].inputs, request.task
    expected = torch_outputs(request.model, [with_edges(sample, whole) for sample in samples], head.output)
    given = [as_rows(built.form.read(head.output, sample.inputs)) for sample in samples]
    if task.many:
        labels = labels_of(task, split, head.key).numpy()
        pairs = [np.concatenate(each) for each in (expected, given)]
    else:
        rows = samples[0].mask
        labels = task.graphs[0][head.key].numpy()[rows]
        pairs = [each[0][rows] for each in (expected, given)]
    pytorch, artifact = (score(head.metric, each, labels) for each in pairs)
    return Compared(pytorch=_known(pytorch), artifact=_known(artifact)), labels


def _known(value: float) -> float | None:
    return None if np.isnan(value) else value
