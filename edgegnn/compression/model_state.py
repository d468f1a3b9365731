"""A recurrent model's state: an input that holds, at the next call, what an output gave at this one.

The user says which (`--state h=h_out`). A state belongs to nodes; it has the shape of the output that feeds it, which
is how its width is found. Where the data have no attribute of its name, the first state is zeros. A state that belongs
to no node (a weight that evolves) has a shape of its own: the data have its first value. The graphs of a list
are taken for consecutive times; of one graph, the same graph comes again and again. Each graph then has the state that
the model left at the time before, so that calibration sees states as they are, not zeros alone.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from edgegnn.errors import ExportError, UsageError

if TYPE_CHECKING:
    from torch import Tensor
    from torch_geometric.data import Data

    from edgegnn.checkpoint import Checkpoint
    from edgegnn.tasks import Task

__all__ = ["fit_state", "with_first_state"]

_STEPS = 20


def with_first_state(task: Task, states: Mapping[str, str]) -> Task:
    """The task whose graphs have each state: the data's own, or a column of zeros that `fit_state` replaces."""
    import torch

    from edgegnn.runtime.roles import FIXED, NODE
    from edgegnn.signature import TypedGraph

    if not states:
        return task
    if isinstance(task.graphs[0], TypedGraph):
        raise UsageError("--state is for graphs with one type of nodes")
    graphs = [copy.copy(graph) for graph in task.graphs]
    own = {name for name in states if name not in task.roles and isinstance(graphs[0].get(name), torch.Tensor)}
    if own and len(graphs) > 1:
        raise UsageError(
            f"--state {min(own)} belongs to no node, which is for data of one graph: save the first graph of the series"
        )
    for name in states:
        if name in task.roles and task.roles[name] != NODE:
            raise UsageError(f"--state {name}: {name} of the data belongs to {task.roles[name].name}, a state to nodes")
        for graph in graphs:
            if name not in task.roles and name not in own:
                graph[name] = torch.zeros(int(graph.num_nodes or 0), 1)
    return dataclasses.replace(
        task, graphs=graphs, roles={**task.roles, **{name: FIXED if name in own else NODE for name in states}}
    )


def fit_state(checkpoint: Checkpoint, task: Task, states: Mapping[str, str], given: Sequence[str]) -> Task:
    """The task whose graphs have the states that the model leaves, and the steps that it is compared over.

    Args:
        checkpoint: the model.
        task: of `with_first_state`.
        states: name of an input -> name of the output that feeds it.
        given: those whose first value is the data's own.

    Raises:
        UsageError: no such input or output, or none of a shape that fits.
        ExportError: the model fails.
    """
    from torch.export import ExportedProgram

    from edgegnn.exporting.request import input_names
    from edgegnn.runtime.roles import FIXED

    if not states:
        return task
    if isinstance(checkpoint.model, ExportedProgram):
        raise UsageError("--state needs a module: give a state_dict with --factory, not a .pt2 program")
    names = input_names(checkpoint.model, task)
    for name in states:
        if name not in names:
            raise UsageError(f"--state {name}: forward has no input {name}, it takes {', '.join(names)}")
    first = _first(checkpoint, task, states, [name for name in states if name not in given])
    steps: list[Data] = []
    last: dict[str, Tensor] = {}
    for graph in task.graphs if len(task.graphs) > 1 else [task.graphs[0]] * _STEPS:
        now = copy.copy(graph)
        for name, start in first.items():
            before = last.get(name)
            same = before is not None and (task.roles[name] == FIXED or len(before) == graph.num_nodes)
            now[name] = before if same else start.new_zeros(int(graph.num_nodes or 0), *start.shape[1:])
            if name in given and not same:
                now[name] = graph[name]
        steps.append(now)
        found = _run(checkpoint, task, names, now)
        last = {name: found[output] for name, output in states.items()}
    graphs = steps if len(task.graphs) > 1 else steps[:1]
    return dataclasses.replace(task, graphs=graphs, states=dict(states), steps=tuple(steps[:_STEPS]))


def _first(checkpoint: Checkpoint, task: Task, states: Mapping[str, str], free: Sequence[str]) -> dict[str, Tensor]:
    """The first value of each state, on the first graph: the data's, or zeros as wide as the output that feeds it."""
    import torch

    from edgegnn.exporting.request import input_names

    names, graph = input_names(checkpoint.model, task), task.graphs[0]
    widths = sorted({size for p in checkpoint.model.parameters() for size in p.shape})
    seen: set[str] = set()
    for width in widths if free else [0]:
        tried = copy.copy(graph)
        for name in free:
            tried[name] = torch.zeros(int(graph.num_nodes or 0), width)
        with suppress(ExportError):
            found = _run(checkpoint, task, names, tried)
            missing = [output for output in states.values() if output not in found]
            if missing:
                raise UsageError(f"--state: the model gives no output {missing[0]}, it gives {', '.join(found)}")
            if all(found[output].shape == tried[name].shape for name, output in states.items()):
                return {name: tried[name] for name in states}
            seen |= {f"{output} is {list(found[output].shape)}" for output in states.values()}
    name, output = next(iter(states.items()))
    said = f" ({', '.join(sorted(seen))})" if seen else ""
    raise UsageError(
        f"--state {name}={output}: no width of {name} gives it the shape of the output that feeds it{said}: save the "
        f"first state as the attribute {name} of the data, [num_nodes, ...] or of a shape of its own"
    )


def _run(checkpoint: Checkpoint, task: Task, names: Sequence[str], graph: Data) -> dict[str, Tensor]:
    from edgegnn.exporting.parity import run_torch
    from edgegnn.exporting.samples import Sample, example_inputs
    from edgegnn.signature.outputs import tensors_by_name

    sample = Sample(task.spec.data, "data", example_inputs(names, graph), roles=task.roles)
    found = tensors_by_name(run_torch(checkpoint.model, sample), names)
    return {name: value.detach().clone() for name, value in found.items()}
