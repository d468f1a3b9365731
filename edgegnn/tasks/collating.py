"""From graphs to the tensors a model's forward takes."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch_geometric.data import Data

from edgegnn.errors import DataError, UsageError
from edgegnn.runtime.inputs import PAIRS
from edgegnn.runtime.roles import BATCH, EDGE_NUMBERS, ROLES, usual_role
from edgegnn.signature import Every, TypedGraph, is_input, items_of, own_inputs
from edgegnn.signature.items import ANSWERED_AS_ONE
from edgegnn.signature.names import LABELS
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
_PARTS = "_edgegnn_parts"  # of a batch: its graphs
_COLLATED = ("x", "edge_attr", "edge_weight", "dq_prob", "y")


def model_inputs(model: nn.Module, task: Task | None = None) -> tuple[str, ...]:
    """Return the graph inputs that `model.forward` takes: first those of `INPUTS`, then others in the forward's order.

    Args:
        model: any module; the names of its forward's parameters count.
        task: when given, a parameter with a default that the task can't feed is left out: inputs that the graphs lack,
            and `batch` on a node task.

    Raises:
        UsageError: the forward needs something that the graphs don't have, or of which nobody knows what it belongs to.
    """
    own = own_inputs(model)
    if own is not None:
        return own
    parameters = inspect.signature(model.forward).parameters
    named = [p for p in parameters.values() if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    usual = [name for name in INPUTS if name in parameters]
    if task is None:
        return (*usual, *(p.name for p in named if p.name not in INPUTS and p.default is p.empty))
    needed = [p.name for p in named if p.default is p.empty]
    for name in needed:
        _check_known(name, model, task)

    def fed(name: str) -> bool:
        if name in needed:
            return True
        if usual_role(name) == BATCH:
            return task.many
        return parameters[name].default is None and name in task.roles

    return (*(name for name in usual if fed(name)), *(p.name for p in named if p.name not in INPUTS and fed(p.name)))


def _check_known(name: str, model: nn.Module, task: Task) -> None:
    """Refuse an input that the data don't have, or whose role can't be told."""
    if usual_role(name) == BATCH or name in task.roles:
        return
    where, value = f"{type(model).__name__}.forward needs {name}", task.graphs[0].get(name)
    if isinstance(value, Tensor):
        graph = task.graphs[0]
        nodes, edges = int(graph.num_nodes or 0), int(graph.num_edges or 0)
        numbers = value.dtype == torch.int64 and len(task.graphs) > 1
        if value.dim() == 1 and len(value) not in (nodes, edges, 1) and not numbers:
            raise UsageError(
                f"{where}, and nothing has as many as its {len(value)} rows (there are {nodes} nodes, {edges} edges): "
                "compute it in forward"
            )
        raise UsageError(
            f"{where}, and what it belongs to can't be told from its shape {list(value.shape)}: say --input "
            f"{name}=ROLE, with {', '.join(ROLES)} for ROLE"
        )
    if name == "edge_index":
        raise DataError(f"{where}, which the graphs lack: add it to every graph, as an int64 tensor of shape [2, E]")
    known = ", ".join(task.roles)
    raise UsageError(
        f"{where}, which the graphs of {task.spec.data} don't have under this name (they have {known}): say --input "
        f"{name}=ATTRIBUTE, or add it to every graph"
    )


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
        if value is None and usual_role(name) == BATCH:
            value = data.get("batch")
            nodes = data.count_of(name) if isinstance(data, TypedGraph) else data.num_nodes
            value = torch.zeros(nodes, dtype=torch.long) if value is None else value
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
    """Call the model on a graph or batch, by parameter name (a user's forward may have another order).

    A model that answers for whole graphs, but takes no `batch`, is called with one graph of a batch at a time.
    """
    parts: list[Data] = data.__dict__.get(_PARTS, [])
    if len(parts) > 1 and not any(usual_role(name) == BATCH for name in names):
        return _one_by_one(model, names, data, parts)
    logits: Tensor = model(**dict(zip(names, forward_args(names, data), strict=True)))
    return logits


def _one_by_one(model: nn.Module, names: Sequence[str], data: Data, parts: Sequence[Data]) -> Any:
    protect = getattr(model, "set_protection", None) if model.training else None
    found: list[Any] = []
    for part in parts:
        if protect is not None:
            protect(part.get("dq_prob"))
        found.append(model(**dict(zip(names, forward_args(names, part), strict=True))))
    if protect is not None:
        protect(data.get("dq_prob"))
    if isinstance(found[0], Every):
        return Every({name: torch.cat([each[name] for each in found]) for name in found[0]})
    return torch.cat(found)


def collate(graphs: Sequence[Data]) -> Data:
    """Put graphs side by side into one batch, as PyG's `Batch` does, for what training needs and much faster.

    Args:
        graphs: at least one graph, all with the same attributes.

    Returns:
        A `Data` with edge_index, batch, num_nodes, y, and what else the graphs have as tensors.
    """
    first = graphs[0]
    if isinstance(first, TypedGraph):
        return TypedGraph.joined([graph for graph in graphs if isinstance(graph, TypedGraph)])
    nodes = torch.tensor([int(g.num_nodes) for g in graphs])
    edges = torch.tensor([g.edge_index.size(1) for g in graphs])
    offset = torch.repeat_interleave(nodes.cumsum(0) - nodes, edges)
    batch = Data(edge_index=torch.cat([g.edge_index for g in graphs], dim=1) + offset)
    for key in _COLLATED:
        if first.get(key) is not None:
            batch[key] = torch.cat([g[key] for g in graphs])
    for key in [key for key in first.to_dict() if key.startswith(LABELS)]:
        batch[key] = torch.cat([g[key] for g in graphs])
    for key in _others(first):
        batch[key] = _joined(graphs, key, nodes, edges)
    batch.batch = torch.repeat_interleave(torch.arange(len(graphs)), nodes)
    batch.num_nodes = int(nodes.sum())
    if first.__dict__.get(ANSWERED_AS_ONE):
        batch.__dict__[_PARTS] = list(graphs)
    return batch


def _others(graph: Data) -> list[str]:
    """Attributes of a graph that are put side by side by PyG's general rule."""
    known = {"edge_index", "batch", *_COLLATED}
    return [key for key, value in graph.to_dict().items() if _is_joined(key, value) and key not in known]


def _is_joined(key: str, value: object) -> bool:
    return is_input(key) and isinstance(value, Tensor) and value.dim() > 0 and value.layout == torch.strided


def _joined(graphs: Sequence[Data], key: str, nodes: Tensor, edges: Tensor) -> Tensor | None:
    """One attribute of all graphs: along the axis that PyG's `__cat_dim__` says, numbers of nodes and edges counted on.

    None where the graphs don't have it in one shape: no model can take it.
    """
    values = [graph.get(key) for graph in graphs]
    item = items_of(graphs[0]).get(key)
    axis = graphs[0].__cat_dim__(key, values[0]) if item is None else item.axis
    if not all(isinstance(v, Tensor) and v.dim() == values[0].dim() for v in values):
        return None
    shapes = {(*v.shape[:axis], *(v.shape[axis:][1:] if axis >= 0 else ())) for v in values}
    if len(shapes) > 1:
        return None
    if not item.ends if item is not None else "index" not in key and key != "face":
        return torch.cat(values, dim=axis)
    count = edges if item is not None and item.is_a(EDGE_NUMBERS) else nodes
    before = count.cumsum(0) - count
    return torch.cat([value + start for value, start in zip(values, before, strict=True)], dim=axis)


def example_graph(task: Task, graphs: int) -> Data:
    """A graph to try a model with.

    A node task has one; a link task has one with the pairs of an epoch; else the training graphs with the most edges.

    Args:
        task: its data.
        graphs: how many of the first 64 training graphs go into the batch.
    """
    if not task.many and not task.of_links:
        return task.graphs[0]
    if task.of_links:
        return pick_pairs(task.graphs[0], training_pairs(task.graphs[0].y, task.index["train"]))
    first = (task.graphs[i] for i in task.index["train"].tolist()[:64])
    return collate(sorted(first, key=lambda g: -int(g.edge_index.shape[1]))[:graphs])
