"""The role of each attribute of a user's graphs, by PyG's own rules and by what the user says.

An attribute belongs to nodes when it has a row for each node of every graph, to edges when it has one for each edge,
and to graphs when it has one row. Where the first two are true of every graph, a name with "edge" in it decides, as in
PyG's `is_node_attr` and `is_edge_attr`. Another list of edges, `edge_index_2` or `coarse_edge_index`, has a size of its
own, and features with a row for each of its edges.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch_geometric.data import Data

from edgegnn.errors import UsageError
from edgegnn.runtime.roles import BATCH, EDGE, EDGES, GRAPH, NODE, PAIRS, ROLES, Role, typed_size
from edgegnn.signature.items import item_roles
from edgegnn.signature.names import is_input
from edgegnn.signature.typed import TypedGraph, typed_roles

__all__ = ["number_of", "roles_of", "with_told"]

_FIXED = {"edge_index": EDGES, "edge_label_index": PAIRS, "batch": BATCH}


def number_of(graph: Data, role: Role) -> int:
    """How many rows an attribute of this role has in one graph."""
    of, _, further = role.size.partition(".")
    if of == "num_edges":
        return int(graph[further or "edge_index"].shape[1])
    if of == "num_items":
        return int(graph[further].shape[-1])
    return int(graph.num_nodes or 0) if of == "num_nodes" else 1


def roles_of(graphs: Sequence[Data], told: Mapping[str, str] | None = None) -> dict[str, Role]:
    """The role of each attribute that every graph has as a tensor.

    Args:
        graphs: with `edge_index` and `num_nodes`.
        told: name -> name of a role, for what the user says himself.

    Returns:
        Name -> role; without those that could be anything.
    """
    if isinstance(graphs[0], TypedGraph):
        return typed_roles([graph for graph in graphs if isinstance(graph, TypedGraph)])
    names = [key for key in graphs[0].keys() if is_input(key) and all(_is_tensor(g.get(key)) for g in graphs)]  # noqa: SIM118
    lists = [name for name in names if _is_further_list(name, graphs)]
    sized = {name: EDGES.sized(typed_size("num_edges", name)) for name in lists}
    found = {name: ROLES[told[name]] if told and name in told else _role(name, graphs, sized) for name in names}
    rest = [name for name, role in found.items() if role is None or role.of_items]
    said = {name: role for name, role in found.items() if role is not None}
    return {name: role for name, role in said.items() if name not in rest} | item_roles(graphs, rest, said)


def _is_tensor(value: Any) -> bool:
    return isinstance(value, Tensor)


def _is_further_list(name: str, graphs: Sequence[Data]) -> bool:
    """Whether an attribute is a list of edges beside `edge_index`: by PyG's rule for names, and numbers of nodes."""
    if "edge_index" not in name or name in _FIXED:
        return False
    return all(
        graph[name].dtype == torch.int64
        and graph[name].dim() == 2
        and graph[name].shape[0] == 2
        and (
            graph[name].numel() == 0
            or 0 <= int(graph[name].min()) <= int(graph[name].max()) < int(graph.num_nodes or 0)
        )
        for graph in graphs
    )


def _role(name: str, graphs: Sequence[Data], lists: Mapping[str, Role]) -> Role | None:
    if name in lists:
        return lists[name]
    if name in _FIXED:
        without = name == "edge_index" and all(graph[name].shape[1] == 0 for graph in graphs)
        return None if without else _FIXED[name]
    if any(graph[name].dim() == 0 for graph in graphs):
        return None
    if all("edge_index" in graph and torch.equal(graph[name], graph["edge_index"]) for graph in graphs):
        return EDGES  # the same list under another name
    of_edges = (EDGE, *(EDGE.sized(role.size) for role in lists.values()))
    order = (*of_edges, NODE, GRAPH) if "edge" in name else (NODE, *of_edges, GRAPH)
    return next((role for role in order if all(len(g[name]) == number_of(g, role) for g in graphs)), None)


def with_told(graphs: Sequence[Data], told: Mapping[str, str], where: str) -> dict[str, str]:
    """Give graphs, in place, what the user says of a model's inputs.

    Args:
        graphs: the graphs.
        told: name of an input -> name of a role, or of the attribute that it is read from.
        where: what to call the data in a message.

    Returns:
        Name -> name of a role, of what was told a role; the rest are attributes of the graphs now.

    Raises:
        UsageError: neither a role nor an attribute, or an attribute that can't have the role.
    """
    roles = {}
    for name, what in told.items():
        if what in ROLES:
            roles[name] = what
            _shaped(graphs, name, ROLES[what], where)
            continue
        if any(not _is_tensor(graph.get(what)) for graph in graphs):
            known = ", ".join(key for key in graphs[0].keys() if _is_tensor(graphs[0][key]))  # noqa: SIM118
            raise UsageError(
                f"--input {name}={what}: {what} is no role ({', '.join(ROLES)}) and no attribute of {where} ({known})"
            )
        for graph in graphs:
            graph[name] = graph[what]
    return roles


def _shaped(graphs: Sequence[Data], name: str, role: Role, where: str) -> None:
    for i, graph in enumerate(graphs):
        value = graph.get(name)
        if not isinstance(value, Tensor):
            raise UsageError(f"--input {name}={role.name}: {where} has no tensor {name} in graph {i}")
        if role.of_items:
            if role.ends and (value.dtype != torch.int64 or value.dim() not in (1, 2)):
                raise UsageError(
                    f"--input {name}={role.name}: {name} of graph {i} of {where} is {value.dtype} {list(value.shape)}: "
                    "such numbers are int64 of shape [T] or [k, T]"
                )
            continue
        rows = number_of(graph, role)
        if role == GRAPH and (value.dim() == 0 or len(value) != 1):
            graph[name] = value = value.unsqueeze(0)
        pairs = value.dim() == 2 and value.shape[0] == 2
        good = pairs if role.numbers_nodes else value.dim() > 0 and len(value) == rows
        if not good:
            need = "[2, ...]" if role.numbers_nodes else f"[{rows}, ...]"
            raise UsageError(
                f"--input {name}={role.name}: {name} of graph {i} of {where} has shape {list(value.shape)}, a feature "
                f"of this role has {need}"
            )
