"""The first step of an export: the forms of the model, and the graphs that they will be compared on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import nn
from torch.export import ExportedProgram

from edgegnn.errors import ExportError
from edgegnn.exporting.capture import capture_program
from edgegnn.exporting.formats import Form, build_forms, torchscript_form
from edgegnn.exporting.learnt_bits import fixed_nodes
from edgegnn.exporting.node_limits import node_limit, within_limit
from edgegnn.exporting.onnx_format import onnx_form
from edgegnn.exporting.randomness import check_repeats
from edgegnn.exporting.request import ExportRequest, Takes, ways_of, what_it_takes
from edgegnn.exporting.samples import Sample, example_inputs, make_samples, split_graphs, tensors_of
from edgegnn.exporting.subgraphs import probe
from edgegnn.tasks import Task, example_graph

__all__ = ["Built", "build", "check_traces"]


@dataclass(frozen=True)
class Built:
    """The forms of a model, and the graphs to compare them on.

    Attributes:
        form: the form that the manifest names.
        others: further forms that were asked for.
        fallback: why the form is TorchScript though nobody asked for it; "" otherwise.
        names: the artifact's inputs, as PyTorch's model takes them.
        takes: what graphs the model takes.
        real: the test split.
        awkward: graphs with isolated nodes, without edges, of one node.
    """

    form: Form
    others: Sequence[Form]
    fallback: str
    names: tuple[str, ...]
    takes: Takes
    real: list[Sample]
    awkward: list[Sample]

    @property
    def forms(self) -> list[Form]:
        """All forms, the one that the manifest names first."""
        return [self.form, *self.others]


def build(request: ExportRequest, status: Callable[[str], None]) -> Built:
    """Capture, quantize and rewrite a model in each form that is asked for.

    Args:
        request: what is asked for.
        status: told in a few words what is being done.

    Raises:
        UsageError: it can't be had (`request.what_it_takes`), or a graph of the data is larger than the limit.
        ExportError: the model can't be captured.
    """
    takes = what_it_takes(request)
    first = takes.ways[0][0]
    real, awkward = _graphs(request, takes, first)
    check_repeats(request.model, tensors_of(probe(request.task, takes.names)))
    status("capturing the graph")
    (form, *others), fallback = _forms(request, takes)
    names = takes.ways[-1][0] if form.alone else first
    if form.alone and len(takes.ways) > 1:
        real, awkward = _graphs(request, takes, names)
    return Built(form, others, fallback, names, takes, real, awkward)


def _graphs(request: ExportRequest, takes: Takes, names: tuple[str, ...]) -> tuple[list[Sample], list[Sample]]:
    """The test split and the awkward graphs, as inputs with these names."""
    awkward = [] if request.constant_graph else make_samples(request.task, names, takes.fixed)
    return within_limit(split_graphs(request.task, names), takes.limit), within_limit(awkward, takes.limit)


def _forms(request: ExportRequest, takes: Takes) -> tuple[list[Form], str]:
    checkpoint, task, recipe = request.checkpoint, request.task, request.recipe
    largest = example_graph(task, 2)  # two, so that their number is not taken for a constant

    def make_onnx(names: tuple[str, ...]) -> Form:
        return onnx_form(checkpoint, recipe, task, names, example_inputs(names, largest), request.constant_graph)

    def make_script(names: tuple[str, ...]) -> Form:
        example, graphs = example_inputs(names, largest), split_graphs(task, names)
        return torchscript_form(checkpoint, task, names, example, graphs)

    may_fall_back = not recipe.does.post_training and not request.constant_graph
    return build_forms(request.format, make_onnx, make_script, takes.ways, fallback=may_fall_back)


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
    for own, _ in ways_of(model, task, node_limit(model, max_nodes)):
        try:
            capture_program(model, tensors_of(probe(task, own, 2, whole=whole)), task.roles)
            return
        except ExportError as error:
            errors.append(error)
    raise errors[0]
