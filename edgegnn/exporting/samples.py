"""The graphs an artifact is proved on: real ones from the test split, and the awkward ones every deployment meets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt
import torch
from torch_geometric.data import Data

from edgegnn.runtime.roles import (
    BATCH,
    EDGE,
    EDGES,
    FIXED,
    GRAPH,
    NODE,
    PAIRS,
    ROWS,
    Role,
    find_name,
    find_names,
    number_of_nodes,
    role_of,
    size_of,
    typed_size,
)
from edgegnn.signature import TypedGraph
from edgegnn.tasks import Task, forward_args
from edgegnn.tasks.link import pick_pairs

__all__ = ["Sample", "example_inputs", "make_samples", "split_graphs", "synthetic", "tensors_of"]

Array = npt.NDArray[np.generic]


@dataclass(frozen=True)
class Sample:
    """One graph that an artifact ships.

    Attributes:
        name: "test/17", "isolated+duplicate", ...
        origin: "data" or "synthetic".
        inputs: model input name -> array, in the order of the model's inputs.
        label: int64 `[rows]`, or float32 `[rows, C]` of labels or values; None for a synthetic graph.
        mask: bool `[rows]`, which rows the metric counts (node tasks); None for all.
        roles: what the inputs belong to; the usual ones of their names where that isn't said.
        kind: "node", "edge", "graph" or "link": what a row of `label` is.
        of: name of the number of rows where it is not the usual one of the kind: "num_nodes.paper".
    """

    name: str
    origin: str
    inputs: dict[str, Array]
    label: Array | None = None
    mask: Array | None = None
    roles: Mapping[str, Role] = field(default_factory=dict)
    kind: str = "node"
    of: str = ""

    def role(self, name: str) -> Role:
        """What an input belongs to."""
        return role_of(self.roles, name)

    def find(self, role: Role) -> str | None:
        """The first input of a role; None where there is none."""
        return find_name(self.inputs, self.roles, role)

    @property
    def nodes(self) -> int:
        """How many nodes the graph has."""
        return number_of_nodes(self.inputs, self.roles)

    @property
    def edge_index(self) -> Array:
        """int64 `[2, E]`; of a model that takes no edges, `[2, 0]`.

        Nodes of several types are numbered on from type to type, in the order of `starts`.
        """
        names = find_names(self.inputs, self.roles, EDGES)
        starts = self.starts
        ends = [starts.get(end, 0) for name in names for end in self.role(name).ends]
        if not any(ends):
            found = [self.inputs[name] for name in names]
        else:
            found = [
                self.inputs[name] + np.array([[ends[2 * i]], [ends[2 * i + 1]]], np.int64)
                for i, name in enumerate(names)
            ]
        return np.concatenate(found, axis=1) if len(found) > 1 else found[0] if found else np.zeros((2, 0), np.int64)

    @property
    def counts(self) -> dict[str, int]:
        """Name of the size of each type of nodes that an input belongs to -> how many there are."""
        sizes = dict.fromkeys(self.role(name).size for name in self.inputs)
        of_nodes = [size for size in sizes if size.partition(".")[0] == "num_nodes"]
        return {size: size_of(self.inputs, self.roles, size) or 0 for size in of_nodes}

    @property
    def starts(self) -> dict[str, int]:
        """Name of each node type's size -> the number of its first node when all types are numbered on."""
        found, start = {}, 0
        for size, count in self.numbered_types.items():
            found[size] = start
            start += count
        return found

    @property
    def numbered_types(self) -> dict[str, int]:
        """`counts`, then the counts of types that only edges name: the model has learnt rows for their nodes."""
        counts = self.counts
        for name in find_names(self.inputs, self.roles, EDGES):
            for size, row in zip(self.role(name).ends, self.inputs[name], strict=True):
                if size not in self.counts:
                    counts[size] = max(counts.get(size, 0), int(row.max(initial=-1)) + 1)
        return counts

    @property
    def numbered(self) -> int:
        """How many nodes `edge_index` numbers."""
        return sum(self.numbered_types.values())

    @property
    def graph_of(self) -> Array:
        """int64 `[N]`, the graph of each node."""
        found = [self.graph_of_type(size) for size in self.counts]
        return np.concatenate(found) if len(found) > 1 else found[0] if found else np.zeros(0, np.int64)

    def graph_of_type(self, size: str) -> Array:
        """int64 `[N]`, the graph of each node of one type, given by the name of its size."""
        batches = find_names(self.inputs, self.roles, BATCH)
        own = next((self.inputs[name] for name in batches if self.role(name).size == size), None)
        return np.zeros(self.numbered_types[size], np.int64) if own is None else own

    def rows(self, kind: str) -> int:
        """How many rows the outputs have: for each node, edge, pair of nodes ("link") or graph one."""
        if kind == "graph":
            return int(self.graph_of.max(initial=0)) + 1
        return size_of(self.inputs, self.roles, self.of or ROWS[kind]) or 0

    def picked(self, size: str, rows: npt.NDArray[np.int64]) -> dict[str, Array]:
        """The inputs with some rows only of what has this size ("num_edges"), in the order given."""
        return {name: _picked(value, self.role(name), size, rows) for name, value in self.inputs.items()}


def _picked(value: Array, role: Role, size: str, rows: npt.NDArray[np.int64]) -> Array:
    return np.ascontiguousarray(np.take(value, rows, axis=role.axis)) if role.size == size else value


def split_graphs(task: Task, names: Sequence[str], split: str = "test") -> list[Sample]:
    """A whole split as samples: the one graph of a node task with the split's mask, or every graph of the split."""
    index = task.index[split]
    if task.of_links:
        return [_whole(task, names, task.spec.data, pick_pairs(task.graphs[0], index), None)]
    if not task.many and not task.spec.labelled:
        return [_whole(task, names, task.spec.data, task.graphs[0], None)]
    if not task.many:
        mask = np.zeros(len(task.graphs[0].y), dtype=bool)
        mask[index.numpy()] = True
        return [_whole(task, names, task.spec.data, task.graphs[0], mask)]
    graphs = ((f"{split}/{i}", task.graphs[i]) for i in index.tolist())
    return [_whole(task, names, name, data, _known(data.get("y"))) for name, data in graphs]


def _whole(task: Task, names: Sequence[str], name: str, data: Data, mask: Array | None) -> Sample:
    label, spec = data.y.numpy() if task.spec.labelled else None, task.spec
    of = spec.rows if spec.of else ""
    return Sample(name, "data", example_inputs(names, data), label, mask, task.roles, spec.kind, of)


def _known(y: torch.Tensor | None) -> Array | None:
    """Which rows have a class; None where all have one, and for outputs that are no classes."""
    if y is None:
        return None
    known: Array = np.ones(len(y), bool) if y.is_floating_point() else (y >= 0).numpy()
    return None if known.all() else known


def make_samples(task: Task, names: Sequence[str], fixed: int | None = None, seed: int = 0) -> list[Sample]:
    """Awkward graphs with the features of real nodes: isolated nodes and duplicate edges, no edges, a single node.

    For a model of one graph with `fixed` nodes: its nodes with some of its edges twice, and without edges.
    """
    first = task.graphs[0]
    if isinstance(first, TypedGraph):
        return _typed_samples(task, first, names, seed, fixed=fixed is not None)
    if fixed is not None:
        return _same_nodes(first, names, task.roles)
    source = max(task.graphs[:64], key=lambda g: int(g.num_nodes))
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randint(int(source.num_nodes), (24,), generator=generator)
    edges = torch.randint(16, (2, 40), generator=generator)  # the last eight nodes stay isolated
    edges = torch.cat([edges, edges[:, :12], edges[:, :4]], dim=1)
    awkward = {
        "isolated+duplicate": (rows, edges),
        "no-edges": (rows[:7], edges[:, :0]),
        "one-node": (rows[:1], edges[:, :0]),
    }
    return [
        Sample(name, "synthetic", synthetic(source, names, *parts, generator, task.roles), roles=task.roles)
        for name, parts in awkward.items()
    ]


def _typed_samples(task: Task, first: TypedGraph, names: Sequence[str], seed: int, *, fixed: bool) -> list[Sample]:
    """Awkward graphs with several types of nodes: the same ones, without some relations, and without a type of nodes.

    Types of nodes without an input of their own have the nodes that they have in the data.
    """
    source = max([g for g in task.graphs[:64] if isinstance(g, TypedGraph)], key=lambda g: g.num_nodes)
    whole = Sample("", "synthetic", example_inputs(names, source), roles=task.roles)
    sizes = whole.counts
    counts = {typed_size("num_nodes", kind): count for kind, count in source.counts.items()} | sizes
    random = np.random.default_rng(seed)
    own = "" if task.spec.kind == "graph" else task.spec.rows
    others = [size for size in sizes if size != own]
    relations = [task.roles[name].size for name in find_names(whole.inputs, task.roles, EDGES)]

    def made(name: str, nodes: int, edges: int, without: Sequence[str] = ()) -> Sample:
        many = {size: count if fixed or size not in sizes else nodes for size, count in counts.items()}
        many |= dict.fromkeys(without, 0) if not fixed else {}
        return replace(whole, name=name, inputs=_drawn(whole, many, edges, without, random))

    return [
        made("isolated+duplicate", 24, 40),
        made("no-edges", 7, 0),
        made("without some relations", 24, 40, relations[::2]),
        *([] if fixed else [made("one-node", 1, 0)]),
        *(
            []
            if fixed or not others
            else [made(f"without nodes of type {others[-1].partition('.')[2]}", 24, 40, others[-1:])]
        ),
    ]


def _drawn(
    whole: Sample, counts: Mapping[str, int], edges: int, without: Sequence[str], random: np.random.Generator
) -> dict[str, Array]:
    """Inputs with these numbers of nodes of each type; each relation has some edges twice."""
    picks: dict[str, npt.NDArray[np.int64]] = {}
    inputs: dict[str, Array] = {}
    for name, value in whole.inputs.items():
        role = whole.role(name)
        if role.is_a(EDGES):
            most = [max(1, counts[end] * 2 // 3) for end in role.ends]
            none = role.size in without or any(counts[end] == 0 for end in role.ends)
            drawn = np.stack([random.integers(n, size=0 if none else edges) for n in most])
            both = np.concatenate([drawn, drawn[:, :12], drawn[:, :4]], axis=1)
            inputs[name] = in_order_of(value, both)
            picks[role.size] = random.integers(max(1, value.shape[1]), size=both.shape[1] if value.shape[1] else 0)
    for name, value in whole.inputs.items():
        role = whole.role(name)
        if role.is_a(NODE) or role.is_a(BATCH):
            rows, wanted = len(value), counts[role.size]
            every = wanted == rows
            pick = picks.setdefault(role.size, np.arange(rows) if every else random.integers(max(1, rows), size=wanted))
            inputs[name] = np.zeros(wanted, np.int64) if role.is_a(BATCH) else value[pick]
        elif not role.is_a(EDGES):
            inputs[name] = whole.picked(role.size, picks[role.size])[name] if role.size in picks else value
    return {name: inputs[name] for name in whole.inputs}


def in_order_of(source: Array, edges: Array) -> Array:
    """Edges, sorted by an end where the source graph's are: some layers insist on it."""
    for end in (0, 1):
        if bool((np.diff(source[end]) >= 0).all()):
            edges = edges[:, edges[end].argsort(kind="stable")]
    return np.ascontiguousarray(edges)


def _same_nodes(graph: Data, names: Sequence[str], roles: Mapping[str, Role]) -> list[Sample]:
    whole = Sample("", "synthetic", example_inputs(names, graph), roles=roles)
    few = torch.arange(0, int(graph.num_edges), 3)
    picks = {"isolated+duplicate": torch.cat([few, few[::2]]).numpy(), "no-edges": few[:0].numpy()}
    return [replace(whole, name=name, inputs=whole.picked("num_edges", pick)) for name, pick in picks.items()]


def tensors_of(sample: Sample) -> dict[str, torch.Tensor]:
    """Inputs of a sample as tensors."""
    return {name: torch.from_numpy(value) for name, value in sample.inputs.items()}


def example_inputs(names: Sequence[str], data: Data) -> dict[str, Array]:
    """Model inputs of one graph as numpy arrays."""
    args = forward_args(names, data)
    return {name: arg.detach().contiguous().numpy() for name, arg in zip(names, args, strict=True)}


def synthetic(
    source: Data,
    names: Sequence[str],
    rows: torch.Tensor,
    edges: torch.Tensor,
    generator: torch.Generator,
    roles: Mapping[str, Role],
) -> dict[str, Array]:
    """Inputs of a made-up graph.

    Args:
        source: a real graph.
        names: the model's inputs.
        rows: nodes of `source` whose features the nodes have.
        edges: int64 `[2, E]`; sorted by an end where the edges of `source` are: some layers insist on it.
        generator: draws features of edges, and pairs of nodes.
        roles: what the attributes of `source` belong to.
    """
    for end in (0, 1):
        if bool((source.edge_index[end].diff() >= 0).all()):
            edges = edges[:, edges[end].argsort(stable=True)]
    data = Data(num_nodes=len(rows))
    for key in names:
        role = role_of(roles, key)
        drawn = edges if role.size == EDGES.size else edges[:, ::2]  # a further list of edges has fewer
        if role.is_a(EDGES):
            data[key] = drawn
        elif role == PAIRS:
            data[key] = torch.randint(len(rows), (2, 9), generator=generator)
        elif role.is_a(EDGE):
            values = source[key]
            pick = torch.randint(max(1, values.shape[0]), (drawn.shape[1],), generator=generator)
            data[key] = values[pick] if values.shape[0] else values[:0]
        elif role.of_items:
            data[key] = _items(source[key], role, {"num_nodes": len(rows), "num_edges": edges.shape[1]}, generator)
        elif role in (NODE, GRAPH, FIXED):
            data[key] = source[key][rows] if role == NODE else source[key]
    return example_inputs(names, data)


def _items(value: torch.Tensor, role: Role, counts: Mapping[str, int], generator: torch.Generator) -> torch.Tensor:
    """A feature of items, or numbers of what they are about: as many items as edges."""
    many, rows = counts["num_edges"], value.shape[role.axis]
    if role.ends:
        drawn = [torch.randint(max(1, counts[end]), (many,), generator=generator) for end in role.ends]
        return torch.stack(drawn) if role.axis else drawn[0]
    picks = torch.randint(max(1, rows), (many,), generator=generator)
    return value[picks] if rows else value.new_zeros((many, *value.shape[1:]))
