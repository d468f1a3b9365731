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
    GRAPH,
    NODE,
    PAIRS,
    ROWS,
    Role,
    find_name,
    number_of_nodes,
    role_of,
    size_of,
)
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
    """

    name: str
    origin: str
    inputs: dict[str, Array]
    label: Array | None = None
    mask: Array | None = None
    roles: Mapping[str, Role] = field(default_factory=dict)
    kind: str = "node"

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
        """int64 `[2, E]`; of a model that takes no edges, `[2, 0]`."""
        return self.inputs.get(self.find(EDGES) or "", np.zeros((2, 0), np.int64))

    @property
    def graph_of(self) -> Array:
        """int64 `[N]`, the graph of each node."""
        return self.inputs.get(self.find(BATCH) or "", np.zeros(self.nodes, np.int64))

    def rows(self, kind: str) -> int:
        """How many rows the outputs have: for each node, edge, pair of nodes ("link") or graph one."""
        if kind == "graph":
            return int(self.graph_of.max(initial=0)) + 1
        return size_of(self.inputs, self.roles, ROWS[kind]) or 0

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
    label = data.y.numpy() if task.spec.labelled else None
    return Sample(name, "data", example_inputs(names, data), label, mask, task.roles, task.spec.kind)


def _known(y: torch.Tensor | None) -> Array | None:
    """Which rows have a class; None where all have one, or where they have labels or values, or nothing."""
    if y is None:
        return None
    known: Array = np.ones(len(y), bool) if y.is_floating_point() else (y >= 0).numpy()
    return None if known.all() else known


def make_samples(task: Task, names: Sequence[str], fixed: int | None = None, seed: int = 0) -> list[Sample]:
    """Awkward graphs with the features of real nodes: isolated nodes and duplicate edges, no edges, a single node.

    For a model of one graph with `fixed` nodes: its nodes with some of its edges twice, and without edges.
    """
    if fixed is not None:
        return _same_nodes(task.graphs[0], names, task.roles)
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
        edges: int64 `[2, E]`; sorted by an end here where those of `source` are: some layers insist on it.
        generator: draws features of edges, and pairs of nodes.
        roles: what the attributes of `source` belong to.
    """
    for end in (0, 1):
        if bool((source.edge_index[end].diff() >= 0).all()):
            edges = edges[:, edges[end].argsort(stable=True)]
    data = Data(num_nodes=len(rows))
    for key in names:
        role = role_of(roles, key)
        if role == EDGES:
            data[key] = edges
        elif role == PAIRS:
            data[key] = torch.randint(len(rows), (2, 9), generator=generator)
        elif role == EDGE:
            values = source[key]
            pick = torch.randint(max(1, values.shape[0]), (edges.shape[1],), generator=generator)
            data[key] = values[pick] if values.shape[0] else values[:0]
        elif role in (NODE, GRAPH):
            data[key] = source[key][rows] if role == NODE else source[key]
    return example_inputs(names, data)
