"""The third step of an export: what the manifest says."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from edgegnn.exporting.artifact import versions
from edgegnn.exporting.building import Built
from edgegnn.exporting.comparing import Answers, Comparison, with_edges
from edgegnn.exporting.guarded_points import extent_facts
from edgegnn.exporting.node_limits import limits_of
from edgegnn.exporting.parity import Parity
from edgegnn.exporting.request import ExportRequest
from edgegnn.exporting.sample_facts import (
    compared,
    counted_rows,
    describe_sample,
    metric_of,
    more_metrics,
    undefined_why,
)
from edgegnn.exporting.smallest_graphs import least_values
from edgegnn.native.provide import Provided
from edgegnn.prune.edges import describe_pruning
from edgegnn.tasks import Task

__all__ = ["describe"]


def describe(
    request: ExportRequest, built: Built, found: Comparison, native: Sequence[Provided], command: str
) -> dict[str, Any]:
    """The manifest, but for what only the finished folder tells.

    Args:
        request: what was asked for.
        built: the forms.
        found: how they compare with the model.
        native: the native libraries that were asked for.
        command: the command line.
    """
    checkpoint, task, recipe, form = request.checkpoint, request.task, request.recipe, built.form
    whole = with_edges(found.test.samples[0], built.real[0].inputs)
    return {
        "recipe": recipe.name,
        "recipe_config": recipe.to_dict(),
        "constant_graph": request.constant_graph,
        "task": task.spec.to_dict() | task.facts,
        "kind": task.spec.kind,
        "target": task.spec.target,
        "runtime": form.runtime,
        "fallback": built.fallback,
        "alone": form.alone,
        "limits": limits_of(built.takes.limit) | found.small.limits | least_values(request.model, whole),
        "fails_on": found.small.fails,
        **form.io,
        "samples": [describe_sample(sample, task) for sample in found.kept],
        "samples_taken": found.taken.to_dict(),
        "parity": found.parity.to_dict(),
        "metric": {**_compared(task, found.test), "split": "test", **_further(task, found.test)},
        "validation": _compared(task, found.validation),
        "against_float": found.against_float,
        "properties": [each.to_dict() for each in found.properties],
        **({"extent": extent_facts(task, built.names)} if recipe.method not in {"none", "dynamic"} else {}),
        "samples_metric": _samples_metric(task, found.shipped),
        **form.facts,
        **{other.runtime: _other_facts(built, other.runtime, found) for other in built.others},
        "pruning": describe_pruning(checkpoint.pruning),
        "history": checkpoint.history,
        "source": checkpoint.source,
        "versions": versions(),
        "command": command,
        "native": [{"machine": p.machine, "there": p.path is not None, "origin": p.origin} for p in native],
    }


def _compared(task: Task, answers: Answers) -> dict[str, Any]:
    return compared(task, answers.samples, answers.expected, answers.outputs)


def _further(task: Task, answers: Answers) -> dict[str, Any]:
    return more_metrics(task, answers.samples, answers.expected, answers.outputs)


def _samples_metric(task: Task, shipped: Answers) -> dict[str, Any]:
    """The artifact's metric over the graphs that it ships: what the device is held to."""
    return {
        "name": task.spec.metric,
        "value": metric_of(task.spec.metric, shipped.samples, shipped.outputs),
        "reason": undefined_why(task, shipped.samples),
        "caveat": task.caveat,
        "n": counted_rows(shipped.samples),
    }


def _other_facts(built: Built, runtime: str, found: Comparison) -> dict[str, Any]:
    """What the manifest says of a form that it doesn't name as the runtime."""
    (other,) = [form for form in built.others if form.runtime == runtime]
    return {**other.facts[runtime], "parity": _short(found.other_parity[runtime])}


def _short(parity: Parity) -> dict[str, Any]:
    return {"graphs": parity.graphs, "agreement": parity.agreement, "max_abs_error": parity.max_abs_error}
