"""What an input of a model belongs to: nodes, edges, graphs. Free sizes and checks follow from it.

role     shape              what it holds
node     [num_nodes, ...]   a feature of each node
edges    [2, num_edges]     numbers of nodes: source and target of each edge
edge     [num_edges, ...]   a feature of each edge
batch    [num_nodes]        the number of each node's graph
graph    [num_graphs, ...]  a feature of each graph
pairs    [2, num_links]     numbers of nodes: the pairs that are scored

Rows of a further kind (triplets of atoms, pairs of edges, faces of a mesh) are items. Which inputs count the same items
is told from their sizes in the data: `num_items.idx_kj`, by the name of the first of them.

item          [num_items, ...]                   a feature of each item
node_numbers  [num_items] or [k, num_items]      numbers of nodes: those that an item is about
edge_numbers  [num_items] or [k, num_items]      numbers of edges: the same

An output belongs to nodes, edges, graphs or pairs: a row for each. Or it is fixed: of one shape for any graph.

A graph with several types of nodes has inputs for each type and relation, `x.paper` and
`edge_index.author__writes__paper`, and sizes for each: `num_nodes.paper`, `num_edges.author__writes__paper`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy.typing as npt

__all__ = [
    "BATCH",
    "EDGE",
    "EDGES",
    "EDGE_NUMBERS",
    "FIXED",
    "GRAPH",
    "ITEM",
    "LEVELS",
    "NODE",
    "NODE_NUMBERS",
    "OUTPUT_ROLES",
    "PAIRS",
    "ROLES",
    "ROWS",
    "Role",
    "argument_name",
    "find_name",
    "find_names",
    "flat_inputs",
    "number_of",
    "number_of_nodes",
    "role_of",
    "size_of",
    "type_name",
    "typed_size",
    "usual_role",
]

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Role:
    """What an input belongs to.

    Attributes:
        name: "node", "edges", "edge", "batch", "graph" or "pairs".
        size: name of the size that differs from graph to graph, "num_nodes"; of one type, "num_nodes.paper".
        axis: the axis that has this size.
        ends: where the values are numbers of nodes (or of edges), the size that each row counts in; else ().
    """

    name: str
    size: str
    axis: int = 0
    ends: tuple[str, ...] = ()

    @property
    def numbers_nodes(self) -> bool:
        """Whether it is a list of pairs of nodes, [2, ...]."""
        return bool(self.ends) and not self.of_items

    @property
    def of_items(self) -> bool:
        """Whether it belongs to rows of a further kind."""
        return self.size.partition(".")[0] == "num_items"

    def of_rank(self, shape: Sequence[Any]) -> Role:
        """The role of an input of this shape: numbers of [k, num_items] have their size at the second axis."""
        if not self.of_items or not self.ends or len(shape) == 1:
            return self
        return replace(self, axis=1, ends=self.ends[:1] * int(shape[0]))

    def is_a(self, other: Role) -> bool:
        """Whether both are the same kind of role, perhaps of other types of nodes or edges."""
        return self.name == other.name

    def sized(self, size: str, ends: tuple[str, ...] = ()) -> Role:
        """The role for one type of nodes or edges, which have this size; `ends` are the sizes of a relation's ends."""
        return replace(self, size=size, ends=ends or self.ends)


_NODES = ("num_nodes", "num_nodes")
NODE = Role("node", "num_nodes")
EDGES = Role("edges", "num_edges", axis=1, ends=_NODES)
EDGE = Role("edge", "num_edges")
BATCH = Role("batch", "num_nodes")
GRAPH = Role("graph", "num_graphs")
PAIRS = Role("pairs", "num_links", axis=1, ends=_NODES)
ITEM = Role("item", "num_items")
NODE_NUMBERS = Role("node_numbers", "num_items", ends=("num_nodes",))
EDGE_NUMBERS = Role("edge_numbers", "num_items", ends=("num_edges",))
ROLES = {role.name: role for role in (NODE, EDGES, EDGE, BATCH, GRAPH, PAIRS, ITEM, NODE_NUMBERS, EDGE_NUMBERS)}

FIXED = Role("fixed", "fixed")
# What a row of an output is ("kind" of the manifest) -> its role, and the name of the number of rows.
LEVELS = {"node": NODE, "edge": EDGE, "graph": GRAPH, "link": PAIRS}
ROWS = {kind: role.size for kind, role in LEVELS.items()}
OUTPUT_ROLES = {role.name: role for role in (*LEVELS.values(), FIXED)}

_USUAL = {"edge_index": EDGES, "edge_label_index": PAIRS}
_USUAL.update(dict.fromkeys(("batch", "batch_index", "batch_idx", "batch_vec"), BATCH))


def usual_role(name: str) -> Role:
    """The role of `edge_index`, `edge_label_index`, `batch` and `edge_...`; any other name is a node's feature."""
    attribute = name.partition(".")[0]
    return _USUAL.get(attribute) or (EDGE if attribute.startswith("edge_") else NODE)


def role_of(roles: Mapping[str, Role], name: str) -> Role:
    """The role of an input: the one that is known, else the usual one of its name."""
    return roles.get(name) or usual_role(name)


def find_name(inputs: Mapping[str, Any], roles: Mapping[str, Role], role: Role) -> str | None:
    """The first input of a kind of role; None where there is none."""
    return next(iter(find_names(inputs, roles, role)), None)


def find_names(inputs: Mapping[str, Any], roles: Mapping[str, Role], role: Role) -> list[str]:
    """All inputs of a kind of role: one for each type of nodes or edges."""
    return [name for name in inputs if role_of(roles, name).is_a(role)]


def size_of(inputs: Mapping[str, Array], roles: Mapping[str, Role], size: str) -> int | None:
    """A size that differs from graph to graph, read from the shape of an input that has it; None where none has it."""
    for name, value in inputs.items():
        role = role_of(roles, name)
        if role.size == size:
            return int(value.shape[role.axis])
    return None


def number_of(inputs: Mapping[str, Array], roles: Mapping[str, Role], size: str) -> int | None:
    """A size over all types, "num_edges"; None where no input has it."""
    names = dict.fromkeys(role_of(roles, name).size for name in inputs)
    found = [size_of(inputs, roles, name) or 0 for name in names if name.partition(".")[0] == size]
    return sum(found) if found else None


def number_of_nodes(inputs: Mapping[str, Array], roles: Mapping[str, Role]) -> int:
    """How many nodes the inputs have; 0 where no input says."""
    return number_of(inputs, roles, "num_nodes") or 0


def type_name(key: Any) -> str:
    """A type of nodes, or a relation (source, name, target), as inputs are called: "author__writes__paper"."""
    parts = key if isinstance(key, tuple) else (key,)
    return "__".join(re.sub(r"[^A-Za-z0-9_+-]", "_", str(part)) for part in parts)


def argument_name(name: str) -> str:
    """An input's name as a parameter of TorchScript: "x.paper" is x_paper."""
    return re.sub(r"[^A-Za-z0-9_]", "_", name)


def typed_size(size: str, key: Any) -> str:
    """The name of a size of one type of nodes or edges: "num_nodes.paper"."""
    return f"{size}.{type_name(key)}"


def flat_inputs(inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Inputs by name; dictionaries by type become one input a type: `{"x_dict": {"paper": x}}` is `{"x.paper": x}`."""
    found: dict[str, Any] = {}
    for name, value in inputs.items():
        if isinstance(value, Mapping):
            attribute = name[:-5] if name.endswith("_dict") else name
            found.update({f"{attribute}.{type_name(key)}": each for key, each in value.items()})
        else:
            found[name] = value
    return found
