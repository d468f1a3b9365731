"""The third step of an export: what the manifest says."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from edgegnn import manifest
from edgegnn.exporting import preprocessing
from edgegnn.exporting.artifact import versions
from edgegnn.exporting.building import Built
from edgegnn.exporting.comparing import Answers, Comparison, with_edges
from edgegnn.exporting.guarded_points import extent_facts
from edgegnn.exporting.head_scores import head_scores
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
from edgegnn.exporting.speed import speed_against_float
from edgegnn.manifest import ArtifactManifest
from edgegnn.native.provide import Provided
from edgegnn.prune.edges import describe_pruning
from edgegnn.runtime.metrics import NO_ACCURACY
from edgegnn.runtime.roles import role_of, typed_size
from edgegnn.signature import TypedGraph
from edgegnn.tasks import Task

__all__ = ["describe"]


def describe(
    request: ExportRequest, built: Built, found: Comparison, native: Sequence[Provided], command: str
) -> ArtifactManifest:
    """The manifest, but for what only the finished folder tells: name, time, files and the size of the model.

    Args:
        request: what was asked for.
        built: the forms.
        found: how they compare with the model.
        native: the native libraries that were asked for.
        command: the command line.
    """
    checkpoint, task, recipe = request.checkpoint, request.task, request.recipe
    form, facts = built.form, built.form.facts
    whole = with_edges(found.test.samples[0], built.real[0].inputs)
    return ArtifactManifest(
        recipe=recipe.name,
        recipe_config=recipe.to_dict(),
        constant_graph=request.constant_graph,
        task=msgspec.convert(task.spec.to_dict() | task.facts, manifest.Task),
        kind=task.spec.kind,
        target=task.spec.target,
        runtime=form.runtime,
        fallback=built.fallback,
        alone=form.alone,
        limits=limits_of(built.takes.limit)
        | _learnt_nodes(task, form.io["inputs"])
        | found.small.limits
        | least_values(request.model, whole),
        fails_on=found.small.fails,
        preprocessing=preprocessing.described(request.model, task, built.names),
        inputs=_tensors(form.io["inputs"]),
        outputs=_tensors(form.io["outputs"]),
        entries=msgspec.convert(form.io.get("entries", []), list[manifest.EntryPoint]),
        samples=[describe_sample(sample, task) for sample in found.kept],
        samples_taken=found.taken.described(),
        parity=_parity(found),
        main=task.gives.main if task.gives.others else "",
        state=task.states,
        accuracy="" if task.spec.labelled else NO_ACCURACY,
        metric=_test_metric(task, found.test) if task.spec.labelled else None,
        validation=_compared(task, found.validation) if task.spec.labelled else None,
        heads=head_scores(request, built, found),
        against_float=found.against_float,
        speed_against_float=speed_against_float(form, found.kept),
        properties=[manifest.Property(**each.to_dict()) for each in found.properties],
        extent=extent_facts(task, built.names) if recipe.does.fixes_ranges else None,
        samples_metric=_samples_metric(task, found.shipped) if task.spec.labelled else None,
        quantized_points=facts.quantized_points,
        stayed_float=facts.stayed_float,
        integer_operators=facts.integer_operators,
        average_bits=facts.average_bits,
        learnt_bits=facts.learnt_bits,
        aggregations=facts.aggregations,
        refusals=facts.refusals,
        sizes=manifest.Sizes(model_file=0, fp32_model_file=facts.fp32_model_file),
        ranges=facts.ranges,
        torchscript=facts.torchscript or _other_script(built, found),
        pruning=describe_pruning(checkpoint.pruning),
        history=checkpoint.history,
        source=checkpoint.source,
        versions=versions(),
        command=command,
        native=[manifest.NativeLibrary(machine=p.machine, there=p.path is not None, origin=p.origin) for p in native],
    )


def _learnt_nodes(task: Task, inputs: Sequence[dict[str, Any]]) -> dict[str, int]:
    """How many nodes there are of the types that only edges name: the model has learnt a row for each."""
    graph = task.graphs[0]
    roles = {value["name"]: role_of(task.roles, value["name"]) for value in inputs}
    counts = {"num_nodes": int(graph.num_nodes or 0)}
    if isinstance(graph, TypedGraph):
        counts |= {typed_size("num_nodes", kind): count for kind, count in graph.counts.items()}
    ends = dict.fromkeys(end for role in roles.values() for end in role.ends)
    return {end: counts[end] for end in ends if all(role.size != end for role in roles.values())}


def _parity(found: Comparison) -> manifest.Parity:
    others = [
        manifest.OutputParity(
            name=name,
            graphs=each.graphs,
            agreement=each.agreement,
            max_abs_error=each.max_abs_error,
            tolerance=msgspec.convert(each.to_dict()["tolerance"], manifest.Tolerance),
        )
        for name, each in found.others.items()
    ]
    return msgspec.structs.replace(
        msgspec.convert(found.parity.to_dict(), manifest.Parity), outputs=others, drift=found.drift
    )


def _tensors(values: list[dict[str, Any]]) -> list[manifest.TensorValue]:
    return [manifest.TensorValue(**value) for value in values]


def _compared(task: Task, answers: Answers) -> manifest.Metric:
    return compared(task, answers.samples, answers.expected, answers.outputs)


def _test_metric(task: Task, answers: Answers) -> manifest.SplitMetric:
    further = more_metrics(task, answers.samples, answers.expected, answers.outputs)
    values = {**msgspec.structs.asdict(_compared(task, answers)), **further, "split": "test"}
    return msgspec.convert(values, manifest.SplitMetric)


def _samples_metric(task: Task, shipped: Answers) -> manifest.SamplesMetric:
    """The artifact's metric over the graphs that it ships: what the device is held to."""
    return manifest.SamplesMetric(
        name=task.spec.metric,
        value=metric_of(task.spec.metric, shipped.samples, shipped.outputs),
        reason=undefined_why(task, shipped.samples),
        caveat=task.caveat,
        n=counted_rows(shipped.samples),
    )


def _other_script(built: Built, found: Comparison) -> manifest.ScriptForm | None:
    """The TorchScript form beside an ONNX form, with its own parity."""
    for form in built.others:
        if form.facts.torchscript is not None:
            return msgspec.structs.replace(form.facts.torchscript, parity=_short(found.other_parity[form.runtime]))
    return None


def _short(parity: Parity) -> manifest.ShortParity:
    return manifest.ShortParity(graphs=parity.graphs, agreement=parity.agreement, max_abs_error=parity.max_abs_error)
