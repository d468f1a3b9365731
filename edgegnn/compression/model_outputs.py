"""What a user's model gives on the user's data: found by running it on graphs of different sizes."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from edgegnn.errors import DataError, UsageError
from edgegnn.utils.model_copies import copied

if TYPE_CHECKING:
    from torch import Tensor

    from edgegnn.checkpoint import Checkpoint
    from edgegnn.exporting.samples import Sample
    from edgegnn.runtime.roles import Role
    from edgegnn.tasks import Task

__all__ = ["fit_outputs"]

_MOST = 4  # graphs of a list on which a model is tried


def fit_outputs(checkpoint: Checkpoint, task: Task, scored: str = "") -> tuple[Checkpoint, Task]:
    """The checkpoint with a forward that knows its outputs, and the task that knows what they are.

    A model that gives one float32 matrix stays as it is. A task without labels gets the level of the model's main
    output.

    Args:
        checkpoint: the model.
        task: its data.
        scored: name of the output that the labels are for; "" for the one that they fit.

    Raises:
        UsageError: an output whose level can't be told, or several that the labels fit.
        DataError: no output that the labels fit.
    """
    import torch
    from torch.export import ExportedProgram

    from edgegnn.quantize import QuantModel
    from edgegnn.signature import Outputs
    from edgegnn.signature.outputs import as_row, returning
    from edgegnn.tasks.heads import check_outputs
    from edgegnn.tasks.notes import note
    from edgegnn.tasks.unlabelled import with_level

    if task.of_links:
        return checkpoint, task
    model = checkpoint.model
    found = _tried(checkpoint, task)
    if not found:  # the model fails: said by the check that follows
        return checkpoint, task
    if not isinstance(model, ExportedProgram) and _is_vector_of_graph(task, found):
        note(f"{type(model).__name__} gives a vector for a graph: the artifact gives it as a row")
        model = copied(model)
        plain = model.model if isinstance(model, QuantModel) else model
        plain.forward = as_row(plain)
        return dataclasses.replace(checkpoint, model=model), task
    one = set(found[0][1]) == {"output"}
    matrix = one and all(o["output"].dim() == 2 and o["output"].dtype == torch.float32 for _, o in found)
    if task.spec.labelled and matrix and not task.heads:
        return checkpoint, task
    check_outputs(task, found[0][1])
    roles = _roles(task, found)
    for name in found[0][1].keys() - roles.keys():
        shapes = ", ".join(str(list(each[name].shape)) for _, each in found[:3])
        note(
            f"{type(model).__name__}: the output {name} has rows of its own ({shapes}), of neither nodes, edges, "
            "graphs nor pairs: it is left out of the artifact"
        )
    outputs = _described(task, found, roles, scored)
    if not task.spec.labelled:
        task = with_level(task, _kind(outputs), outputs.role.size.partition(".")[2])
    task = dataclasses.replace(task, outputs=outputs)
    if matrix or isinstance(model, ExportedProgram):
        return checkpoint, dataclasses.replace(
            task, outputs=Outputs.one(task.spec.kind, labelled=False, rows=task.spec.rows)
        )
    if not isinstance(model, QuantModel):  # the caller's own stays as it is
        model = copied(model)
    plain = model.model if isinstance(model, QuantModel) else model
    plain.forward = returning(plain, outputs, list(found[0][0].inputs))
    return dataclasses.replace(checkpoint, model=model), task


def _is_vector_of_graph(task: Task, found: Sequence[tuple[Sample, dict[str, Tensor]]]) -> bool:
    """Whether a model of one graph at a time gives the graph's classes (labels, values) as a vector."""
    from edgegnn.runtime.roles import BATCH

    spec = task.spec
    if not spec.labelled or spec.kind != "graph" or spec.num_classes < 2 or found[0][0].find(BATCH) is not None:
        return False
    return all(list(each) == ["output"] and each["output"].shape == (spec.num_classes,) for _, each in found)


def _tried(checkpoint: Checkpoint, task: Task) -> list[tuple[Sample, dict[str, Tensor]]]:
    """Graphs on which the model runs, with the tensors that it gives, by name."""
    from edgegnn.errors import ExportError
    from edgegnn.exporting.parity import run_torch
    from edgegnn.signature.outputs import tensors_by_name

    found = []
    for sample in _graphs(checkpoint, task):
        with suppress(ExportError):
            found.append((sample, tensors_by_name(run_torch(checkpoint.model, sample), list(sample.inputs))))
    if len({tuple(outputs) for _, outputs in found}) > 1:
        raise UsageError("the model returns other tensors on other graphs: return the same ones always")
    return found


def _graphs(checkpoint: Checkpoint, task: Task) -> list[Sample]:
    """Real graphs, and made-up ones of other sizes."""
    from edgegnn.exporting.learnt_bits import fixed_nodes
    from edgegnn.exporting.request import input_names
    from edgegnn.exporting.samples import Sample, example_inputs, make_samples
    from edgegnn.runtime.roles import BATCH, role_of
    from edgegnn.tasks import collate

    names = input_names(checkpoint.model, task)
    graphs = task.graphs[:_MOST]
    if task.many and any(role_of(task.roles, name).is_a(BATCH) for name in names):
        graphs = [collate(graphs[:count]) for count in range(1, len(graphs) + 1)]
    real = [Sample(task.spec.data, "data", example_inputs(names, graph), roles=task.roles) for graph in graphs]
    fixed = fixed_nodes(checkpoint.model, task)
    return real + make_samples(task, names, fixed)[: None if fixed else 1]


def _roles(task: Task, found: Sequence[tuple[Sample, dict[str, Tensor]]]) -> dict[str, Any]:
    from edgegnn.runtime.roles import BATCH, EDGE, FIXED, GRAPH, LEVELS, NODE, size_of
    from edgegnn.signature import TypedGraph
    from edgegnn.signature.outputs import recognised

    shapes = [{name: list(value.shape) for name, value in outputs.items()} for _, outputs in found]
    if isinstance(task.graphs[0], TypedGraph):
        named = dict.fromkeys(task.roles[name].size for name in found[0][0].inputs if name in task.roles)
        of = {"num_nodes": NODE, "num_edges": EDGE}
        levels = [of[size.partition(".")[0]].sized(size) for size in named if size.partition(".")[0] in of]
        counts = [
            {role.size: size_of(sample.inputs, task.roles, role.size) or 0 for role in levels}
            | {GRAPH.size: sample.rows("graph")}
            for sample, _ in found
        ]
        return recognised(shapes, counts, _level(task), [*levels, GRAPH])
    sizes = [{role.size: sample.rows(kind) for kind, role in LEVELS.items()} for sample, _ in found]
    roles = recognised(shapes, sizes, _level(task))
    if task.many or any(sample.find(NODE) or sample.find(BATCH) for sample, _ in found):
        return roles
    # A model with learnt rows for the nodes of one graph takes its edges alone: no input says how many nodes there are.
    nodes = task.graphs[0].num_nodes
    return {name: NODE if role == FIXED and shapes[0][name][:1] == [nodes] else role for name, role in roles.items()}


def _level(task: Task) -> Role | None:
    """What the labels belong to; None without labels."""
    from edgegnn.runtime.roles import LEVELS

    if not task.spec.labelled:
        return None
    return LEVELS[task.spec.kind].sized(task.spec.rows)


def _described(
    task: Task, found: Sequence[tuple[Sample, dict[str, Tensor]]], roles: dict[str, Any], scored: str
) -> Any:
    """The outputs, and which is the main one."""
    from edgegnn.runtime.roles import FIXED
    from edgegnn.signature import Output, Outputs, as_rows
    from edgegnn.tasks.target import columns_fit

    first = found[0][1]
    each = tuple(Output(name, role) for name, role in roles.items())
    floats = [name for name in roles if first[name].is_floating_point()]
    if not task.spec.labelled:
        levelled = [name for name in floats if roles[name] != FIXED]
        if not floats:
            raise UsageError("the model returns no floating-point tensor: there is nothing to compare")
        return Outputs(each, (levelled or floats)[0])
    spec, level = task.spec, _level(task)
    if scored and scored not in roles:
        raise UsageError(f"--target {scored}=...: the model gives no output {scored}, it gives {', '.join(roles)}")
    floats = [name for name in floats if scored in ("", name)]
    fitting = [n for n in floats if roles[n] == level and columns_fit(spec, as_rows(first[n]).shape[1])]
    # More columns than classes will do, but a model of two heads means the one that has as many.
    exact = [name for name in fitting if as_rows(first[name]).shape[1] == spec.num_classes]
    fitting = exact if len(exact) == 1 else fitting
    if len(each) == 1:
        name = "logits" if each[0].name == "output" else each[0].name
        return Outputs((Output(name, each[0].role),), name)
    if len(fitting) == 1:
        return Outputs(each, fitting[0])
    said = ", ".join(f"{name} {list(first[name].shape)} of {roles[name].name}" for name in roles)
    if not fitting:
        raise DataError(
            f"{spec.data} has labels for each {spec.kind} ({spec.num_classes} {spec.target}), and no output of the "
            f"model fits them: it gives {said}; say --task none for an export without labels"
        )
    raise UsageError(
        f"the labels of {spec.data} fit {' and '.join(fitting)}: say which they are for with --target {fitting[0]}=y"
    )


def _kind(outputs: Any) -> str:
    """The level of the main output; of one of fixed shape, the graphs'."""
    from edgegnn.runtime.roles import LEVELS

    return next((kind for kind, role in LEVELS.items() if role.is_a(outputs.role)), "graph")
