"""From graphs to the tensors a model's forward takes."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch_geometric.data import Data

from edgegnn.errors import DataError, UsageError
from edgegnn.runtime.inputs import PAIRS
from edgegnn.tasks.link import pick_pairs, training_pairs
from edgegnn.tasks.points import point_graphs

if TYPE_CHECKING:
    from edgegnn.tasks.spec import Task

__all__ = [
    "INPUTS",
    "PAIRS",
    "by_name",
    "collate",
    "example_graph",
    "forward_args",
    "model_inputs",
    "named_args",
    "run_model",
]

INPUTS = ("x", "edge_index", PAIRS, "edge_attr", "edge_weight", "batch")
_COLLATED = ("x", "edge_attr", "edge_weight", "dq_prob", "y")


def model_inputs(model: nn.Module, task: Task | None = None) -> tuple[str, ...]:
    """Return the graph inputs that `model.forward` takes, in the order of `INPUTS`.

    Args:
        model: any module; the names of its forward's parameters count.
        task: when given, a parameter with a default that the task can't feed is left out: edge inputs that the
            graphs lack, and `batch` on a node task.

    Raises:
        UsageError: the forward does not take x, or needs something that is no graph input.
    """
    parameters = inspect.signature(model.forward).parameters
    where = type(model).__name__
    if "x" not in parameters:
        raise UsageError(f"{where}.forward must take x (then edge_index, edge_attr, edge_weight, batch as needed)")
    named = (p for p in parameters.values() if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD))
    strange = [p.name for p in named if p.name not in INPUTS and p.default is p.empty]
    if strange:
        raise UsageError(f"{where}.forward needs {', '.join(strange)}: it may only need {', '.join(INPUTS)}")
    found = [name for name in INPUTS if name in parameters]
    if task is None:
        return tuple(found)
    if "edge_index" in found and not any(graph.edge_index.numel() for graph in task.graphs):
        if parameters["edge_index"].default is inspect.Parameter.empty:
            raise DataError(f"{where}.forward needs edge_index, which the graphs of {task.spec.data} lack: add it")
        found.remove("edge_index")

    def fed(name: str) -> bool:
        if parameters[name].default is inspect.Parameter.empty:
            return True
        if name == "batch":
            return task.spec.kind == "graph"
        return task.graphs[0].get(name) is not None

    return tuple(name for name in found if fed(name))


def forward_args(model_or_names: nn.Module | Sequence[str], data: Data) -> tuple[Tensor, ...]:
    """Return the tensors for a model's forward, in the order of `model_inputs`.

    Args:
        model_or_names: a model, or the result of `model_inputs`.
        data: a graph or a batch of graphs; `batch` [N] of a single graph is made of zeros.

    Raises:
        DataError: the data lack an input.
    """
    names = model_inputs(model_or_names) if isinstance(model_or_names, nn.Module) else model_or_names
    args = []
    for name in names:
        value = data.get(name)
        if value is None and name == "batch":
            value = torch.zeros(data.num_nodes, dtype=torch.long)
        if value is None:
            raise DataError(
                f"the model takes {name}, which the graphs lack: add it to every graph, or choose another model"
            )
        args.append(value)
    return tuple(args)


def named_args(model: nn.Module, task: Task, data: Data) -> dict[str, Tensor]:
    """Return what a model's forward takes of a graph of the task, by parameter name.

    By position they may be taken for others: a forward has its own order, and optional parameters that nothing is for.
    """
    names = model_inputs(model, task)
    return dict(zip(names, forward_args(names, data), strict=True))


def by_name(model: nn.Module, args: Mapping[str, Tensor] | Sequence[Tensor]) -> dict[str, Tensor]:
    """Return arguments by the names of the forward's parameters; a sequence has them in the forward's order."""
    if isinstance(args, Mapping):
        return dict(args)
    return dict(zip(inspect.signature(model.forward).parameters, args, strict=False))


@point_graphs()
def run_model(model: nn.Module, names: Sequence[str], data: Data) -> Tensor:
    """Call the model on a graph or batch, by parameter name (a user's forward may have another order)."""
    logits: Tensor = model(**dict(zip(names, forward_args(names, data), strict=True)))
    return logits


def collate(graphs: Sequence[Data]) -> Data:
    """Put graphs side by side into one batch, as PyG's `Batch` does, for what training needs and much faster.

    Args:
        graphs: at least one graph, all with the same attributes.

    Returns:
        A `Data` with edge_index, batch, num_nodes, and what the graphs have of x, edge_attr, edge_weight, dq_prob, y.
    """
    first = graphs[0]
    nodes = torch.tensor([int(g.num_nodes) for g in graphs])
    edges = torch.tensor([g.edge_index.size(1) for g in graphs])
    offset = torch.repeat_interleave(nodes.cumsum(0) - nodes, edges)
    batch = Data(edge_index=torch.cat([g.edge_index for g in graphs], dim=1) + offset)
    for key in _COLLATED:
        if first.get(key) is not None:
            batch[key] = torch.cat([g[key] for g in graphs])
    batch.batch = torch.repeat_interleave(torch.arange(len(graphs)), nodes)
    batch.num_nodes = int(nodes.sum())
    return batch


def example_graph(task: Task, graphs: int) -> Data:
    """A graph to try a model with.

    A node task has one; a link task has one with the pairs of an epoch; else the training graphs with the most edges.

    Args:
        task: its data.
        graphs: how many of the first 64 training graphs go into the batch.
    """
    if task.spec.kind == "node":
        return task.graphs[0]
    if task.spec.kind == "link":
        return pick_pairs(task.graphs[0], training_pairs(task.graphs[0].y, task.index["train"]))
    first = (task.graphs[i] for i in task.index["train"].tolist()[:64])
    return collate(sorted(first, key=lambda g: -int(g.edge_index.shape[1]))[:graphs])
