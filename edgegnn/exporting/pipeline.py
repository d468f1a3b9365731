"""`edgegnn export`: from a trained model to a verified artifact."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from torch import nn
from torch.export import ExportedProgram

from edgegnn.checkpoint import Checkpoint
from edgegnn.errors import ExportError, UsageError
from edgegnn.exporting.artifact import versions, write_artifact
from edgegnn.exporting.capture import capture_program, program_inputs
from edgegnn.exporting.float_reference import Proof
from edgegnn.exporting.formats import build_forms, check_format, torchscript_form
from edgegnn.exporting.guarded_points import extent_facts
from edgegnn.exporting.learnt_bits import fixed_nodes
from edgegnn.exporting.metamorphic import Kept
from edgegnn.exporting.node_limits import input_ways, limits_of, node_limit, within_limit
from edgegnn.exporting.onnx_format import onnx_form
from edgegnn.exporting.parity import Parity, check_parity, tolerance_for, torch_outputs
from edgegnn.exporting.randomness import check_repeats
from edgegnn.exporting.rounding import rounded_otherwise
from edgegnn.exporting.sample_facts import (
    compared,
    counted_rows,
    describe_sample,
    metric_of,
    more_metrics,
    undefined_why,
)
from edgegnn.exporting.samples import Sample, example_inputs, make_samples, split_graphs, tensors_of
from edgegnn.exporting.shipped import choose, fitting
from edgegnn.exporting.smallest_graphs import least_values, runnable
from edgegnn.exporting.subgraphs import probe
from edgegnn.native import library_name
from edgegnn.native.provide import Provided, provide
from edgegnn.prune.edges import describe_pruning
from edgegnn.quantize import Recipe
from edgegnn.runtime import verify
from edgegnn.runtime.manifest import MODEL_FILES
from edgegnn.runtime.session import has_native_ops
from edgegnn.tasks import Task, example_graph, model_inputs

__all__ = ["ExportResult", "check_traces", "export_checkpoint", "input_names"]

Array = npt.NDArray[np.generic]


@dataclass(frozen=True)
class ExportResult:
    """What an export made: where, its manifest, and how it compares with PyTorch."""

    path: Path
    manifest: dict[str, Any]
    parity: Parity


def export_checkpoint(
    checkpoint: Checkpoint,
    task: Task,
    recipe: Recipe,
    path: Path,
    *,
    force: bool = False,
    min_agreement: float | None = None,
    constant_graph: bool = False,
    max_nodes: int | None = None,
    max_accuracy_drop: float | None = None,
    samples: int | None = None,
    thorough: bool = False,
    reference: nn.Module | ExportedProgram | None = None,
    machines: Mapping[str, str] | None = None,
    format: str | None = None,
    command: str = "",
    status: Callable[[str], None] = lambda _: None,
) -> ExportResult:
    """Capture, quantize, prove and write a model.

    Args:
        checkpoint: the model; already trained with `recipe` when that is one that trains.
        task: its data.
        recipe: how it is quantized.
        path: the artifact's folder, or a name ending in .zip.
        force: replace an artifact that is there.
        min_agreement: smallest share of equal predictions; None for the recipe's default.
        constant_graph: bake the edges of the task's one graph into the model, which then takes no `edge_index`.
        max_nodes: the most nodes that a graph may have, for one graph at a time; None: as the model's modules say.
        max_accuracy_drop: largest drop of the validation metric from the float model, in points; None: 2.
        samples: how many graphs (nodes, pairs) of the test split to ship; None: as many as fit
            (`edgegnn.exporting.shipped`).
        thorough: hold the artifact to the properties of the model, too (`edgegnn.exporting.metamorphic`).
        reference: the float model, where `checkpoint` holds one that was fine-tuned from it.
        machines: processor ("aarch64") whose native library goes into the artifact -> its target; none: this machine's.
        format: "onnx", "torchscript" or "both"; None: ONNX, and TorchScript when ONNX can't express the model.
        command: the command line, for the manifest.
        status: told in a few words what is being done.

    Raises:
        UsageError: `constant_graph`, and the task is not about the nodes of one graph; or a `format` that can't be had.
        ExportError: the model can't be captured or written; ParityError when it computes something else.
    """
    model = checkpoint.model
    names = input_names(model, task)
    if constant_graph and (task.spec.kind == "graph" or "edge_index" not in names):
        raise UsageError("--constant-graph is for node tasks: the nodes of one graph that stays as it is")
    check_format(format, recipe, constant_graph=constant_graph)
    limit = node_limit(model, max_nodes)
    ways = _ways(model, task, limit)
    fixed = fixed_nodes(model, task)
    if fixed is not None and format in ("torchscript", "both"):
        cure = "a2q-groups" if recipe.method == "a2q" else "--format onnx"
        raise UsageError(f"--format {format} is for models of any graph, this one is for {fixed} nodes: take {cure}")
    any_size = fixed is None and not constant_graph
    if samples is not None and not any_size:
        raise UsageError(
            "--samples takes a part of a graph, and this artifact is for the whole graph only: leave it out"
        )

    def graphs(own: tuple[str, ...]) -> tuple[list[Sample], list[Sample]]:
        awkward = [] if constant_graph else make_samples(task, own, fixed)
        return within_limit(split_graphs(task, own), limit), within_limit(awkward, limit)

    real, awkward = graphs(ways[0][0])
    check_repeats(model, tensors_of(probe(task, names)))
    status("capturing the graph")
    largest = example_graph(task, 2)  # two, so that their number is not taken for a constant
    (form, *others), why = build_forms(
        format,
        lambda own: onnx_form(checkpoint, recipe, task, own, example_inputs(own, largest), constant_graph),
        lambda own: torchscript_form(
            checkpoint, task.spec.kind, own, example_inputs(own, largest), split_graphs(task, own)
        ),
        ways,
        fallback=recipe.method not in {"dynamic", "static"} and not constant_graph,
    )
    own = ways[-1][0] if form.alone else ways[0][0]
    if form.alone and len(ways) > 1:
        real, awkward = graphs(own)
    status("comparing with PyTorch")
    expected = torch_outputs(model, real)
    small = runnable(model, task, own, awkward, fixed=fixed is not None, most=limit)
    awkward, whole = small.samples, real[0].inputs
    if constant_graph:
        real = [_without_edges(sample) for sample in real]
    ship = choose(model, task.spec.kind, real, expected, samples, cut=any_size)
    parts = [replace(sample, origin="synthetic") for sample in ship.samples if ship.cut]  # of rows that count already
    checked, expected = real + parts + awkward, expected + ship.expected[: len(parts)] + small.expected
    tolerance = tolerance_for(recipe, expected, min_agreement, task.spec.scale.get("std"))
    target = task.spec.target
    limits: dict[str, Any] = {
        "target": target,
        "hint": _hint(recipe),
        "rounding": lambda sample: rounded_otherwise(model, _with_edges(sample, whole)),
    }
    parity, outputs = check_parity(form.run, checked, expected, tolerance, **limits)
    for other in others:
        also, _ = check_parity(other.run, checked, expected, tolerance, **limits)
        kept = {k: v for k, v in also.to_dict().items() if k in ("graphs", "agreement", "max_abs_error")}
        form.facts[other.runtime] = {**other.facts[other.runtime], "parity": kept}
    held_out = within_limit(split_graphs(task, own, "val"), limit)
    if task.spec.kind == "node":  # other rows of the same graph
        answers = expected[:1], outputs[:1]
    else:
        answers = torch_outputs(model, held_out), [form.run(sample.inputs) for sample in held_out]
    proof = Proof(model, reference, task, recipe, max_accuracy_drop, fixed is not None)
    status("comparing with the float model")
    found, *_ = [proof.against_float(each, own, held_out, answers[1]) for each in (form, *others)]
    properties: list[Kept] = []
    if thorough:
        status("trying properties of the model")
        properties, *_ = [proof.properties(each, own) for each in (form, *others)]
    keep = ship.samples + (awkward if any_size else fitting(awkward, ship.samples))
    answered = outputs[len(real) :] if ship.cut else outputs
    manifest = {
        "recipe": recipe.name,
        "recipe_config": recipe.to_dict(),
        "constant_graph": constant_graph,
        "task": task.spec.to_dict() | task.facts,
        "kind": task.spec.kind,
        "target": target,
        "runtime": form.runtime,
        "fallback": why,
        "alone": form.alone,
        "limits": limits_of(limit) | small.limits | least_values(model, _with_edges(real[0], whole)),
        "fails_on": small.fails,
        **form.io,
        "samples": [describe_sample(sample, task) for sample in keep],
        "samples_taken": ship.to_dict(),
        "parity": parity.to_dict(),
        "metric": {
            **compared(task, real, expected, outputs),
            "split": "test",
            **more_metrics(task, real, expected, outputs),
        },
        "validation": compared(task, held_out, *answers),
        "against_float": found,
        "properties": [each.to_dict() for each in properties],
        **({"extent": extent_facts(task, own)} if recipe.method not in {"none", "dynamic"} else {}),
        "samples_metric": {
            "name": task.spec.metric,
            "value": metric_of(task.spec.metric, ship.samples, answered),
            "reason": undefined_why(task, ship.samples),
            "caveat": task.caveat,
            "n": counted_rows(ship.samples),
        },
        **form.facts,
        "pruning": describe_pruning(checkpoint.pruning),
        "history": checkpoint.history,
        "source": checkpoint.source,
        "versions": versions(),
        "command": command,
    }
    native = [] if form.onnx is None else _native(form.onnx, machines, status)
    manifest["native"] = [{"machine": p.machine, "there": p.path is not None, "origin": p.origin} for p in native]
    libraries = {library_name(p.machine): p.path for p in native if p.path is not None} if machines else None
    status("writing and verifying the artifact")
    complete = write_artifact(
        path,
        form.onnx,
        manifest,
        keep,
        (ship.expected + small.expected)[: len(keep)],
        force=force,
        libraries=libraries,
        others={name: content for each in (form, *others) for name, content in each.files.items()},
        check=_prove,
    )
    return ExportResult(path, complete, parity)


def check_traces(model: nn.Module | ExportedProgram, task: Task, max_nodes: int | None) -> None:
    """Trace a model before minutes of training: what can't be traced has neither an ONNX nor a TorchScript form.

    Args:
        model: what will be exported.
        task: its data.
        max_nodes: the most nodes that a graph may have; None: as the model's modules say.

    Raises:
        ExportError: a layer can't be traced; the message names it.
    """
    whole = fixed_nodes(model, task) is not None
    errors: list[ExportError] = []
    for own, _ in _ways(model, task, node_limit(model, max_nodes)):
        try:
            capture_program(model, tensors_of(probe(task, own, 2, whole=whole)))
            return
        except ExportError as error:
            errors.append(error)
    raise errors[0]


def _ways(model: nn.Module | ExportedProgram, task: Task, limit: int | None) -> Sequence[tuple[tuple[str, ...], str]]:
    """The inputs to try (`node_limits.input_ways`); models that aren't for graphs have one way."""
    names = input_names(model, task)
    return input_ways(model, names, limit) if task.spec.kind == "graph" else [(names, "")]


def input_names(model: nn.Module | ExportedProgram, task: Task) -> tuple[str, ...]:
    """Graph inputs of a module or program, in order."""
    return program_inputs(model) if isinstance(model, ExportedProgram) else model_inputs(model, task)


def _native(
    model: onnx.ModelProto, machines: Mapping[str, str] | None, status: Callable[[str], None]
) -> list[Provided]:
    """The native library of each processor, for a model that has a use for it."""
    if not machines or not has_native_ops(model.SerializeToString()):
        return []
    found = []
    for machine, target in machines.items():
        status(f"kernels for {machine}")
        found.append(provide(machine, target=target))
    return found


def _without_edges(sample: Sample) -> Sample:
    return replace(sample, inputs={k: v for k, v in sample.inputs.items() if k != "edge_index"})


def _with_edges(sample: Sample, whole: Mapping[str, Array]) -> Sample:
    """The sample with the inputs that a constant graph took from it."""
    return replace(sample, inputs={name: sample.inputs.get(name, value) for name, value in whole.items()})


def _hint(recipe: Recipe) -> str:
    if recipe.method in {"dynamic", "static"}:
        return "; try --quant dq-int8, or accept it with --min-agreement"
    return ""


def _prove(folder: Path) -> None:
    """Every model in the artifact holds."""
    for runtime, name in MODEL_FILES.items():
        if (folder / name).is_file():
            report = verify(folder, runtime=runtime)
            if not report.ok:
                raise ExportError(f"{name} does not verify after writing: {report.problems[0]}")
