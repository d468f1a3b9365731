"""What an export is asked for, and the check that it can be had."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn
from torch.export import ExportedProgram

from edgegnn.checkpoint import Checkpoint
from edgegnn.errors import UsageError
from edgegnn.exporting.capture import program_inputs
from edgegnn.exporting.formats import check_format
from edgegnn.exporting.learnt_bits import fixed_nodes
from edgegnn.exporting.node_limits import input_ways, node_limit
from edgegnn.quantize import Recipe
from edgegnn.tasks import Task, model_inputs

__all__ = ["ExportRequest", "Takes", "input_names", "ways_of", "what_it_takes"]

Model = nn.Module | ExportedProgram


@dataclass(frozen=True)
class ExportRequest:
    """What an export is asked for.

    Attributes:
        checkpoint: the model; already trained with `recipe` when that is one that trains.
        task: its data.
        recipe: how it is quantized.
        min_agreement: smallest share of equal predictions; None for the recipe's default.
        constant_graph: bake the edges of the task's one graph into the model, which then takes no `edge_index`.
        max_nodes: the most nodes that a graph may have, for one graph at a time; None: as the model's modules say.
        max_accuracy_drop: largest drop of the validation metric from the float model, in points; None: 2.
        samples: how many graphs (nodes, pairs) of the test split to ship; None: as many as fit
            (`edgegnn.exporting.shipped`).
        thorough: hold the artifact to the properties of the model, too (`edgegnn.exporting.metamorphic`).
        reference: the float model, where `checkpoint` holds one that was fine-tuned from it.
        format: "onnx", "torchscript", "both", "c" or "web"; None: ONNX, and TorchScript where ONNX can't.
    """

    checkpoint: Checkpoint
    task: Task
    recipe: Recipe
    min_agreement: float | None = None
    constant_graph: bool = False
    max_nodes: int | None = None
    max_accuracy_drop: float | None = None
    samples: int | None = None
    thorough: bool = False
    reference: Model | None = None
    format: str | None = None

    @property
    def model(self) -> Model:
        """The model of the checkpoint."""
        return self.checkpoint.model


@dataclass(frozen=True)
class Takes:
    """What graphs a model takes.

    Attributes:
        names: its inputs, in order.
        ways: the inputs to try to export it with (`edgegnn.exporting.node_limits.input_ways`).
        limit: the most nodes that a graph may have; None for any number.
        fixed: number of nodes of the one graph that it has parameters for; None for a model of any graph.
    """

    names: tuple[str, ...]
    ways: Sequence[tuple[tuple[str, ...], str]]
    limit: int | None
    fixed: int | None


def what_it_takes(request: ExportRequest) -> Takes:
    """Find what graphs the model takes, and refuse what can't be had of it.

    Raises:
        UsageError: `constant_graph`, and the task is not about the nodes of one graph; a `format` that can't be had;
            or `samples`, and the artifact is for one whole graph.
    """
    model, task = request.model, request.task
    names = input_names(model, task)
    if request.constant_graph and (task.many or "edge_index" not in names):
        raise UsageError("--constant-graph is for node tasks: the nodes of one graph that stays as it is")
    check_format(request.format, request.recipe, constant_graph=request.constant_graph)
    limit = node_limit(model, request.max_nodes)
    takes = Takes(names, ways_of(model, task, limit), limit, fixed_nodes(model, task))
    if takes.fixed is not None and request.format in ("torchscript", "both"):
        cure = "a2q-groups" if request.recipe.does.learns_bits else "--format onnx"
        raise UsageError(
            f"--format {request.format} is for models of any graph, this one is for {takes.fixed} nodes: take {cure}"
        )
    if request.samples is not None and (takes.fixed is not None or request.constant_graph):
        raise UsageError(
            "--samples takes a part of a graph, and this artifact is for the whole graph only: leave it out"
        )
    return takes


def ways_of(model: Model, task: Task, limit: int | None) -> Sequence[tuple[tuple[str, ...], str]]:
    """The inputs to try (`node_limits.input_ways`); models that aren't for graphs have one way."""
    names = input_names(model, task)
    return input_ways(model, names, limit) if task.many else [(names, "")]


def input_names(model: Model, task: Task) -> tuple[str, ...]:
    """Graph inputs of a module or program, in order."""
    return program_inputs(model) if isinstance(model, ExportedProgram) else model_inputs(model, task)
