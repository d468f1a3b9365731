"""`edgegnn export`: from a trained model to a verified artifact."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnx_ir as ir
from torch import nn
from torch.export import ExportedProgram

from edgegnn.checkpoint import Checkpoint
from edgegnn.errors import ExportError, UsageError
from edgegnn.export.alone import input_ways, limits_of, node_limit, within_limit
from edgegnn.export.artifact import versions, write_artifact
from edgegnn.export.capture import capture, capture_with_twin, program_inputs
from edgegnn.export.entries import EntryPoint, chained, entry_points, whole_io
from edgegnn.export.forms import Form, build_forms, check_format, torchscript_form
from edgegnn.export.learnt import fixed_nodes, integer_operators, learnt_facts, with_fixed_nodes
from edgegnn.export.pack import pack_zeros, spell_int4
from edgegnn.export.parity import Parity, check_parity, rounded_otherwise, tolerance_for, torch_outputs
from edgegnn.export.qdq import qdq_points, stayed_float
from edgegnn.export.rewrite import rewrite_proto
from edgegnn.export.rewrite.constant import fix_graph
from edgegnn.export.rewrite.sparse import sparse_features
from edgegnn.export.samples import Sample, example_inputs, make_samples, shipped, split_graphs
from edgegnn.native import library_name
from edgegnn.native.provide import Provided, provide
from edgegnn.prune.edges import describe_pruning
from edgegnn.quantize import QuantModel, Recipe
from edgegnn.runtime import make_session, score, verify
from edgegnn.runtime.manifest import MODEL_FILES
from edgegnn.runtime.metrics import undefined
from edgegnn.runtime.session import has_native_ops
from edgegnn.tasks import Task, example_graph, model_inputs
from edgegnn.tasks.link import METRICS as LINK_METRICS

__all__ = ["ExportResult", "export_checkpoint", "input_names"]

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
    ways = input_ways(model, names, limit) if task.spec.kind == "graph" else [(names, "")]
    fixed = fixed_nodes(model)
    if fixed is not None and format in ("torchscript", "both"):
        raise UsageError(f"{recipe.name} learnt a width for each node: --format {format} is for a2q-groups")

    def graphs(own: tuple[str, ...]) -> tuple[list[Sample], list[Sample]]:
        awkward = [] if constant_graph else make_samples(task, own, fixed)
        return within_limit(split_graphs(task, own), limit), within_limit(awkward, limit)

    real, awkward = graphs(ways[0][0])
    status("capturing the graph")
    largest = example_graph(task, 2)  # two, so that their number is not taken for a constant
    (form, *others), why = build_forms(
        format,
        lambda own: _onnx_form(checkpoint, recipe, task, own, example_inputs(own, largest), constant_graph),
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
    expected = torch_outputs(model, real + awkward)
    whole = {sample.name: sample for sample in real + awkward}
    if constant_graph:
        real = [_without_edges(sample) for sample in real]
    tolerance = tolerance_for(recipe, expected, min_agreement, task.spec.scale.get("std"))
    target = task.spec.target
    limits: dict[str, Any] = {
        "target": target,
        "hint": _hint(recipe),
        "rounding": lambda sample: rounded_otherwise(model, whole[sample.name]),
    }
    parity, outputs = check_parity(form.run, real + awkward, expected, tolerance, **limits)
    for other in others:
        also, _ = check_parity(other.run, real + awkward, expected, tolerance, **limits)
        kept = {k: v for k, v in also.to_dict().items() if k in ("graphs", "agreement", "max_abs_error")}
        form.facts[other.runtime] = {**other.facts[other.runtime], "parity": kept}
    held_out = within_limit(split_graphs(task, own, "val"), limit)
    if task.spec.kind == "node":  # other rows of the same graph
        answers = expected[:1], outputs[:1]
    else:
        answers = torch_outputs(model, held_out), [form.run(sample.inputs) for sample in held_out]
    keep = shipped(real)
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
        "limits": limits_of(limit),
        **form.io,
        "samples": [_describe(sample, task) for sample in keep + awkward],
        "parity": parity.to_dict(),
        "metric": {
            **_compared(task, real, expected, outputs),
            "split": "test",
            **_more_metrics(task, real, expected, outputs),
        },
        "validation": _compared(task, held_out, *answers),
        "samples_metric": {
            "name": task.spec.metric,
            "value": _metric(task.spec.metric, keep, outputs),
            "reason": _undefined(task, keep),
            "n": _rows(keep),
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
    at = {id(s): e for s, e in zip(real + awkward, expected, strict=True)}
    complete = write_artifact(
        path,
        form.onnx,
        manifest,
        keep + awkward,
        [at[id(s)] for s in keep + awkward],
        force=force,
        libraries=libraries,
        others={name: content for each in (form, *others) for name, content in each.files.items()},
        check=_prove,
    )
    return ExportResult(path, complete, parity)


def input_names(model: nn.Module | ExportedProgram, task: Task) -> tuple[str, ...]:
    """Graph inputs of a module or program, in order."""
    return program_inputs(model) if isinstance(model, ExportedProgram) else model_inputs(model, task)


def _onnx_form(
    checkpoint: Checkpoint,
    recipe: Recipe,
    task: Task,
    names: tuple[str, ...],
    example: dict[str, Array],
    constant_graph: bool,
) -> Form:
    """The model as ONNX: captured, quantized, its aggregations rewritten."""
    points = entry_points(checkpoint.model, task, names, example)
    models, floats, operators, aggregations = [], [], Counter[str](), []
    found: set[str] = set()
    fp32 = 0
    for point in points:
        captured, plain = _captured(checkpoint, point)
        quantized = with_fixed_nodes(_quantize(captured, recipe, point), fixed_nodes(checkpoint.model))
        found.update(qdq_points(quantized))
        model, outcomes = rewrite_proto(quantized, sparse_input=_sparse(point))
        if constant_graph and "edge_index" in point.example:
            model = _with_graph(model, task)
        model = spell_int4(pack_zeros(model))
        models.append(model)
        floats += _float_tensors(checkpoint, quantized, model)
        operators.update(integer_operators(model))
        aggregations += [asdict(outcome) for outcome in outcomes]
        fp32 += len(rewrite_proto(plain, sparse_input=_sparse(point))[0].SerializeToString())
    sessions = [make_session(model.SerializeToString()) for model in models]
    facts = {
        "quantized_points": _assert_planned(checkpoint, found),
        "stayed_float": floats,
        "integer_operators": dict(operators),
        **learnt_facts(checkpoint.model),
        "aggregations": aggregations,
        "sizes": {"fp32_model_file": fp32},
    }
    more = {p.file: m.SerializeToString(deterministic=True) for p, m in zip(points[1:], models[1:], strict=True)}
    return Form("onnxruntime", chained(points, sessions), whole_io(points, models), facts, onnx=models[0], files=more)


def _sparse(point: EntryPoint) -> bool:
    return sparse_features(point.example["x"]) if "x" in point.example else False


def _quantize(captured: onnx.ModelProto, recipe: Recipe, point: EntryPoint) -> onnx.ModelProto:
    products = any(node.op_type in {"MatMul", "Gemm"} for node in captured.graph.node)
    if recipe.method not in {"dynamic", "static"} or (point.kind == "link" and not products):
        return captured
    from edgegnn.export.ptq import dynamic_int8, static_int8

    return dynamic_int8(captured) if recipe.method == "dynamic" else static_int8(captured, point.calibrate())


def _assert_planned(checkpoint: Checkpoint, found: set[str]) -> int:
    """Every point that training put into the model is a pair in the file: PyG's own hooks vanish while exporting."""
    if not isinstance(checkpoint.model, QuantModel):
        return 0
    planned = set(checkpoint.model.structure()["points"])
    missing = sorted(planned - found)
    if missing:
        raise ExportError(
            f"{len(missing)} of {len(planned)} quantization points are not in the exported graph: {missing[0]}, ..."
        )
    return len(planned)


def _float_tensors(checkpoint: Checkpoint, model: onnx.ModelProto, rewritten: onnx.ModelProto) -> list[dict[str, Any]]:
    reasons = checkpoint.model.stayed_float if isinstance(checkpoint.model, QuantModel) else {}
    entries = []
    for entry in stayed_float(model, rewritten):
        name = entry["tensor"].removeprefix("model.")
        entries.append({**entry, "why": reasons.get(name, entry["why"])})
    return entries


def _captured(checkpoint: Checkpoint, point: EntryPoint) -> tuple[onnx.ModelProto, onnx.ModelProto]:
    """The graph; and that of the same model without any quantization, which the artifact's size is compared with."""
    model, how = checkpoint.model, {"kind": point.kind, "output": point.output}
    if isinstance(model, QuantModel):
        return capture_with_twin(model, point.tensors, **how)
    captured = capture(model, point.tensors, **how)
    return captured, captured


def _metric(name: str, samples: list[Sample], outputs: list[Any]) -> float | None:
    """A metric over the samples; None where their labels don't define it."""
    # outputs of the awkward graphs follow those of the real ones
    pairs = [p for p in zip(samples, outputs, strict=False) if p[0].label is not None]
    found = np.concatenate([out[_counted(sample)] for sample, out in pairs])
    value = score(name, found, _labels(samples))
    return None if np.isnan(value) else value


def _more_metrics(task: Task, samples: list[Sample], expected: list[Any], outputs: list[Any]) -> dict[str, Any]:
    """Further metrics of a task of links or of two classes: name -> that of PyTorch and of the artifact."""
    two = task.spec.target == "classes" and task.spec.num_classes == 2
    more = LINK_METRICS if task.spec.kind == "link" else ("roc_auc",) if two else ()
    return {
        name: {"pytorch": _metric(name, samples, expected), "artifact": _metric(name, samples, outputs)}
        for name in more
        if name != task.spec.metric
    }


def _compared(task: Task, samples: list[Sample], expected: list[Any], outputs: list[Any]) -> dict[str, Any]:
    """The task's metric over the samples, of PyTorch and of the artifact."""
    return {
        "name": task.spec.metric,
        "pytorch": _metric(task.spec.metric, samples, expected),
        "artifact": _metric(task.spec.metric, samples, outputs),
        "reason": _undefined(task, samples),
        "n": _rows(samples),
    }


def _undefined(task: Task, samples: list[Sample]) -> str:
    """Why the metric has no value over the samples; "" when it has one."""
    return undefined(task.spec.metric, _labels(samples))


def _labels(samples: list[Sample]) -> Array:
    return np.concatenate([s.label[_counted(s)] for s in samples if s.label is not None])


def _counted(sample: Sample) -> Any:
    return slice(None) if sample.mask is None else sample.mask


def _rows(samples: list[Sample]) -> int:
    return sum(int(s.mask.sum()) if s.mask is not None else len(s.label) for s in samples if s.label is not None)


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


def _describe(sample: Sample, task: Task) -> dict[str, Any]:
    edges = sample.inputs.get("edge_index", task.graphs[0].edge_index).shape[1]
    return {
        "name": sample.name,
        "origin": sample.origin,
        "num_nodes": sample.inputs["x"].shape[0],
        "num_edges": edges,
    }


def _with_graph(model: onnx.ModelProto, task: Task) -> onnx.ModelProto:
    data = task.graphs[0]
    own = ir.from_proto(model)
    fix_graph(own, data.edge_index.numpy(), int(data.num_nodes))
    proto = ir.to_proto(own)
    del proto.graph.value_info[:]  # sizes of the graph that is gone
    return proto


def _without_edges(sample: Sample) -> Sample:
    return replace(sample, inputs={k: v for k, v in sample.inputs.items() if k != "edge_index"})


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
