"""The graphs that an artifact ships to prove itself with."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from edgegnn.errors import ArtifactError, DataError
from edgegnn.runtime.artifact import Artifact
from edgegnn.runtime.inputs import check_inputs, rows_of
from edgegnn.runtime.manifest import Manifest, Metric, SampleEntry
from edgegnn.runtime.metrics import as_rows, score
from edgegnn.runtime.npz import read_npz
from edgegnn.runtime.outputs import check_finite, check_output
from edgegnn.runtime.roles import number_of, number_of_nodes

__all__ = ["Sample", "read_samples", "samples_score"]

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Sample:
    """One graph of samples.npz.

    Attributes:
        name: "test/17", "no-edges".
        origin: "data" or "synthetic".
        inputs: model input name -> array, in the model's order.
        expected: float32 `[rows, C]`, PyTorch's logits (of another rank than 2, as a matrix of its rows).
        others: name -> PyTorch's other outputs, as they are.
        label: int64 `[rows]`, or float32 `[rows, C]` where the target isn't classes; None for a synthetic graph.
        mask: bool `[rows]`, which rows the metric counts; None for all.
    """

    name: str
    origin: str
    inputs: dict[str, Array]
    expected: Array
    label: Array | None
    mask: Array | None
    others: dict[str, Array] = field(default_factory=dict)


def read_samples(artifact: Artifact) -> list[Sample]:
    """Read and check all samples.

    Raises:
        ArtifactError: samples.npz is damaged, or doesn't hold what the manifest says.
    """
    manifest = artifact.manifest
    arrays = read_npz(artifact.folder / "samples.npz", ArtifactError)
    samples = []
    for i, entry in enumerate(manifest.samples):
        prefix = f"{i:04d}."
        own = {name[len(prefix) :]: arrays.pop(name) for name in list(arrays) if name.startswith(prefix)}
        try:
            samples.append(_sample(manifest, entry, own))
        except DataError as error:
            raise ArtifactError(f"samples.npz, sample {entry.name!r}: {error}") from error
    if arrays:
        raise ArtifactError(f"samples.npz holds {next(iter(arrays))[:40]!r}, which belongs to none of its samples")
    return samples


def samples_score(name: str, samples: list[Sample], logits: list[Array]) -> Metric | None:
    """The task metric over the rows of the samples that have labels.

    Args:
        name: a metric of `edgegnn.runtime.metrics`.
        samples: the samples.
        logits: the model's logits for each.

    Returns:
        None when no sample has labels, or the metric isn't defined for them (one class only).
    """
    rows, labels = [], []
    for i, sample in enumerate(samples):
        if sample.label is not None:
            counted = slice(None) if sample.mask is None else sample.mask
            rows.append(logits[i][counted])
            labels.append(sample.label[counted])
    if not labels:
        return None
    label = np.concatenate(labels)
    value = score(name, np.concatenate(rows), label)
    return None if np.isnan(value) else Metric(name, value, len(label))


def _sample(manifest: Manifest, entry: SampleEntry, own: dict[str, Array]) -> Sample:
    expected, label, mask = own.pop("expected", None), own.pop("label", None), own.pop("mask", None)
    others = {spec.name: own.pop(f"expected.{spec.name}", None) for spec in manifest.outputs}
    others.pop(manifest.main.name)
    inputs = check_inputs(manifest.inputs, own, cast=False, limits=manifest.limits)
    # a model for one graph has its edges in the file
    nodes, found = number_of_nodes(inputs, manifest.roles), number_of(inputs, manifest.roles, "num_edges")
    edges = entry.num_edges if found is None else found
    if (nodes, edges) != (entry.num_nodes, entry.num_edges):
        raise DataError(
            f"{nodes} nodes and {edges} edges, the manifest says {entry.num_nodes} nodes and {entry.num_edges} edges"
        )
    rows = rows_of(manifest, manifest.main, inputs)
    width = manifest.main.shape[-1] if len(manifest.main.shape) == 2 else "C"
    if expected is None:
        raise DataError("the expected logits are missing")
    expected = as_rows(expected)
    rows = len(expected) if rows is None else rows
    if expected.dtype != np.float32 or expected.ndim != 2 or expected.shape[0] != rows or expected.shape[1] == 0:
        raise DataError(f"expected logits are {expected.dtype} {list(expected.shape)}, not float32 [{rows}, {width}]")
    if isinstance(width, int) and expected.shape[1] != width:
        raise DataError(f"expected logits have {expected.shape[1]} columns, the model has {width}")
    if not np.isfinite(expected).all():
        raise DataError("expected logits are not finite")
    if mask is not None and (mask.dtype != np.bool_ or mask.shape != (rows,) or not mask.any()):
        raise DataError(f"the mask is {mask.dtype} {list(mask.shape)}, not bool [{rows}] with a row to count")
    if label is not None:
        _check_label(label, mask, manifest.target, expected.shape)
    return Sample(entry.name, entry.origin, inputs, expected, label, mask, _checked(manifest, inputs, others))


def _checked(manifest: Manifest, inputs: dict[str, Array], others: dict[str, Any]) -> dict[str, Array]:
    """The outputs that no labels are for."""
    for spec in manifest.outputs:
        if spec.name == manifest.main.name:
            continue
        if others[spec.name] is None:
            raise DataError(f"the expected {spec.name} is missing")
        try:
            check_finite(check_output(manifest, spec, others[spec.name], inputs), spec.name)
        except ArtifactError as error:
            raise DataError(f"expected outputs: {error}") from error
    return others


def _check_label(label: Array, mask: Array | None, target: str, shape: tuple[int, ...]) -> None:
    rows, columns = shape
    if target != "classes":
        if label.dtype != np.float32 or label.shape != (rows, columns):
            raise DataError(f"labels are {label.dtype} {list(label.shape)}, not float32 [{rows}, {columns}]")
        known = label[~np.isnan(label)]  # of "labels", some may not be known
        if not np.isfinite(known).all() or (target == "values" and known.size < label.size):
            raise DataError("labels are NaN or infinite")
        if target == "labels" and not np.isin(known, (0, 1)).all():
            raise DataError("labels are neither 0 nor 1")
        return
    if label.dtype != np.int64 or label.shape != (rows,):
        raise DataError(f"labels are {label.dtype} {list(label.shape)}, not int64 [{rows}]")
    counted = label if mask is None else label[mask]
    if counted.min() < 0 or counted.max() >= max(columns, 2):
        raise DataError(f"labels are {counted.min()} to {counted.max()}, the model has {columns} classes")
