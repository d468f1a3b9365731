"""A part of a graph that is too large to be shipped, or to be run again and again: the nodes around one node."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from edgegnn.exporting.samples import Sample, example_inputs
from edgegnn.runtime.roles import ROWS
from edgegnn.tasks import Task, example_graph

__all__ = ["around", "neighbourhood", "part_of", "probe"]

Array = npt.NDArray[np.generic]
_PROBE_NODES = 2000


def probe(task: Task, names: Sequence[str], graphs: int = 1, *, whole: bool = False) -> Sample:
    """A real graph to try a model with: cheap to run, of at most 2,000 nodes where a task has one graph.

    Args:
        task: the data.
        names: inputs of the model.
        graphs: how many graphs there are in it, in a task of many graphs.
        whole: a graph stays whole, since the model takes no part of it.
    """
    sample = Sample("probe", "data", example_inputs(names, example_graph(task, graphs)), roles=task.roles)
    nodes, edges = sample.numbered, sample.edge_index
    if whole or task.many or nodes <= _PROBE_NODES:
        return sample
    return part_of(sample, neighbourhood(edges, nodes, int(edges[0, 0]) if edges.size else 0, _PROBE_NODES), "probe")


def neighbourhood(edge_index: Array, nodes: int, first: int, size: int) -> Array:
    """Nodes nearest to `first`, whichever way the edges point, and when those end, to other nodes.

    Args:
        edge_index: `[2, E]`.
        nodes: number of nodes of the graph.
        first: the node in the middle.
        size: how many nodes, at most.

    Returns:
        Their numbers, sorted.
    """
    found, order = np.zeros(nodes, bool), np.random.default_rng(0).permutation(nodes)
    found[first] = True
    while (count := int(found.sum())) < min(size, nodes):
        reached = np.zeros(nodes, bool)
        for source, target in (edge_index, edge_index[::-1]):
            reached[target[found[source]]] = True
        new = np.flatnonzero(reached & ~found)
        if not len(new):
            new = order[~found[order]][:1]
        found[new[: size - count]] = True
    return np.flatnonzero(found)


def around(edge_index: Array, nodes: int, centres: Array, hops: int, *, both: bool) -> Array:
    """Nodes from which a message reaches the centres within the given number of hops.

    Args:
        edge_index: `[2, E]`.
        nodes: number of nodes of the graph.
        centres: their numbers.
        hops: how many.
        both: messages go either way along an edge.

    Returns:
        Numbers of nodes, sorted; the centres among them.
    """
    found = np.zeros(nodes, bool)
    found[centres] = True
    for _ in range(hops):
        reached = found.copy()
        for source, target in (edge_index, edge_index[::-1]) if both else (edge_index,):
            reached[source[found[target]]] = True
        found = reached
    return np.flatnonzero(found)


def _places(kept: npt.NDArray[Any], count: int) -> npt.NDArray[Any]:
    """The new number of each row; -1 for those that are left out."""
    found = np.full(count, -1, np.int64)
    found[kept] = np.arange(len(kept))
    return found


def part_of(sample: Sample, nodes: npt.NDArray[Any], name: str) -> Sample:
    """The sample with these nodes only, and the edges and pairs between them.

    Args:
        sample: one graph, with `edge_index`.
        nodes: sorted numbers of nodes.
        name: of the part.
    """
    roles = {key: sample.role(key) for key in sample.inputs}
    chosen: dict[str, npt.NDArray[Any]] = {"num_graphs": np.arange(1)}
    places: dict[str, npt.NDArray[Any]] = {}
    starts, counts = sample.starts, sample.counts
    for size, count in counts.items():
        start = starts[size]
        own = nodes[(nodes >= start) & (nodes < start + count)] - start
        chosen[size], places[size] = own, np.full(count, -1, np.int64)
        places[size][own] = np.arange(len(own))
    ends: dict[str, npt.NDArray[Any]] = {
        key: np.stack([places[s][row] if s in places else row for s, row in zip(roles[key].ends, value, strict=True)])
        if roles[key].numbers_nodes
        else value
        for key, value in sample.inputs.items()
    }
    for key, value in ends.items():
        if roles[key].numbers_nodes:
            chosen[roles[key].size] = np.flatnonzero((value >= 0).all(axis=0))
            places.setdefault(roles[key].size, _places(chosen[roles[key].size], value.shape[1]))
    for key, value in sample.inputs.items():
        if roles[key].of_items and roles[key].ends:  # an item stays where all stay that it is about
            about = np.stack([places[s][r] for s, r in zip(roles[key].ends, np.atleast_2d(value), strict=True)])
            ends[key] = about.reshape(value.shape)
            left = np.flatnonzero((about >= 0).all(axis=0))
            chosen[roles[key].size] = np.intersect1d(left, chosen.get(roles[key].size, left))
    moved = replace(sample, name=name, inputs=ends)
    for size, rows in chosen.items():
        moved = replace(moved, inputs=moved.picked(size, rows))
    if sample.label is None and sample.mask is None:
        return moved
    rows = chosen[sample.of or ROWS[sample.kind]]
    label = None if sample.label is None else sample.label[rows]
    mask = None if sample.mask is None else sample.mask[rows]
    return replace(moved, label=label, mask=mask)
