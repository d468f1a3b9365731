"""`edgegnn export`: from a trained model to a verified artifact."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnx_ir as ir
import torch
from torch import nn
from torch.export import ExportedProgram

from edgegnn.checkpoint import Checkpoint
from edgegnn.errors import ExportError, UsageError
from edgegnn.export.artifact import graph_io, versions, write_artifact
from edgegnn.export.capture import capture, program_inputs
from edgegnn.export.forms import Form, build_forms, check_format, torchscript_form
from edgegnn.export.pack import pack_zeros, spell_int4
from edgegnn.export.parity import Parity, check_parity, tolerance_for, torch_outputs
from edgegnn.export.qdq import qdq_points, stayed_float
from edgegnn.export.rewrite import rewrite_proto
from edgegnn.export.rewrite.constant import fix_graph
from edgegnn.export.rewrite.sparse import sparse_features
from edgegnn.export.samples import Sample, example_inputs, make_samples, shipped, test_graphs
from edgegnn.native import library_name
from edgegnn.native.provide import Provided, provide
from edgegnn.prune.edges import describe_pruning
from edgegnn.quantize import QuantModel, Recipe
from edgegnn.runtime import make_session, score, verify
from edgegnn.runtime.manifest import MODEL_FILES
from edgegnn.runtime.session import has_native_ops
from edgegnn.tasks import Task, example_graph, model_inputs

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
    if constant_graph and (task.spec.kind != "node" or "edge_index" not in names):
        raise UsageError("--constant-graph is for node tasks: the nodes of one graph that stays as it is")
    check_format(format, recipe, constant_graph=constant_graph)
    status("capturing the graph")
    example = example_inputs(names, example_graph(task, 2))  # two, so that their number is not taken for a constant
    real, awkward = test_graphs(task, names), [] if constant_graph else make_samples(task, names)
    (form, *others), why = build_forms(
        format,
        lambda: _onnx_form(checkpoint, recipe, task, names, example, constant_graph),
        lambda: torchscript_form(checkpoint, task.spec.kind, names, example, real),
        fallback=recipe.method not in {"dynamic", "static"} and not constant_graph,
    )
    status("comparing with PyTorch")
    expected = torch_outputs(model, real + awkward)
    if constant_graph:
        real = [_without_edges(sample) for sample in real]
    tolerance = tolerance_for(recipe, expected, min_agreement)
    parity, outputs = check_parity(form.run, real + awkward, expected, tolerance, hint=_hint(recipe))
    for other in others:
        also, _ = check_parity(other.run, real + awkward, expected, tolerance, hint=_hint(recipe))
        kept = {k: v for k, v in also.to_dict().items() if k in ("graphs", "agreement", "max_abs_error")}
        form.facts[other.runtime] = {**other.facts[other.runtime], "parity": kept}
    keep = shipped(real)
    manifest = {
        "recipe": recipe.name,
        "recipe_config": recipe.to_dict(),
        "constant_graph": constant_graph,
        "task": task.spec.to_dict(),
        "kind": task.spec.kind,
        "runtime": form.runtime,
        "fallback": why,
        **form.io,
        "samples": [_describe(sample, task) for sample in keep + awkward],
        "parity": parity.to_dict(),
        "metric": {
            "name": task.spec.metric,
            "pytorch": _metric(task, real, expected),
            "artifact": _metric(task, real, outputs),
            "split": "test",
            "n": _rows(real),
        },
        "samples_metric": {
            "name": task.spec.metric,
            "value": _metric(task, keep, outputs),
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
    captured = capture(checkpoint.model, {k: torch.from_numpy(v) for k, v in example.items()}, kind=task.spec.kind)
    quantized = _quantize(captured, recipe, task, names)
    planned = _assert_planned(checkpoint, quantized)
    model, outcomes = rewrite_proto(quantized, sparse_input=sparse_features(example["x"]))
    if constant_graph:
        model = _with_graph(model, task)
    model = spell_int4(pack_zeros(model))
    session = make_session(model.SerializeToString())
    facts = {
        "quantized_points": planned,
        "stayed_float": _float_tensors(checkpoint, quantized, model),
        "aggregations": [asdict(outcome) for outcome in outcomes],
        "sizes": {"fp32_model_file": len(_float_twin(checkpoint, captured, example, task))},
    }
    return Form("onnxruntime", lambda inputs: session.run(None, inputs)[0], graph_io(model), facts, onnx=model)


def _quantize(captured: onnx.ModelProto, recipe: Recipe, task: Task, names: tuple[str, ...]) -> onnx.ModelProto:
    if recipe.method in {"dynamic", "static"}:
        from edgegnn.export.ptq import dynamic_int8, static_int8
    if recipe.method == "dynamic":
        return dynamic_int8(captured)
    if recipe.method == "static":
        index = [0] if task.spec.kind == "node" else task.index["train"].tolist()[:128]
        return static_int8(captured, (example_inputs(names, task.graphs[i]) for i in index))
    return captured


def _assert_planned(checkpoint: Checkpoint, model: onnx.ModelProto) -> int:
    """Every point that training put into the model is a pair in the file: PyG's own hooks vanish while exporting."""
    if not isinstance(checkpoint.model, QuantModel):
        return 0
    planned, found = set(checkpoint.model.structure()["points"]), set(qdq_points(model))
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


def _float_twin(checkpoint: Checkpoint, captured: onnx.ModelProto, example: dict[str, Array], task: Task) -> bytes:
    """The same model exported without any quantization: what the artifact's size is compared with."""
    if not isinstance(checkpoint.model, QuantModel):
        return rewrite_proto(captured, sparse_input=sparse_features(example["x"]))[0].SerializeToString()
    with checkpoint.model.as_float() as model:
        twin = capture(model, {k: torch.from_numpy(v) for k, v in example.items()}, kind=task.spec.kind)
        return rewrite_proto(twin, sparse_input=sparse_features(example["x"]))[0].SerializeToString()


def _metric(task: Task, samples: list[Sample], outputs: list[Any]) -> float:
    logits, labels = [], []
    for sample, out in zip(
        samples, outputs, strict=False
    ):  # outputs of the awkward graphs follow those of the real ones
        rows = slice(None) if sample.mask is None else sample.mask
        if sample.label is not None:
            logits.append(out[rows])
            labels.append(sample.label[rows])
    return score(task.spec.metric, np.concatenate(logits), np.concatenate(labels))


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
