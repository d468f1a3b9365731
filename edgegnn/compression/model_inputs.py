"""A user's model meets the user's data: which attributes it takes, under which names and in which types."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import inspect
import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from edgegnn.errors import DataError, EdgeGNNError, ExportError, UsageError, first_line

if TYPE_CHECKING:
    from torch import Tensor, nn
    from torch_geometric.data import Data

    from edgegnn.checkpoint import Checkpoint
    from edgegnn.tasks import Task

__all__ = ["fit_inputs", "one_graph", "whole_numbered"]

_USUAL = ("x", "edge_index", "edge_label_index", "edge_attr", "edge_weight")  # these are checked when they are read


def one_graph(task: Task) -> Data:
    """The first graph as a batch of its own, or the one graph of the task."""
    from edgegnn.tasks import collate, example_graph

    return collate(task.graphs[:1]) if task.many else example_graph(task, 1)


def fit_inputs(checkpoint: Checkpoint, task: Task) -> Task:
    """The task with the attributes that the model takes, under its names; a forward that takes a graph takes tensors.

    Raises:
        UsageError: the model needs something that the graphs don't have.
        DataError: attributes that no model can use.
        ExportError: a forward that takes a graph fails on the first one.
    """
    from torch.export import ExportedProgram

    from edgegnn.quantize import QuantModel
    from edgegnn.signature import MATRIX_NAMES, TypedGraph, other_names, takes_graph
    from edgegnn.tasks import model_inputs

    model = checkpoint.model
    if isinstance(model, ExportedProgram):
        return task
    plain = model.model if isinstance(model, QuantModel) else model
    if isinstance(task.graphs[0], TypedGraph):
        return _fit_typed(model, plain, task)
    kinds = {parameter.kind for parameter in inspect.signature(plain.forward).parameters.values()}
    if kinds and kinds <= {inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD}:
        raise UsageError(
            f"{type(plain).__name__}.forward names no parameters: call it in a module of yours with "
            "forward(x, edge_index), say"
        )
    if takes_graph(plain, task.roles):
        task = _usable(task, list(task.roles))
        _adapt(plain, task)
    else:
        names = other_names(plain, task.roles)
        matrix = next((name for name, usual in names.items() if usual == "edge_index" and name in MATRIX_NAMES), None)
        if matrix is not None and _takes_matrix(plain, matrix, names, task):
            del names[matrix]
        task = _renamed(task, names, type(plain).__name__)
    if isinstance(model, QuantModel):
        model.forward.__signature__ = inspect.signature(plain.forward)  # type: ignore[attr-defined]
    return _usable(task, model_inputs(model, task))


def _fit_typed(model: nn.Module, plain: nn.Module, task: Task) -> Task:
    """The forward of a model of graphs with several types of nodes takes `x.paper`, ... one by one."""
    from edgegnn.exporting.tracing import untouched
    from edgegnn.quantize import QuantModel
    from edgegnn.runtime.roles import BATCH
    from edgegnn.signature import TypedGraph, nested
    from edgegnn.tasks import forward_args

    task = _usable(task, [name for name, role in task.roles.items() if not role.is_a(BATCH)])
    graph = one_graph(task)
    assert isinstance(graph, TypedGraph)
    names, spec = list(task.roles), task.spec
    example = dict(zip(names, forward_args(names, graph), strict=True))
    try:
        with untouched(plain):
            forward = nested(
                plain,
                example,
                task.roles,
                graph.schema,
                told=spec.inputs,
                several=task.many,
                of=spec.of,
                where=spec.data,
            )
    except EdgeGNNError:
        raise
    except Exception as error:
        raise ExportError(f"the model fails on the first graph of {spec.data}: {first_line(error)}") from error
    plain.forward = forward
    if isinstance(model, QuantModel):
        model.forward.own_inputs = forward.own_inputs  # type: ignore[attr-defined]
    return task


def _adapt(model: nn.Module, task: Task) -> None:
    """Find out what a forward reads of a graph: without `batch` where there is one graph, if the model runs so.

    Features that the data have as whole numbers are tried as such, too: `fit_features` decides.
    """
    import torch

    from edgegnn.exporting.tracing import untouched
    from edgegnn.signature import adapted

    graph = one_graph(task)
    attributes: dict[str, Tensor] = {name: graph[name] for name in task.roles}
    several = {**attributes, "batch": torch.zeros(int(graph.num_nodes or 0), dtype=torch.int64)}
    errors: list[Exception] = []
    ways = [several] if task.many else [attributes, several]
    for whole in whole_numbered(task.whole):
        for way in ways:
            try:
                with untouched(model):
                    forward = adapted(model, way | {name: way[name].long() for name in whole}, task.roles)
            except Exception as error:
                errors.append(error)
                continue
            model.forward = forward
            return
    reason = first_line(errors[0])
    raise ExportError(f"the model fails on the first graph of {task.spec.data}: {reason}") from errors[0]


def _takes_matrix(model: nn.Module, name: str, names: dict[str, str], task: Task) -> bool:
    """Whether a forward takes a matrix where others take `edge_index`; it then takes `edge_index` instead.

    A sparse matrix is tried first: its products run on the edges.

    Args:
        model: the module.
        name: of the parameter.
        names: parameters that the data have by another name.
        task: the data.
    """
    import torch

    from edgegnn.exporting.tracing import untouched
    from edgegnn.runtime.roles import NODE
    from edgegnn.signature import with_matrix
    from edgegnn.tasks.notes import note

    graph, weighted = one_graph(task), "edge_weight" in task.roles
    given = {key: names.get(key, key) for key in inspect.signature(model.forward).parameters}
    values = {key: graph[usual] for key, usual in given.items() if graph.get(usual) is not None}
    nodes = [key for key in values if task.roles.get(given[key]) == NODE]
    if not nodes:
        return False
    rest = {key: value for key, value in values.items() if key != name}
    matrix = rest | {"edge_index": graph.edge_index} | ({"edge_weight": graph.edge_weight} if weighted else {})

    def runs(method: Callable[..., Any], args: dict[str, Tensor]) -> bool:
        with contextlib.suppress(Exception), untouched(model), torch.no_grad():
            method(**args)
            return True
        return False

    if runs(model.forward, values):
        return False
    for dense in (False, True):
        forward = with_matrix(model, name, nodes[0], weighted=weighted, dense=dense)
        if runs(forward, matrix):
            how, entries = "dense" if dense else "sparse", "edge_weight" if weighted else "ones"
            note(f"{type(model).__name__}.forward: {name} is a {how} matrix of edge_index, with {entries} in it")
            model.forward = forward
            return True
    return False


def whole_numbered(names: Sequence[str]) -> Iterator[tuple[str, ...]]:
    """Yield which of these features may be whole numbers, the fewest first."""
    return itertools.chain.from_iterable(itertools.combinations(names, count) for count in range(len(names) + 1))


def _renamed(task: Task, names: dict[str, str], model: str) -> Task:
    """The task whose graphs have attributes under the model's names, too."""
    from edgegnn.tasks.notes import note

    if not names:
        return task
    said = ", ".join(f"{name} is the data's {usual}" for name, usual in names.items())
    note(f"{model}.forward: {said} (another one: --input {next(iter(names))}=ATTRIBUTE)")
    graphs = [copy.copy(graph) for graph in task.graphs]
    for graph in graphs:
        for name, usual in names.items():
            graph[name] = graph[usual]
    roles = {**task.roles, **{name: task.roles[usual] for name, usual in names.items()}}
    whole = (*task.whole, *(name for name, usual in names.items() if usual in task.whole))
    return dataclasses.replace(task, graphs=graphs, roles=roles, whole=whole)


def _usable(task: Task, names: list[str] | tuple[str, ...]) -> Task:
    """The task whose graphs have these attributes in types that an artifact takes: float32, int64 or bool.

    Raises:
        DataError: NaN or infinite values.
    """
    import torch

    from edgegnn.tasks.notes import note

    changed = [name for name in names if name in task.roles and name not in _USUAL]
    if not changed:
        return task
    graphs = [copy.copy(graph) for graph in task.graphs]
    for name in changed:
        was = graphs[0][name].dtype
        wanted = torch.float32 if was.is_floating_point else torch.bool if was == torch.bool else torch.int64
        if was != wanted:
            said = str(was).removeprefix("torch."), str(wanted).removeprefix("torch.")
            note(f"{task.spec.data}: {name} is {said[0]}: read as {said[1]}")
        for i, graph in enumerate(graphs):
            graph[name] = value = graph[name].detach().to(wanted).contiguous()
            if wanted == torch.float32 and not bool(torch.isfinite(value).all()):
                row = int((~torch.isfinite(value)).reshape(len(value), -1).any(dim=1).nonzero()[0])
                raise DataError(f"{task.spec.data}: graph {i}: {name} is NaN or infinite in row {row}: clean the data")
    return dataclasses.replace(task, graphs=graphs)
