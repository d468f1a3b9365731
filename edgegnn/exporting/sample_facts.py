"""What the manifest says of samples, and of the task's metric over them."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from edgegnn import manifest
from edgegnn.exporting.samples import Sample
from edgegnn.manifest import Compared, Metric
from edgegnn.runtime import score
from edgegnn.runtime.metrics import undefined
from edgegnn.runtime.roles import number_of
from edgegnn.tasks import Task
from edgegnn.tasks.link import METRICS as LINK_METRICS

__all__ = [
    "compared",
    "counted_outputs",
    "counted_rows",
    "describe_sample",
    "labels_of",
    "metric_of",
    "more_metrics",
    "undefined_why",
]

Array = npt.NDArray[np.generic]


def metric_of(name: str, samples: list[Sample], outputs: list[Any]) -> float | None:
    """A metric over the samples; None where their labels don't define it."""
    value = score(name, counted_outputs(samples, outputs), labels_of(samples))
    return None if np.isnan(value) else value


def counted_outputs(samples: list[Sample], outputs: list[Any]) -> Array:
    """The rows of outputs that the metric counts."""
    # outputs of the awkward graphs follow those of the real ones
    pairs = [p for p in zip(samples, outputs, strict=False) if p[0].label is not None]
    return np.concatenate([out[_counted(sample)] for sample, out in pairs])


def more_metrics(task: Task, samples: list[Sample], expected: list[Any], outputs: list[Any]) -> dict[str, Compared]:
    """Further metrics of a task of links or of two classes: name -> its value of PyTorch and of the artifact."""
    # The data may have fewer classes than the model.
    two = task.spec.target == "classes" and task.spec.num_classes == 2 and expected[0].shape[1] <= 2
    more = LINK_METRICS if task.of_links else ("roc_auc",) if two else ()
    return {
        name: Compared(pytorch=metric_of(name, samples, expected), artifact=metric_of(name, samples, outputs))
        for name in more
        if name != task.spec.metric
    }


def compared(task: Task, samples: list[Sample], expected: list[Any], outputs: list[Any]) -> Metric:
    """The task's metric over the samples, of PyTorch and of the artifact."""
    return Metric(
        name=task.spec.metric,
        pytorch=metric_of(task.spec.metric, samples, expected),
        artifact=metric_of(task.spec.metric, samples, outputs),
        reason=undefined_why(task, samples),
        caveat=task.caveat,
        n=counted_rows(samples),
    )


def undefined_why(task: Task, samples: list[Sample]) -> str:
    """Why the metric has no value over the samples; "" when it has one."""
    return undefined(task.spec.metric, labels_of(samples))


def labels_of(samples: list[Sample]) -> Array:
    """Their labels."""
    return np.concatenate([s.label[_counted(s)] for s in samples if s.label is not None])


def _counted(sample: Sample) -> Any:
    return slice(None) if sample.mask is None else sample.mask


def counted_rows(samples: list[Sample]) -> int:
    """How many rows the metric is over."""
    return sum(int(s.mask.sum()) if s.mask is not None else len(s.label) for s in samples if s.label is not None)


def describe_sample(sample: Sample, task: Task) -> manifest.Sample:
    """A shipped graph as the manifest lists it."""
    found = number_of(sample.inputs, sample.roles, "num_edges")
    edges = int(task.graphs[0].edge_index.shape[1]) if found is None else found
    return manifest.Sample(name=sample.name, origin=sample.origin, num_nodes=sample.nodes, num_edges=edges)
