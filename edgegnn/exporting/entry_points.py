"""The files that a model is exported as: one, or an entry point each for what runs once and what runs for each query.

A model that scores pairs of nodes (`edgegnn.tasks.pair_models`) has two: "encode" takes the graph and gives the
embeddings z, "decode" takes z and pairs and gives their logits. The same module is traced for both; which arguments it
is called with decides what it computes, so that quantization points, masks and names are those that training saw.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import torch
from torch import nn
from torch.export import ExportedProgram
from torch_geometric.data import Data

from edgegnn.errors import ExportError, first_line
from edgegnn.exporting.artifact import graph_io
from edgegnn.exporting.samples import example_inputs
from edgegnn.runtime.roles import LEVELS, Role, usual_role
from edgegnn.signature import Output, Outputs
from edgegnn.tasks import Task, example_graph
from edgegnn.tasks.collating import PAIRS

__all__ = ["EntryPoint", "chained", "entry_points", "whole_io", "with_role"]

Array = npt.NDArray[np.generic]
_CALIBRATION_GRAPHS = 128


@dataclass(frozen=True)
class EntryPoint:
    """One file of a model.

    Attributes:
        name: "encode", "decode"; "" for a model of one file.
        file: its name in the artifact.
        kind: "node", "edge", "graph" or "link": what a row of its output is.
        output: name of its output.
        example: inputs to trace with.
        calibrate: gives inputs for post-training quantization.
        roles: what the inputs belong to; the usual ones of their names where that isn't said.
        outputs: what it gives; None: one matrix, `output`.
    """

    name: str
    file: str
    kind: str
    output: str
    example: dict[str, Array]
    calibrate: Callable[[], list[dict[str, Array]]]
    roles: Mapping[str, Role] = field(default_factory=dict)
    outputs: Outputs | None = None

    @property
    def gives(self) -> Outputs:
        """What it gives."""
        return self.outputs or Outputs((Output(self.output, LEVELS[self.kind]),), self.output)

    @property
    def tensors(self) -> dict[str, torch.Tensor]:
        """The example as tensors."""
        return {name: torch.from_numpy(value) for name, value in self.example.items()}


def entry_points(
    model: nn.Module | ExportedProgram, task: Task, names: Sequence[str], example: Mapping[str, Array]
) -> list[EntryPoint]:
    """The files of a model, in the order in which they compute the whole; the first one is model.onnx.

    Args:
        model: the model.
        task: its data.
        names: its inputs.
        example: inputs to trace with.

    Raises:
        ExportError: a program for a link task, which can't be taken apart.
    """
    if not task.of_links:
        calibrate = partial(_graphs, task, names)
        gives = task.gives
        return [EntryPoint("", "model.onnx", task.spec.kind, gives.main, dict(example), calibrate, task.roles, gives)]
    if isinstance(model, ExportedProgram):
        raise ExportError("a .pt2 program has no encoder and decoder: give a state_dict with --factory for link tasks")
    graph = {name: value for name, value in example.items() if name != PAIRS}
    with torch.no_grad():
        z = model.eval()(**{name: torch.from_numpy(value) for name, value in graph.items()}).contiguous().numpy()
    pairs = {"z": z, PAIRS: example[PAIRS]}
    return [
        EntryPoint("encode", "model.onnx", "node", "z", graph, lambda: [graph], task.roles),
        EntryPoint("decode", "decoder.onnx", "link", "logits", pairs, lambda: [pairs]),
    ]


def chained(points: Sequence[EntryPoint], sessions: Sequence[Any]) -> Callable[[dict[str, Array]], dict[str, Any]]:
    """A function from the inputs of the whole to its outputs, by name.

    It raises ExportError where onnxruntime fails.
    """

    def run(inputs: dict[str, Array]) -> dict[str, Any]:
        known: dict[str, Any] = dict(inputs)
        for point, session in zip(points, sessions, strict=True):
            wanted = [value.name for value in session.get_inputs()]
            names = point.gives.names
            try:
                found = session.run(names, {name: known[name] for name in wanted})
            except Exception as error:  # onnxruntime raises a dozen types of its own
                raise ExportError(f"onnxruntime fails to run {point.file}: {first_line(error, 300)}") from error
            known.update(zip(names, found, strict=True))
        return {name: known[name] for name in points[-1].gives.names}

    return run


def whole_io(points: Sequence[EntryPoint], models: Sequence[onnx.ModelProto]) -> dict[str, list[dict[str, Any]]]:
    """Inputs and outputs for the manifest: of the whole model and, where there are several files, of each file."""
    each = [_with_roles(graph_io(model), point) for point, model in zip(points, models, strict=True)]
    if len(points) == 1:
        return each[0]
    made = {value["name"]: value for io in each for value in io["outputs"]}
    for io in each:  # of a constant graph, z has as many rows as that has nodes: the decoder would take any number
        io["inputs"] = [made.get(value["name"], value) for value in io["inputs"]]
    taken = {value["name"]: value for io in each for value in io["inputs"] if value["name"] not in made}
    entries = [{"name": p.name, "file": p.file, **io} for p, io in zip(points, each, strict=True)]
    order = sorted(taken, key=lambda name: name == PAIRS)
    return {"inputs": [taken[name] for name in order], "outputs": each[-1]["outputs"], "entries": entries}


def _with_roles(io: dict[str, list[dict[str, Any]]], point: EntryPoint) -> dict[str, list[dict[str, Any]]]:
    """The inputs with their role, where the name doesn't tell it, and the outputs with theirs."""
    inputs = [with_role(value, point.roles.get(value["name"])) for value in io["inputs"]]
    roles = {output.name: output.role.name for output in point.gives.each}
    return {"inputs": inputs, "outputs": [{**value, "role": roles[value["name"]]} for value in io["outputs"]]}


def with_role(value: dict[str, Any], role: Role | None) -> dict[str, Any]:
    """An input as the manifest lists it, with its role where the name doesn't tell it."""
    usual = usual_role(value["name"])
    if role is None or role == usual:
        return value
    told = {} if role.is_a(usual) else {"role": role.name}
    return {**value, **told, **({"ends": list(role.ends)} if role.ends != usual.ends and not role.of_items else {})}


def _graphs(task: Task, names: Sequence[str]) -> list[dict[str, Array]]:
    if not task.many:
        return [example_inputs(names, graph) for graph in task.steps or (example_graph(task, 1),)]
    train, val = (task.index[split].tolist() for split in ("train", "val"))
    chosen = dict.fromkeys([*train[:_CALIBRATION_GRAPHS], *_largest(task.graphs, train + val)])
    return [example_inputs(names, task.graphs[i]) for i in chosen]


def _largest(graphs: Sequence[Data], among: Sequence[int]) -> list[int]:
    """The graphs with the most nodes, the most edges and the largest degree: sums over neighbours grow with them."""

    def degree(i: int) -> int:
        edges = graphs[i].edge_index
        return int(torch.bincount(edges[1]).max()) if edges is not None and edges.numel() else 0

    def nodes(i: int) -> int:
        return int(graphs[i].num_nodes or 0)

    def edges(i: int) -> int:
        return int(graphs[i].num_edges)

    return [max(among, key=size) for size in (nodes, edges, degree)] if among else []
