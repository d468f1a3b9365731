"""Answers for a graph, and what the range guard says of it, from one session for each file of the model."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy.typing as npt

from edgegnn.errors import ArtifactError, DataError, UsageError, first_line
from edgegnn.runtime.artifact import Artifact, open_artifact
from edgegnn.runtime.entries import EntrySession, check_outputs, find_entry
from edgegnn.runtime.extent import Extent, beyond_extent, extent_of, parse_extent
from edgegnn.runtime.inputs import check_inputs
from edgegnn.runtime.manifest import Manifest
from edgegnn.runtime.outputs import check_every, check_finite
from edgegnn.runtime.preparing import parse_steps, prepare
from edgegnn.runtime.ranges import RangePoint, RangeWarning, over_range, parse_ranges
from edgegnn.runtime.roles import Role
from edgegnn.runtime.session import make_session, native_kernels

__all__ = [
    "GuardedModel",
    "Watched",
    "answer",
    "answer_entry",
    "answers",
    "guarded",
    "over_range_here",
    "predict",
    "predict_entry",
]

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Watched:
    """What a run gave.

    Attributes:
        outputs: name -> array, of all files that ran.
        saturated: the largest share of values at an end of a quantization point; None of a form without points to look
            at.
        over: what the range guard says; "" for a graph like those of calibration.
    """

    outputs: dict[str, Array]
    saturated: float | None
    over: str


@dataclass(frozen=True)
class _Part:
    """A file of the model: its entry's name ("" where there is one only), session, inputs, outputs and points."""

    name: str
    session: Any
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    points: tuple[RangePoint, ...]


class GuardedModel:
    """An artifact's model with its range guard; see `guarded`."""

    def __init__(self, parts: tuple[_Part, ...], extent: Extent | None, roles: Mapping[str, Role]) -> None:
        self._parts, self._extent, self._roles = parts, extent, roles

    @property
    def watches(self) -> bool:
        """Whether it has quantization points to look at."""
        return any(part.points for part in self._parts)

    @property
    def native(self) -> bool:
        """Whether it runs on edgegnn's kernels."""
        return any(native_kernels(part.session) for part in self._parts)

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the inputs of the whole."""
        made = {name for part in self._parts for name in part.outputs}
        return tuple(dict.fromkeys(name for part in self._parts for name in part.inputs if name not in made))

    @property
    def entries(self) -> tuple[str, ...]:
        """Names of its entry points; () of a model that runs as a whole."""
        return tuple(part.name for part in self._parts if part.name)

    def run(self, inputs: Mapping[str, Array], entry: str = "") -> Watched:
        """Run the whole model, or one of its entry points.

        Args:
            inputs: checked.
            entry: name of the entry point; "" for all, one after the other.

        Raises:
            ArtifactError: the model fails.
        """
        known, made = dict(inputs), {}
        found: list[tuple[float, float]] = []
        points: list[RangePoint] = []
        for part in self._parts:
            if entry and part.name != entry:
                continue
            wanted = [*part.outputs, *(point.tensor for point in part.points)]
            try:
                values = part.session.run(wanted, {name: known[name] for name in part.inputs})
            except Exception as error:
                raise ArtifactError(f"the model fails to run: {first_line(error, 300)}") from error
            own = dict(zip(part.outputs, values))  # noqa: B905 (Python 3.9; points follow)
            known.update(own)
            made.update(own)
            points += part.points
            watched = values[len(part.outputs) :]
            found += [point.measure(array) for point, array in zip(part.points, watched)]  # noqa: B905 (as many)
        if points:
            return Watched(made, max(share for share, _ in found), over_range(points, found))
        if self._extent is None or entry:
            return Watched(made, None, "")
        return Watched(made, None, beyond_extent(self._extent, extent_of(inputs, self._roles)))


def guarded(
    artifact: Artifact,
    *,
    threads: int = 0,
    spinning: bool = True,
    processor: str = "cpu",
    library: Path | None = None,
    entries: Mapping[str, str] | None = None,
    watch: bool = True,
) -> GuardedModel:
    """Load a model so that it also tells when a graph is beyond what it was calibrated on.

    Quantization points are looked at where the model has tensors for them. Of other quantized forms (learnt widths,
    TorchScript) the graph's size, degrees and values are compared with calibration's.

    Args:
        artifact: an open artifact.
        threads: as in `make_session`, and so are the next four.
        spinning: worker threads wait busily.
        processor: "cpu" or "cuda".
        library: the native library; None: the one that is found.
        entries: of onnxruntime's session configuration.
        watch: False to look at nothing; `Watched.over` is "" then.
    """
    manifest = artifact.manifest
    points = parse_ranges(manifest.raw) if watch and manifest.runtime == "onnxruntime" else ()
    session = make_session(
        artifact,
        threads=threads,
        spinning=spinning,
        processor=processor,
        library=library,
        entries=entries,
        watch=points,
    )
    extent = parse_extent(manifest.raw) if watch and not points else None
    if not isinstance(session, EntrySession):
        names = tuple(spec.name for spec in manifest.inputs)
        outputs = tuple(spec.name for spec in manifest.outputs)
        return GuardedModel((_Part("", session, names, outputs, points),), extent, manifest.roles)
    parts = [
        _Part(
            entry.name,
            session.sessions[entry.name],
            tuple(spec.name for spec in entry.inputs),
            tuple(spec.name for spec in entry.outputs),
            tuple(point for point in points if point.file == entry.file),
        )
        for entry in session.entries
    ]
    return GuardedModel(tuple(parts), extent, manifest.roles)


def predict(
    artifact: Artifact | str | os.PathLike[str], inputs: Mapping[str, Any], *, threads: int = 0, guard: bool = False
) -> Array | dict[str, Array]:
    """What a model gives for one graph (or for a batch of graphs).

    A `RangeWarning` says when the graph is beyond what the model was calibrated on. A session is made for every call:
    in a loop, keep a `guarded` model, or one of `make_session`, which has no guard.

    Args:
        artifact: an open artifact, or the path of one.
        inputs: model input name -> array; see `check_inputs`. Features that the manifest's `preprocessing` makes may
            be left out (`edgegnn.runtime.preparing`).
        threads: as in `make_session`.
        guard: such a graph is an error.

    Returns:
        Float logits, `[num_nodes, C]`, `[num_graphs, C]`, or `[num_links, 1]` of pairs of nodes; of a model with
        several outputs, each by its name.

    Raises:
        ArtifactError: the artifact is damaged, its model fails, or gives NaN or infinite logits: an artifact is only
            written for a model that gives none on the graphs it was proved with.
        DataError: the inputs don't fit the model, or `guard` and its ranges.
    """
    opened = artifact if isinstance(artifact, Artifact) else open_artifact(artifact)
    return answer(guarded(opened, threads=threads), opened.manifest, inputs, guard=guard)


def answer(
    model: GuardedModel, manifest: Manifest, inputs: Mapping[str, Any], *, guard: bool = False
) -> Array | dict[str, Array]:
    """What a model that is loaded gives for one graph; arguments, result and errors as of `predict`."""
    outputs = answers(model, manifest, inputs, guard=guard)
    return outputs if len(outputs) > 1 else outputs[manifest.main.name]


def answers(
    model: GuardedModel, manifest: Manifest, inputs: Mapping[str, Any], *, guard: bool = False
) -> dict[str, Array]:
    """All outputs by name; arguments and errors as of `predict`."""
    prepared = prepare(parse_steps(manifest.raw), inputs)
    checked = check_inputs(manifest.inputs, prepared, limits=manifest.limits)
    watched = model.run(checked)
    outputs = check_every(manifest, watched.outputs, checked)
    for name, value in outputs.items():
        check_finite(value, name)
    _tell(watched.over, guard=guard)
    return outputs


def predict_entry(
    artifact: Artifact, entry: str, inputs: Mapping[str, Any], *, threads: int = 0, guard: bool = False
) -> dict[str, Array]:
    """What one entry point gives for inputs that are checked first; `guard` as in `predict`.

    Returns:
        Output name -> float array with finite values.

    Raises:
        UsageError: no such entry point.
        ArtifactError, DataError: as in `predict`.
    """
    return answer_entry(guarded(artifact, threads=threads), artifact.manifest, entry, inputs, guard=guard)


def answer_entry(
    model: GuardedModel, manifest: Manifest, entry: str, inputs: Mapping[str, Any], *, guard: bool = False
) -> dict[str, Array]:
    """What one entry point of a loaded model gives; arguments, result and errors as of `predict_entry`."""
    found = find_entry(manifest.entries, entry)
    if entry not in model.entries:
        raise UsageError("TorchScript runs the whole model at once: entry points need --runtime onnxruntime")
    takes = {spec.name for spec in found.inputs}
    steps = [step for step in parse_steps(manifest.raw) if step.input in takes]
    watched = model.run(check_inputs(found.inputs, prepare(steps, inputs)), entry)
    outputs = check_outputs(found, watched.outputs)
    _tell(watched.over, guard=guard)
    return outputs


def over_range_here(artifact: Artifact, inputs: Mapping[str, Array], *, threads: int = 0) -> str:
    """What the range guard says of a graph; "" for one like those of calibration.

    Args:
        artifact: an open artifact.
        inputs: of one graph, checked.
        threads: as in `make_session`.
    """
    return guarded(artifact, threads=threads).run(inputs).over


def _tell(over: str, *, guard: bool) -> None:
    if over and guard:
        raise DataError(over)
    if over:
        warnings.warn(over, RangeWarning, stacklevel=5)
