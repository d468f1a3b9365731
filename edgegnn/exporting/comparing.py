"""The second step of an export: the artifact's forms against PyTorch's model and against the user's float model."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
from torch.export import ExportedProgram

from edgegnn import manifest
from edgegnn.checkpoint.onnx_module import OnnxModule
from edgegnn.exporting.building import Built
from edgegnn.exporting.drift import drift
from edgegnn.exporting.float_reference import Proof
from edgegnn.exporting.formats import Form
from edgegnn.exporting.metamorphic import Kept
from edgegnn.exporting.node_limits import within_limit
from edgegnn.exporting.parity import (
    Parity,
    Tolerance,
    check_parity,
    spread,
    tolerance_for,
    torch_every,
    torch_outputs,
)
from edgegnn.exporting.request import ExportRequest
from edgegnn.exporting.rounding import rounded_otherwise
from edgegnn.exporting.samples import Sample, split_graphs
from edgegnn.exporting.shipped import Shipped, choose, fitting
from edgegnn.exporting.smallest_graphs import Runnable, runnable
from edgegnn.manifest import AgainstFloat
from edgegnn.quantize import Recipe

__all__ = ["Answers", "Comparison", "compare", "with_edges"]

Array = npt.NDArray[np.generic]


@dataclass(frozen=True)
class Answers:
    """Graphs with the outputs of PyTorch's model and of the artifact on them."""

    samples: list[Sample]
    expected: list[Any]
    outputs: list[Any]


@dataclass(frozen=True)
class Comparison:
    """How an artifact compares with its model.

    Attributes:
        parity: of the form that the manifest names, on all graphs.
        other_parity: runtime of each other form -> its parity.
        test: the test split.
        validation: the validation split.
        shipped: what of the test split the artifact ships.
        taken: how that was chosen.
        others: name of each output but the main one -> its parity.
        drift: of a recurrent model, over consecutive steps.
        awkward: the awkward graphs that the artifact ships, with PyTorch's outputs.
        small: the smallest graphs that the model runs on.
        against_float: what quantization costs; None for a float artifact.
        properties: what was found of the model's properties.
        kept_expected: PyTorch's outputs on the graphs in samples.npz, by name.
    """

    parity: Parity
    other_parity: Mapping[str, Parity]
    others: Mapping[str, Parity]
    drift: manifest.Drift | None
    test: Answers
    validation: Answers
    shipped: Answers
    taken: Shipped
    awkward: list[Sample]
    small: Runnable
    against_float: AgainstFloat | None
    properties: list[Kept]
    kept_expected: list[dict[str, Any]]

    @property
    def kept(self) -> list[Sample]:
        """The graphs in samples.npz."""
        return self.taken.samples + self.awkward


def compare(request: ExportRequest, built: Built, status: Callable[[str], None]) -> Comparison:
    """Compare each form with PyTorch's model and with the float model.

    Args:
        request: what is asked for.
        built: the forms and the graphs.
        status: told in a few words what is being done.

    Raises:
        ParityError: a form computes something else, or quantization costs too much.
        ExportError: PyTorch's model fails on a real graph, or a form doesn't keep a property of the model.
    """
    status("comparing with PyTorch")
    model, task, takes = request.model, request.task, built.takes
    any_size = takes.fixed is None and not request.constant_graph
    expected = torch_outputs(model, built.real)
    small = runnable(model, task, built.names, built.awkward, fixed=takes.fixed is not None, most=takes.limit)
    real = [_without_edges(sample) for sample in built.real] if request.constant_graph else built.real
    taken = choose(model, task.many, real, expected, request.samples, cut=any_size)
    # Rows of a part count in the test split already: it is compared like a graph that was made up.
    parts = [replace(sample, origin="synthetic") for sample in taken.samples if taken.cut]
    expected_all = expected + taken.expected[: len(parts)] + small.expected
    every = Answers(real + parts + small.samples, expected_all, [])
    parity, outputs, other_parity = _parities(request, built, every)
    test = Answers(real, expected, outputs[: len(real)])
    first = len(real) if taken.cut else 0
    shipped = Answers(taken.samples, taken.expected, outputs[first : first + len(taken.samples)])
    validation = _validation(request, built, test)
    status("comparing with the float model")
    proof = Proof(model, request.reference, task, request.recipe, request.max_accuracy_drop, takes.fixed is not None)
    against, *_ = [
        proof.against_float(form, built.names, validation.samples, validation.outputs) for form in built.forms
    ]
    awkward = small.samples if any_size else fitting(small.samples, taken.samples)
    kept = taken.samples + awkward
    whole = built.real[0].inputs
    return Comparison(
        parity,
        other_parity,
        _others(request, built, every),
        drift(model, built.form.every, task, built.names, request.recipe),
        test,
        validation,
        shipped,
        taken,
        awkward,
        small,
        against,
        _properties(proof, built, status) if request.thorough else [],
        torch_every(model, [with_edges(sample, whole) for sample in kept], task.gives.main),
    )


def _parities(request: ExportRequest, built: Built, every: Answers) -> tuple[Parity, list[Any], dict[str, Parity]]:
    """The parity of the first form, its outputs, and the parity of each other form."""
    spec, whole = request.task.spec, built.real[0].inputs
    deviation = spec.scale.get("std") if spec.labelled else spread(every.expected)
    tolerance = tolerance_for(request.recipe, every.expected, request.min_agreement, deviation)

    def parity_of(run: Callable[[dict[str, Array]], Any], tolerance: Tolerance) -> tuple[Parity, list[Any]]:
        return check_parity(
            run,
            every.samples,
            every.expected,
            tolerance,
            target=spec.target,
            hint=_hint(request.recipe, request.model),
            rounding=lambda sample: rounded_otherwise(request.model, with_edges(sample, whole)),
        )

    parity, outputs = parity_of(built.form.run, tolerance)
    return parity, outputs, {other.runtime: parity_of(other.run, tolerance)[0] for other in built.others}


def _others(request: ExportRequest, built: Built, every: Answers) -> dict[str, Parity]:
    """The parity of each output but the main one: as numbers that no labels give a unit."""
    whole = built.real[0].inputs

    def parity_of(form: Form, name: str) -> Parity:
        expected = torch_outputs(request.model, [with_edges(sample, whole) for sample in every.samples], name)
        return check_parity(
            partial(form.read, name),
            every.samples,
            expected,
            tolerance_for(request.recipe, expected, request.min_agreement, spread(expected)),
            target="none",
            hint=f" (output {name}){_hint(request.recipe, request.model)}",
            rounding=lambda sample: rounded_otherwise(request.model, with_edges(sample, whole), name=name),
        )[0]

    found = {}
    for name in request.task.gives.others:
        found[name], *_ = [parity_of(form, name) for form in built.forms]
    return found


def _validation(request: ExportRequest, built: Built, test: Answers) -> Answers:
    held_out = within_limit(split_graphs(request.task, built.names, "val"), built.takes.limit)
    if not request.task.many and not request.task.of_links:  # other rows of the same graph
        return Answers(held_out, test.expected[:1], test.outputs[:1])
    expected = torch_outputs(request.model, held_out)
    return Answers(held_out, expected, [built.form.run(sample.inputs) for sample in held_out])


def _properties(proof: Proof, built: Built, status: Callable[[str], None]) -> list[Kept]:
    status("trying properties of the model")
    first, *_ = [proof.properties(form, built.names) for form in built.forms]
    return first


def with_edges(sample: Sample, whole: Mapping[str, Array]) -> Sample:
    """The sample with the inputs that a constant graph took from it."""
    return replace(sample, inputs={name: sample.inputs.get(name, value) for name, value in whole.items()})


def _without_edges(sample: Sample) -> Sample:
    return replace(sample, inputs={k: v for k, v in sample.inputs.items() if k != "edge_index"})


def _hint(recipe: Recipe, model: object) -> str:
    if recipe.does.post_training and isinstance(model, (ExportedProgram, OnnxModule)):
        return "; try --quant dynamic-int8, or accept it with --min-agreement"
    if recipe.does.post_training:
        return "; try --quant dq-int8, or accept it with --min-agreement"
    return ""
