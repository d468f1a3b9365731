"""The forms in which an artifact ships a model: ONNX, and TorchScript where asked for or where ONNX can't express it.

onnx           model.onnx, or an error
torchscript    model.ts.pt and model.pt2
both           model.onnx, model.ts.pt and model.pt2; the manifest names onnxruntime as the runtime
c              model.onnx, and the same model as C99 in c/ (`edgegnn.plain_c`)
web            the same, and that compiled to WebAssembly in web/ (`edgegnn.plain_c.web`)
None           onnx; torchscript when something in the model has no ONNX form
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from onnx import ModelProto
from torch import Tensor
from torch.export import ExportedProgram

from edgegnn.checkpoint import Checkpoint
from edgegnn.errors import ArtifactError, EdgeGNNError, ExportError, ParityError, UsageError
from edgegnn.exporting.capture import capture_program, copy_program
from edgegnn.exporting.early_checks import PLAIN, check_format_name
from edgegnn.exporting.entry_points import with_role
from edgegnn.exporting.samples import Sample
from edgegnn.exporting.torchscript import Script, make_twin, to_torchscript
from edgegnn.manifest import Aggregation, LearntBits, RangePoint, Refusal, ScriptForm, ScriptTwin, StayedFloat
from edgegnn.quantize import QuantModel, Recipe
from edgegnn.runtime.metrics import as_rows
from edgegnn.runtime.roles import BATCH, FIXED, GRAPH, role_of
from edgegnn.runtime.script import ScriptSession
from edgegnn.tasks import Task

__all__ = ["Form", "FormFacts", "build_forms", "check_format", "torchscript_form"]

Array = npt.NDArray[np.generic]


@dataclass(frozen=True)
class FormFacts:
    """What the manifest says of a form; the fields are those of `edgegnn.manifest.ArtifactManifest`.

    Attributes:
        fp32_model_file: size of the same model without quantization, bytes.
    """

    quantized_points: int
    stayed_float: list[StayedFloat]
    aggregations: list[Aggregation]
    fp32_model_file: int
    integer_operators: dict[str, int] = field(default_factory=dict)
    average_bits: dict[str, float] | None = None
    learnt_bits: dict[str, LearntBits] | None = None
    refusals: list[Refusal] = field(default_factory=list)
    ranges: list[RangePoint] = field(default_factory=list)
    torchscript: ScriptForm | None = None


@dataclass(frozen=True)
class Form:
    """A model as one runtime runs it.

    Attributes:
        runtime: "onnxruntime" or "torchscript".
        every: one graph's inputs to all outputs, by name.
        main: name of the main output.
        io: inputs and outputs, as the manifest lists them.
        facts: what else the manifest says of it.
        onnx: what becomes model.onnx, None for TorchScript.
        files: name -> content of its other files.
        alone: why it takes one graph at a time though the model takes several; "" where it doesn't.
        twins: of a post-training recipe, the graph (of the first file) before and after quantization.
        quantized: something is computed from codes.
        float_model: of a quantized model in one file, the same model without quantization, rewritten likewise.
    """

    runtime: str
    every: Callable[[dict[str, Array]], dict[str, Any]]
    main: str
    io: dict[str, list[dict[str, Any]]]
    facts: FormFacts
    onnx: ModelProto | None = None
    files: dict[str, bytes] = field(default_factory=dict)
    alone: str = ""
    twins: tuple[ModelProto, ModelProto] | None = None
    quantized: bool = False
    float_model: ModelProto | None = None

    def run(self, inputs: dict[str, Array]) -> Any:
        """The main output for one graph, as a matrix."""
        return self.read(self.main, inputs)

    def read(self, name: str, inputs: dict[str, Array]) -> Any:
        """An output for one graph, as a matrix."""
        return as_rows(self.every(inputs)[name])


def check_format(format: str | None, recipe: Recipe, *, constant_graph: bool) -> None:
    """Refuse early what TorchScript can't have.

    Raises:
        UsageError: an unknown format, or one that doesn't go with the recipe or with a constant graph.
    """
    check_format_name(format)
    if format in (None, "onnx", *PLAIN):
        return
    if recipe.does.post_training:
        raise UsageError(f"{recipe.name} quantizes ONNX models: for --format {format} choose a recipe that trains")
    if constant_graph:
        raise UsageError(f"--constant-graph is for --format onnx, not for {format}")


def build_forms(
    format: str | None,
    make_onnx: Callable[[tuple[str, ...]], Form],
    make_script: Callable[[tuple[str, ...]], Form],
    ways: Sequence[tuple[tuple[str, ...], str]],
    *,
    fallback: bool,
) -> tuple[list[Form], str]:
    """Build what is asked for.

    Args:
        format: see above.
        make_onnx: builds the ONNX form with these inputs.
        make_script: builds the TorchScript form with these inputs.
        ways: the inputs to try, as `edgegnn.exporting.node_limits.input_ways` gives them.
        fallback: TorchScript may take the place of ONNX where no format is asked for.

    Returns:
        The forms, the one that counts first; and why it is TorchScript though nobody asked for it, "" otherwise.

    Raises:
        ExportError: what the first one that was tried says, also when the fallback fails too.
    """
    if format == "torchscript":
        return [_first(make_script, ways)], ""
    try:
        form = _first(make_onnx, ways)
    except ParityError:
        raise  # a model that computes something else is a bug to be seen
    except (ExportError, ArtifactError) as error:
        if format is not None or not fallback:
            raise
        try:
            return [_first(make_script, ways)], str(error)
        except EdgeGNNError:
            raise error from None
    if format != "both":
        return [form], ""
    names, _ = ways[-1 if form.alone else 0]
    return [form, make_script(names)], ""


def _first(make: Callable[[tuple[str, ...]], Form], ways: Sequence[tuple[tuple[str, ...], str]]) -> Form:
    """The first form that can be built; when none can, the first way's error."""
    errors: list[Exception] = []
    for names, alone in ways:
        try:
            form = make(names)
        except ParityError:
            raise
        except (ExportError, ArtifactError) as error:
            errors.append(error)
            continue
        return replace(form, alone=f"{alone}: {errors[0]}" if errors else alone)
    raise errors[0]


def torchscript_form(
    checkpoint: Checkpoint, task: Task, names: Sequence[str], example: Mapping[str, Array], samples: Sequence[Sample]
) -> Form:
    """The model as TorchScript, with its `.pt2` twin.

    Args:
        checkpoint: the model.
        task: its data.
        names: the model's inputs.
        example: inputs to trace with.
        samples: real graphs; kernels are compared on the one with the median number of edges.

    Raises:
        ExportError: something in the model has no TorchScript form.
    """
    model = checkpoint.model
    tensors = _tensors(example)
    typical = sorted(samples, key=lambda s: s.edge_index.shape[1])[len(samples) // 2]
    measured = _tensors(typical.inputs)
    program, _ = capture_program(model, tensors, task.roles)
    twin, twin_inputs = make_twin(copy_program(program), names)
    prefix = "" if isinstance(model, ExportedProgram) else "model.model" if isinstance(model, QuantModel) else "model"
    script = to_torchscript(program, names, measured, prefix=prefix)
    session = ScriptSession(script.content)
    names_of_outputs = task.gives.names

    def every(inputs: dict[str, Array]) -> dict[str, Any]:
        return dict(zip(names_of_outputs, session.run(None, inputs), strict=True))

    size = len(script.content)
    if isinstance(model, QuantModel):
        with model.as_float() as plain:
            floats = to_torchscript(*capture_program(plain, tensors, task.roles), measured, always=False)
            size = len(floats.content)
    facts = FormFacts(
        quantized_points=_assert_planned(checkpoint, script),
        stayed_float=_stayed_float(checkpoint, script),
        aggregations=[_outcome(choice) for choice in script.aggregation],
        fp32_model_file=size,
        torchscript=ScriptForm(
            **script.to_dict(),
            graph={"num_nodes": typical.nodes, "num_edges": typical.edge_index.shape[1]},
            twin=ScriptTwin(file="model.pt2", inputs=twin_inputs),
        ),
    )
    files = {"model.ts.pt": script.content, "model.pt2": twin}
    io = _io(task, names, example, every(typical.inputs))
    return Form("torchscript", every, task.gives.main, io, facts, files=files)


def _tensors(arrays: Mapping[str, Array]) -> dict[str, Tensor]:
    return {name: torch.from_numpy(value) for name, value in arrays.items()}


def _assert_planned(checkpoint: Checkpoint, script: Script) -> int:
    """Every point that training put into the model is in the file."""
    if not isinstance(checkpoint.model, QuantModel):
        return 0
    planned = set(checkpoint.model.structure()["points"])
    missing = sorted(planned - script.points)
    if missing:
        raise ExportError(
            f"{len(missing)} of {len(planned)} quantization points are not in the exported graph: {missing[0]}, ..."
        )
    return len(planned)


def _stayed_float(checkpoint: Checkpoint, script: Script) -> list[StayedFloat]:
    reasons = checkpoint.model.stayed_float if isinstance(checkpoint.model, QuantModel) else {}
    quantized = isinstance(checkpoint.model, QuantModel)
    why = "no quantization point is at it" if quantized else "nothing is quantized by this recipe"
    entries = [StayedFloat(tensor=name, bytes=size, why=reasons.get(name, why)) for name, size in script.floats.items()]
    if quantized:
        where = "codes are turned into float before products and sums: TorchScript has no integer kernels for them"
        entries.append(StayedFloat(tensor="products and sums", bytes=0, why=where))
    return sorted(entries, key=lambda entry: (-entry.bytes, entry.tensor))


def _outcome(choice: Any) -> Aggregation:
    """An aggregation as `inspect --explain` shows it."""
    reason = f"gather and scatter {choice.dense_ms} ms, product {choice.sparse_ms} ms, CSR {choice.csr_ms} ms"
    if choice.dense_ms is None:
        reason = "torch has no product with a CSR matrix for this reduction"
    return Aggregation(
        layer=choice.layer,
        aggregation=choice.aggregation,
        rule="CSR product" if choice.choice == "sparse" else None,
        reason=reason,
    )


def _io(
    task: Task, names: Sequence[str], example: Mapping[str, Array], given: Mapping[str, Array]
) -> dict[str, list[dict[str, Any]]]:
    several = any(role_of(task.roles, name).is_a(BATCH) for name in names)
    inputs = []
    for name in names:
        role, shape = role_of(task.roles, name), list[int | str](example[name].shape)
        if role != FIXED and (not role.is_a(GRAPH) or several):
            shape[role.axis] = role.size
        value = {"name": name, "dtype": example[name].dtype.name, "shape": shape}
        inputs.append(with_role(value, task.roles.get(name)))
    outputs = []
    for output in task.gives.each:
        sizes = list[int | str](given[output.name].shape)
        if output.role != FIXED:
            sizes[0] = output.role.size
        dtype = given[output.name].dtype.name
        outputs.append({"name": output.name, "dtype": dtype, "shape": sizes, "role": output.role.name})
    return {"inputs": inputs, "outputs": outputs}
