"""Sensitivity of layers: of checkpoints that are named, and of the dense models of a study."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgegnn.compression.model_source import DataSource, ModelSource
from edgegnn.errors import EdgeGNNError
from edgegnn.reporting.model_points import Value, plain
from edgegnn.reporting.sources import LoadedStudy
from edgegnn.runtime.metrics import LOWER_IS_BETTER, metric_text
from edgegnn.studies import groups
from edgegnn.studies.sensitivity import Sensitivity, sensitivity
from edgegnn.studies.tables import StudyTable

__all__ = ["Studied", "losses", "of_checkpoint", "of_study", "table", "trials_of"]


@dataclass(frozen=True)
class Studied:
    """A model, and how sensitive its layers are.

    Attributes:
        label: the model in words.
        results: one for each seed; they have the same layers.
    """

    label: str
    results: list[Sensitivity]

    @property
    def metric(self) -> str:
        """Name of the task metric."""
        return self.results[0].metric


def of_checkpoint(path: Path, source: ModelSource, data: DataSource, status: Callable[[str], None]) -> Studied:
    """Measure a checkpoint.

    Args:
        path: model.pt, or a state_dict.
        source: how it is opened.
        data: its data; without a name the checkpoint's own.
        status: called with what is being done.

    Raises:
        EdgeGNNError: it can't be opened, names no data, is a program, or is quantized already.
    """
    from torch import nn

    from edgegnn.compression.model_source import check_fits, open_model
    from edgegnn.errors import CheckpointError

    status(f"opening {path.name}")
    checkpoint, task, _ = open_model(path, source, data)
    if not isinstance(checkpoint.model, nn.Module):
        raise CheckpointError(f"{path} is a program (.pt2), whose layers can't be changed one by one: name its module")
    check_fits(checkpoint, task)
    name = checkpoint.source.get("zoo") or checkpoint.source.get("factory") or type(checkpoint.model).__name__
    label = plain(f"{path.name}: {name} on {task.spec.data}")
    return Studied(label, [sensitivity(checkpoint.model, task, lambda text: status(f"{path.name}: {text}"))])


def of_study(
    loaded: LoadedStudy, data_root: Path | None, status: Callable[[str], None]
) -> tuple[list[Studied], list[str]]:
    """Measure the dense models of a study whose checkpoints are kept; and say which are not there."""
    from edgegnn.studies.steps import dense_path

    found: list[Studied] = []
    missing: list[str] = []
    for group in groups(loaded.outcomes):
        label = plain(group.subject)
        if group.prune is not None or any(one.label == label for one in found):
            continue
        paths = dict.fromkeys(dense_path(loaded.study, o.cell) for o in (*group.done, *group.failed))
        results = []
        for path in paths:
            if not path.exists():
                missing.append(f"{label}: {path.name} is not kept beside the store.")
                continue
            try:
                results += of_checkpoint(path, ModelSource(), DataSource(data_root=data_root), status).results
            except EdgeGNNError as error:
                missing.append(f"{label}: no sensitivity of layers: {plain(error)}")
        if results:
            found.append(Studied(label, results))
    return found, list(dict.fromkeys(missing))


def trials_of(studied: Studied) -> list[str]:
    """What was tried: "int8", "int4", "50 % pruned", ..."""
    return list(dict.fromkeys(how for r in studied.results for layer in r.layers for how in layer.trials))


def losses(studied: Studied, layer: str, how: str) -> tuple[Value | None, Value] | None:
    """What a change of one layer costs, over the seeds.

    Returns:
        What the validation metric loses (in its own unit; below zero: it gained; None where it isn't defined), and the
        share of predictions that changed. None where the layer was not changed so.
    """
    metric, changed = [], []
    sign = -1.0 if studied.metric in LOWER_IS_BETTER else 1.0
    for result in studied.results:
        trial = next((one.trials.get(how) for one in result.layers if one.name == layer), None)
        if trial is None:
            continue
        changed.append(1.0 - trial.agreement)
        if trial.value is not None and result.base is not None:
            metric.append(sign * (result.base - trial.value))
    if not changed:
        return None
    return (_value(metric) if metric else None), _value(changed)


def table(studied: Studied) -> StudyTable:
    """Every layer in numbers: the metric with it changed, and the share of predictions that stay."""
    hows = trials_of(studied)
    rows = []
    for layer in studied.results[0].layers:
        row = [plain(layer.name or "(the model)"), ", ".join(map(plain, layer.parts)) or "-", f"{layer.parameters:,}"]
        for how in hows:
            trials = [
                one.trials[how]
                for r in studied.results
                for one in r.layers
                if one.name == layer.name and how in one.trials
            ]
            if not trials:
                row.append("-")
                continue
            values = [t.value for t in trials if t.value is not None]
            value = metric_text(studied.metric, statistics.fmean(values)) if values else "undefined"
            row.append(f"{value} ({100 * statistics.fmean(t.agreement for t in trials):.1f} % same)")
        rows.append(row)
    first = studied.results[0]
    bases = [r.base for r in studied.results if r.base is not None]
    base = metric_text(studied.metric, statistics.fmean(bases)) if bases else "undefined"
    metric = studied.metric.replace("_", " ")
    notes = [
        f"validation {metric} with this one layer changed, and in brackets the share of predictions that stay the "
        f"same; unchanged: {base}, {first.rows:,} validation rows"
        + (f", mean over {len(studied.results)} seeds" if len(studied.results) > 1 else ""),
        *(f"{plain(name)}: {plain(why)}" for name, why in first.skipped.items()),
    ]
    return StudyTable(
        f"{studied.label}: sensitivity of its layers", ["layer", "quantized", "weights", *hows], rows, notes
    )


def _value(values: Sequence[float]) -> Value:
    return Value(statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None, len(values))
