"""Models of one graph: they have learnt a row for each of its nodes."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram

from edgegnn.quantize import QuantModel
from edgegnn.runtime.roles import NODE, Role, role_of
from edgegnn.tasks.collating import PAIRS

__all__ = ["table_nodes"]


def table_nodes(
    model: nn.Module | ExportedProgram, args: Mapping[str, Tensor], roles: Mapping[str, Role] | None = None
) -> int | None:
    """Number of nodes of the one graph that a model has learnt rows for; None for a model of any graph.

    A parameter with as many rows as the graph has nodes may be chance: the model is run on the graph with a node more.

    Args:
        model: in eval mode, if it is a module.
        args: inputs by name: the whole graph.
        roles: what they belong to.
    """
    known = {name: role_of(roles or {}, name) for name in args}
    if isinstance(model, ExportedProgram) or "batch" in args or NODE not in known.values():
        return None
    nodes = next(len(args[name]) for name, role in known.items() if role == NODE)
    plain = model.model if isinstance(model, QuantModel) else model
    tensors = (*plain.parameters(), *plain.buffers())
    if nodes < 2 or not any(tensor.dim() and len(tensor) == nodes for tensor in tensors):
        return None
    if isinstance(model, QuantModel):
        with model.as_float() as plain:
            return None if _takes_one_more(plain, args, known, nodes) else nodes
    return None if _takes_one_more(plain, args, known, nodes) else nodes


def _takes_one_more(model: nn.Module, args: Mapping[str, Tensor], roles: Mapping[str, Role], nodes: int) -> bool:
    more = {name: torch.cat([v, v[-1:]]) if roles[name] == NODE else v for name, v in args.items()}
    if PAIRS in args:
        more[PAIRS] = args[PAIRS].clone()
        more[PAIRS][:, :1] = nodes
    try:
        with torch.no_grad():
            out = model(**more)
    except Exception:
        return False
    return PAIRS in args or not isinstance(out, Tensor) or len(out) in (nodes + 1, _edges(args, roles))


def _edges(args: Mapping[str, Tensor], roles: Mapping[str, Role]) -> int | None:
    return next((v.shape[roles[name].axis] for name, v in args.items() if roles[name].size == "num_edges"), None)
