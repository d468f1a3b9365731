"""Models of one graph: they have learnt a row for each of its nodes."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram

from edgegnn.quantize import QuantModel
from edgegnn.runtime.roles import BATCH, NODE, Role, role_of
from edgegnn.tasks.collating import PAIRS

__all__ = ["table_sizes"]


def table_sizes(
    model: nn.Module | ExportedProgram, args: Mapping[str, Tensor], roles: Mapping[str, Role] | None = None
) -> dict[str, int]:
    """The sizes of the one graph that a model has learnt rows for ("num_nodes"); {} for a model of any graph.

    A parameter with as many rows as the graph has nodes may be chance: the model is run on the graph with a node more.

    Args:
        model: in eval mode, if it is a module.
        args: inputs by name: the whole graph.
        roles: what they belong to.
    """
    known = {name: role_of(roles or {}, name) for name in args}
    if isinstance(model, ExportedProgram) or any(role.is_a(BATCH) for role in known.values()):
        return {}
    sizes = {role.size: len(args[name]) for name, role in known.items() if role.is_a(NODE)}
    plain = model.model if isinstance(model, QuantModel) else model
    tables = {len(tensor) for tensor in (*plain.parameters(), *plain.buffers()) if tensor.dim()}

    def learnt(module: nn.Module) -> dict[str, int]:
        return {
            size: nodes
            for size, nodes in sizes.items()
            if nodes >= 2 and nodes in tables and not _takes_one_more(module, args, known, size, nodes)
        }

    if isinstance(model, QuantModel):
        with model.as_float() as plain:
            return learnt(plain)
    return learnt(plain)


def _takes_one_more(
    model: nn.Module, args: Mapping[str, Tensor], roles: Mapping[str, Role], size: str, nodes: int
) -> bool:
    more = {
        name: torch.cat([v, v[-1:]]) if roles[name].is_a(NODE) and roles[name].size == size else v
        for name, v in args.items()
    }
    if PAIRS in args:
        more[PAIRS] = args[PAIRS].clone()
        more[PAIRS][:, :1] = nodes
    try:
        with torch.no_grad():
            out = model(**more)
    except Exception:
        return False
    several = len({role.size for role in roles.values() if role.is_a(NODE)}) > 1
    return PAIRS in args or several or not isinstance(out, Tensor) or len(out) in (nodes + 1, _edges(args, roles))


def _edges(args: Mapping[str, Tensor], roles: Mapping[str, Role]) -> int | None:
    return next((v.shape[roles[name].axis] for name, v in args.items() if roles[name].size == "num_edges"), None)
