"""An ONNX file of another program and its graphs: arrays by the names of the file's inputs, or a task."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch_geometric.data import Data

from edgegnn.checkpoint import Checkpoint
from edgegnn.checkpoint.onnx_module import OnnxModule
from edgegnn.errors import DataError, UsageError
from edgegnn.exporting.foreign.arrange import arranged, one_at_a_time
from edgegnn.exporting.foreign.made_graphs import made_graphs
from edgegnn.exporting.foreign.roles import Arrangement, arrange_inputs
from edgegnn.runtime.roles import BATCH, EDGES, GRAPH, ROLES, Role, number_of_nodes
from edgegnn.tasks import Task, task_from_graphs
from edgegnn.tasks.array_files import read_arrays
from edgegnn.tasks.notes import note

if TYPE_CHECKING:
    from edgegnn.compression.model_source import DataSource

__all__ = ["fit_onnx"]

_LABELS = ("y", "label", "edge_y", "edge_label")


def fit_onnx(checkpoint: Checkpoint, data: DataSource) -> tuple[Checkpoint, Task]:
    """The file with the inputs of an artifact, and its task.

    Args:
        checkpoint: of an ONNX file.
        data: the graphs: an .npz file or a folder of them with arrays by the names of the file's inputs; a data set or
            file as for any model; nothing, for graphs that are made by the shapes of the inputs.

    Raises:
        UsageError: an input whose role can't be told, or data that can't be had.
        DataError: graphs without an input, or that no model can use.
    """
    module = checkpoint.model
    assert isinstance(module, OnnxModule)
    told = {name: role for name, role in data.inputs.items() if role in ROLES}
    source = None if data.data is None else Path(data.data)
    if source is not None and source.suffix != ".npz" and not any(source.glob("*.npz")):
        return _with_task(checkpoint, module, data, told)
    arrays = [] if source is None else read_arrays(source)
    given = [_by_file_names(module, graph, data.inputs) for graph in arrays]
    how = arrange_inputs(module, given, told)
    module = arranged(module, how)
    _check_free(module, how.roles)
    if EDGES not in how.roles.values():
        note("the file looks nothing up along edges: it is no graph network, and is exported as it is")
    if source is None:
        given = made_graphs(module, how.roles)
        note(
            f"no --data: {len(given)} graphs are made by the shapes of the file's inputs; what quantization costs on "
            "real graphs isn't known"
        )
    module, roles = one_at_a_time(module, how.roles, [how.graph(graph) for graph in given[:2]])
    how = dataclasses.replace(how, roles=roles)
    where = "graphs made by shape" if source is None else str(data.data)
    graphs = [_graph(module, how, graph, f"{where}: graph {i}") for i, graph in enumerate(given)]
    labelled = all(any(name in graph for name in _LABELS) for graph in graphs)
    task = task_from_graphs(
        graphs,
        data=where,
        split=data.split,
        seed=data.split_seed,
        task=data.task or (None if labelled else "none"),
    )
    return _checked(checkpoint, module), dataclasses.replace(task, roles=_all_roles(task, how.roles))


def _with_task(
    checkpoint: Checkpoint, module: OnnxModule, data: DataSource, told: Mapping[str, str]
) -> tuple[Checkpoint, Task]:
    """The file on a data set, or on a file of graphs, whose attributes have the names of the file's inputs."""
    task = data.load()
    assert task is not None
    some = [graph.to_dict() for graph in task.graphs[:64]]
    given = [
        _by_file_names(module, {k: v.numpy() for k, v in g.items() if isinstance(v, torch.Tensor)}, {}) for g in some
    ]
    how = arrange_inputs(module, given, told)
    lacking = [name for name, role in how.roles.items() if name not in task.roles and role != BATCH]
    if lacking:
        known = ", ".join(task.roles)
        raise UsageError(
            f"the file takes {', '.join(lacking)}, which the graphs of {task.spec.data} don't have under this name "
            f"(they have {known}): say --input {lacking[0]}=ATTRIBUTE"
        )
    module = arranged(module, how)
    _check_free(module, how.roles)
    module, roles = one_at_a_time(module, how.roles, [how.graph(graph) for graph in given[:2]])
    how = dataclasses.replace(how, roles=roles)
    graphs = [copy.copy(graph) for graph in task.graphs]
    for graph in graphs:
        for each in module.inputs:
            if each.name in graph:
                graph[each.name] = graph[each.name].to(getattr(torch, each.dtype))
    return _checked(checkpoint, module), dataclasses.replace(task, graphs=graphs, roles=_all_roles(task, how.roles))


def _check_free(module: OnnxModule, roles: Mapping[str, Role]) -> None:
    """Refuse a file that takes graphs of one size."""
    for each in module.inputs:
        role = roles[each.name]
        size = each.shape[role.axis] if each.shape and len(each.shape) > role.axis else ""
        if isinstance(size, int) and role != GRAPH:
            what = role.size.removeprefix("num_")
            raise UsageError(
                f"the file takes graphs of one size only ({each.own} has {size} {what}): export it again with free "
                "sizes (dynamic_axes, or dynamic_shapes)"
            )


def _all_roles(task: Task, roles: Mapping[str, Role]) -> dict[str, Role]:
    return {**task.roles, **roles}


def _checked(checkpoint: Checkpoint, module: OnnxModule) -> Checkpoint:
    for line in module.notes:
        note(line)
    return dataclasses.replace(checkpoint, model=module)


def _by_file_names(module: OnnxModule, graph: Mapping[str, Any], told: Mapping[str, str]) -> dict[str, Any]:
    """The arrays of a graph under the file's names: its own, those of an artifact, or what the user says."""
    found = dict(graph)
    for each in module.inputs:
        for name in (told.get(each.name, ""), each.name, each.own):
            if name in graph:
                found[each.own] = graph[name]
    return found


def _graph(module: OnnxModule, how: Arrangement, given: Mapping[str, Any], where: str) -> Data:
    """A graph with the artifact's inputs, in its types, and with labels where there are some."""
    inputs = how.graph(given)
    missing = [name for name, role in how.roles.items() if name not in inputs and role != BATCH]
    if missing:
        known = ", ".join(name for name in given)
        raise DataError(f"{where} has no {', '.join(missing)}, which the file takes (it has {known}): add it")
    types = {each.name: np.dtype(each.dtype) for each in module.inputs}
    arrays = {name: np.asarray(inputs[name]) for name in how.roles if name in inputs}
    for name, value in arrays.items():
        if types[name].kind != "f" and value.dtype.kind == "f":
            raise DataError(f"{where}: {name} is {value.dtype}, the file takes {types[name]}: save it as whole numbers")
    tensors = {name: torch.from_numpy(np.array(value, types[name])) for name, value in arrays.items()}
    labels = {
        name: torch.from_numpy(np.array(given[name])) for name in _LABELS if name in given and name not in tensors
    }
    graph = Data(**tensors, **{("y" if name == "label" else name): value for name, value in labels.items()})
    graph.num_nodes = number_of_nodes(arrays, how.roles)
    return graph
