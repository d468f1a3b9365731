"""What an input of a model belongs to: nodes, edges, graphs. Free sizes and checks follow from it.

role     shape              what it holds
node     [num_nodes, ...]   a feature of each node
edges    [2, num_edges]     numbers of nodes: source and target of each edge
edge     [num_edges, ...]   a feature of each edge
batch    [num_nodes]        the number of each node's graph
graph    [num_graphs, ...]  a feature of each graph
pairs    [2, num_links]     numbers of nodes: the pairs that are scored

An output belongs to nodes, edges, graphs or pairs: a row for each. Or it is fixed: of one shape for any graph.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy.typing as npt

__all__ = [
    "BATCH",
    "EDGE",
    "EDGES",
    "FIXED",
    "GRAPH",
    "LEVELS",
    "NODE",
    "OUTPUT_ROLES",
    "PAIRS",
    "ROLES",
    "ROWS",
    "Role",
    "find_name",
    "number_of_nodes",
    "role_of",
    "size_of",
    "usual_role",
]

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Role:
    """What an input belongs to.

    Attributes:
        name: "node", "edges", "edge", "batch", "graph" or "pairs".
        size: name of the size that differs from graph to graph, "num_nodes".
        axis: the axis that has this size.
        numbers_nodes: the values are numbers of nodes.
    """

    name: str
    size: str
    axis: int = 0
    numbers_nodes: bool = False


NODE = Role("node", "num_nodes")
EDGES = Role("edges", "num_edges", axis=1, numbers_nodes=True)
EDGE = Role("edge", "num_edges")
BATCH = Role("batch", "num_nodes")
GRAPH = Role("graph", "num_graphs")
PAIRS = Role("pairs", "num_links", axis=1, numbers_nodes=True)
ROLES = {role.name: role for role in (NODE, EDGES, EDGE, BATCH, GRAPH, PAIRS)}

FIXED = Role("fixed", "fixed")
# What a row of an output is ("kind" of the manifest) -> its role, and the name of the number of rows.
LEVELS = {"node": NODE, "edge": EDGE, "graph": GRAPH, "link": PAIRS}
ROWS = {kind: role.size for kind, role in LEVELS.items()}
OUTPUT_ROLES = {role.name: role for role in (*LEVELS.values(), FIXED)}

_USUAL = {"edge_index": EDGES, "edge_label_index": PAIRS}
_USUAL.update(dict.fromkeys(("batch", "batch_index", "batch_idx", "batch_vec"), BATCH))


def usual_role(name: str) -> Role:
    """The role of `edge_index`, `edge_label_index`, `batch` and `edge_...`; any other name is a node's feature."""
    return _USUAL.get(name) or (EDGE if name.startswith("edge_") else NODE)


def role_of(roles: Mapping[str, Role], name: str) -> Role:
    """The role of an input: the one that is known, else the usual one of its name."""
    return roles.get(name) or usual_role(name)


def find_name(inputs: Mapping[str, Any], roles: Mapping[str, Role], role: Role) -> str | None:
    """The first input of a role; None where there is none."""
    return next((name for name in inputs if role_of(roles, name) == role), None)


def size_of(inputs: Mapping[str, Array], roles: Mapping[str, Role], size: str) -> int | None:
    """A size that differs from graph to graph, read from the shape of an input that has it; None where none has it."""
    for name, value in inputs.items():
        role = role_of(roles, name)
        if role.size == size:
            return int(value.shape[role.axis])
    return None


def number_of_nodes(inputs: Mapping[str, Array], roles: Mapping[str, Role]) -> int:
    """How many nodes the inputs have; 0 where no input says."""
    return size_of(inputs, roles, "num_nodes") or 0
