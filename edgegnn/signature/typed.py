"""A graph with several types of nodes and relations, as one list of named tensors.

`HeteroData` has a store for each type. Everything behind the reading of data (splits, training, capture, samples, the
runtime) works with named tensors that have roles, so a graph becomes one `Data` whose attributes are `x.paper` and
`edge_index.author__writes__paper`. Its `num_nodes` and `edge_index` are those of the graph without types: the nodes of
all types one after the other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch_geometric.data import Data, HeteroData

from edgegnn.errors import DataError
from edgegnn.runtime.roles import BATCH, EDGE, EDGES, GRAPH, NODE, Role, type_name, typed_size
from edgegnn.signature.names import is_input

__all__ = ["Relation", "Schema", "TypedGraph", "flat_name", "schema_of", "typed_roles"]

Relation = tuple[str, str, str]
_EDGES = "edge_index"


@dataclass(frozen=True)
class Schema:
    """Which types a graph has.

    Attributes:
        nodes: types of nodes.
        relations: (type of the source, relation, type of the target).
    """

    nodes: tuple[str, ...]
    relations: tuple[Relation, ...]

    @property
    def keys(self) -> dict[str, str | Relation]:
        """Name of a type as inputs have it ("author__writes__paper") -> the type."""
        every: list[str | Relation] = [*self.nodes, *self.relations]
        return {type_name(key): key for key in every}

    def split(self, name: str) -> tuple[str, str | Relation] | None:
        """The attribute and the type of an input ("x.paper" is x of "paper"); None for an attribute of the graph."""
        attribute, _, kind = name.partition(".")
        key = self.keys.get(kind)
        return None if key is None else (attribute, key)


def flat_name(attribute: str, key: str | Relation) -> str:
    """The name of an attribute of a type: "x.paper"."""
    return f"{attribute}.{type_name(key)}"


class TypedGraph(Data):
    """One graph with several types of nodes: attributes `x.paper`, `edge_index.author__writes__paper`.

    Args:
        schema: its types.
        counts: type of nodes -> how many there are.
        attributes: name -> value.
    """

    def __init__(
        self,
        schema: Schema | None = None,
        counts: Mapping[str, int] | None = None,
        attributes: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.__dict__["_schema"] = schema or Schema((), ())
        self.__dict__["_counts"] = dict(counts or {})
        for name, value in (attributes or {}).items():
            self[name] = value

    @property
    def schema(self) -> Schema:
        """Its types."""
        found: Schema = self.__dict__["_schema"]
        return found

    @property
    def counts(self) -> dict[str, int]:
        """Type of nodes -> how many there are."""
        found: dict[str, int] = self.__dict__["_counts"]
        return found

    @property
    def names(self) -> list[str]:
        """Names of the attributes, types in the order of the schema: some layers insist on the order of relations."""
        return list(self._store)

    def count_of(self, name: str) -> int:
        """How many nodes the type has that an input belongs to."""
        split = self.schema.split(name)
        return self.counts[str(split[1])] if split is not None else self.num_nodes

    def rows(self, size: str) -> int:
        """A size by its name: "num_nodes.paper", "num_edges.author__writes__paper"; of all types, "num_nodes"."""
        kind = self.schema.keys.get(size.partition(".")[2])
        if isinstance(kind, tuple):
            return int(self[flat_name(_EDGES, kind)].shape[1])
        if isinstance(kind, str):
            return self.counts[kind]
        return {"num_nodes": self.num_nodes, "num_edges": self.num_edges}.get(size, 1)

    @property
    def num_nodes(self) -> int:
        """Of all types."""
        return sum(self.counts.values())

    @num_nodes.setter
    def num_nodes(self, value: Any) -> None:
        pass

    @property
    def num_edges(self) -> int:
        """Of all relations."""
        return sum(int(self[flat_name(_EDGES, relation)].shape[1]) for relation in self.schema.relations)

    @property
    def edge_index(self) -> Tensor:
        """int64 `[2, E]` of the graph without types; nodes of all types are numbered on."""
        first, start = {}, 0
        for kind in self.schema.nodes:
            first[kind] = start
            start += self.counts[kind]
        found = [
            self[flat_name(_EDGES, (source, name, target))] + torch.tensor([[first[source]], [first[target]]])
            for source, name, target in self.schema.relations
        ]
        return torch.cat(found, dim=1) if found else torch.zeros((2, 0), dtype=torch.int64)

    @edge_index.setter
    def edge_index(self, value: Any) -> None:
        pass

    def without_edges(self) -> TypedGraph:
        """The graph with its nodes only."""
        roles = typed_roles([self])
        alone = TypedGraph(self.schema, self.counts, self.to_dict())
        for name, role in roles.items():
            if role.is_a(EDGES) or role.is_a(EDGE):
                alone[name] = self[name].narrow(role.axis, 0, 0)
        return alone

    @classmethod
    def joined(cls, graphs: Sequence[TypedGraph]) -> TypedGraph:
        """Graphs side by side, with the number of each node's graph as `batch.paper`; y is put together likewise."""
        schema = graphs[0].schema
        roles = typed_roles(graphs)
        starts = {kind: _starts([graph.counts[kind] for graph in graphs]) for kind in schema.nodes}
        out = cls(schema, {kind: sum(graph.counts[kind] for graph in graphs) for kind in schema.nodes})
        for name, role in roles.items():
            if role.is_a(BATCH):
                continue
            values = [graph[name] for graph in graphs]
            split = schema.split(name)
            if role.is_a(EDGES) and split is not None and isinstance(split[1], tuple):
                source, _, target = split[1]
                values = [
                    value + torch.tensor([[starts[source][i]], [starts[target][i]]]) for i, value in enumerate(values)
                ]
            out[name] = torch.cat(values, dim=role.axis)
        for name in _OF_TRAINING:
            values = [graph.get(name) for graph in graphs]
            if all(isinstance(value, Tensor) for value in values):
                out[name] = torch.cat(values)
            elif hasattr(values[0], "joined"):  # what protects the nodes of each type
                out[name] = values[0].joined(values)
        for kind in schema.nodes:
            counts = torch.tensor([graph.counts[kind] for graph in graphs])
            out[flat_name("batch", kind)] = torch.repeat_interleave(torch.arange(len(graphs)), counts)
        return out


_OF_TRAINING = ("y", "dq_prob")


def _starts(counts: Sequence[int]) -> list[int]:
    return [sum(counts[:i]) for i in range(len(counts))]


def schema_of(graphs: Sequence[HeteroData], where: str) -> Schema:
    """The types that any of the graphs has.

    Raises:
        DataError: two types whose names are the same in the names of inputs.
    """
    nodes = tuple(dict.fromkeys(kind for graph in graphs for kind in graph.node_types))
    relations = tuple(dict.fromkeys(kind for graph in graphs for kind in graph.edge_types))
    ends = tuple(dict.fromkeys(end for source, _, target in relations for end in (source, target)))
    schema = Schema((*nodes, *(end for end in ends if end not in nodes)), relations)
    if len(schema.keys) < len(schema.nodes) + len(relations):
        names = [type_name(key) for key in (*schema.nodes, *relations)]
        twice = next(name for name in names if names.count(name) > 1)
        raise DataError(f"{where}: two types are called {twice} in the names of inputs: rename one of them")
    return schema


def typed_roles(graphs: Sequence[TypedGraph]) -> dict[str, Role]:
    """The role of each attribute that every graph has as a tensor, and of `batch.paper`.

    Returns:
        Name -> role; without those that could be anything.
    """
    schema = graphs[0].schema
    found: dict[str, Role] = {}
    for name in graphs[0].names:
        split = schema.split(name)
        if is_input(split[0] if split else name) and all(isinstance(graph.get(name), Tensor) for graph in graphs):
            role = _role(name, split, graphs)
            if role is not None:
                found[name] = role
    for kind in schema.nodes:
        found[flat_name("batch", kind)] = BATCH.sized(typed_size("num_nodes", kind))
    return found


def _role(name: str, split: tuple[str, str | Relation] | None, graphs: Sequence[TypedGraph]) -> Role | None:
    if any(graph[name].dim() == 0 for graph in graphs):
        return None
    if split is None:
        return GRAPH if all(len(graph[name]) == 1 for graph in graphs) else None
    attribute, key = split
    if isinstance(key, str):
        role = NODE.sized(typed_size("num_nodes", key))
        return role if all(len(graph[name]) == graph.counts[key] for graph in graphs) else None
    size = typed_size("num_edges", key)
    if attribute == _EDGES:
        return EDGES.sized(size, (typed_size("num_nodes", key[0]), typed_size("num_nodes", key[2])))
    edges = flat_name(_EDGES, key)
    return EDGE.sized(size) if all(len(graph[name]) == graph[edges].shape[1] for graph in graphs) else None
