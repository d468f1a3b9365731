"""A part of a graph that is too large to be shipped, or to be run again and again: the nodes around one node."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from edgegnn.exporting.samples import Sample, example_inputs
from edgegnn.tasks import Task, example_graph
from edgegnn.tasks.collating import PAIRS

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
    sample = Sample("probe", "data", example_inputs(names, example_graph(task, graphs)))
    nodes = len(sample.inputs["x"])
    if whole or task.spec.kind == "graph" or nodes <= _PROBE_NODES:
        return sample
    edges = sample.inputs["edge_index"]
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


def part_of(sample: Sample, nodes: Array, name: str) -> Sample:
    """The sample with these nodes only, and the edges and pairs between them.

    Args:
        sample: one graph, with `edge_index`.
        nodes: sorted numbers of nodes.
        name: of the part.
    """
    inputs = sample.inputs
    total = len(inputs["x"])
    place = np.full(total, -1, np.int64)
    place[nodes] = np.arange(len(nodes))
    kept: dict[str, Array] = {}
    ends = {key: place[inputs[key]] for key in ("edge_index", PAIRS) if key in inputs}
    inside = {key: (value >= 0).all(axis=0) for key, value in ends.items()}
    for key, value in inputs.items():
        if key in ends:
            kept[key] = np.ascontiguousarray(ends[key][:, inside[key]])
        else:
            kept[key] = value[inside["edge_index"]] if key.startswith("edge_") else value[nodes]
    rows = inside[PAIRS] if PAIRS in inputs else nodes
    label = None if sample.label is None else sample.label[rows]
    mask = None if sample.mask is None else sample.mask[rows]
    return replace(sample, name=name, inputs=kept, label=label, mask=mask)
