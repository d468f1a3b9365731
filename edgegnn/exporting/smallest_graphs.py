"""The smallest graphs that a model runs on, where PyTorch itself fails, or gives NaN, on an awkward one.

k nearest neighbours of fewer than k nodes, statistics of a single node, a mean over no edges: such limits are the
model's own. They are found by running it on graphs that grow. The manifest has them, and the runtime refuses smaller
graphs in one line.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.export import ExportedProgram

from edgegnn.errors import ExportError
from edgegnn.exporting.parity import torch_outputs
from edgegnn.exporting.samples import Sample, synthetic
from edgegnn.runtime.roles import EDGE, GRAPH, NODE
from edgegnn.signature import TypedGraph
from edgegnn.tasks import Task

__all__ = ["Runnable", "least_values", "runnable"]

Array = npt.NDArray[np.generic]
_SIZES = (*range(1, 17), 24, 32, 48, 64, 128)
_NODES = 24
_FEW = 6


@dataclass(frozen=True)
class Runnable:
    """The awkward graphs that a model runs on, and what it needs.

    Attributes:
        samples: the graphs.
        expected: PyTorch's outputs on them.
        limits: for `limits` of the manifest: "least_nodes", "least_edges", "least_in_degree", "least_out_degree" and
            "least_degree" (of either kind) -> smallest value, for each graph; only those that the model has.
        fails: name of an awkward graph -> what PyTorch says, where no limit explains it.
    """

    samples: list[Sample]
    expected: list[npt.NDArray[np.float32]]
    limits: dict[str, int] = field(default_factory=dict)
    fails: dict[str, str] = field(default_factory=dict)


def runnable(
    model: nn.Module | ExportedProgram,
    task: Task,
    names: Sequence[str],
    samples: Sequence[Sample],
    *,
    fixed: bool = False,
    most: int | None = None,
) -> Runnable:
    """Leave out what the model can't run on, and find its limits.

    Args:
        model: what is exported.
        task: its data, on whose own graphs the model runs.
        names: its inputs.
        samples: awkward graphs.
        fixed: the model is for one graph with its own number of nodes.
        most: the most nodes that a graph may have.
    """
    with suppress(ExportError):
        return Runnable(list(samples), torch_outputs(model, list(samples)))
    problems = {sample.name: _problem(model, sample) for sample in samples}

    if isinstance(task.graphs[0], TypedGraph):
        kept = [sample for sample in samples if not problems[sample.name]]
        return Runnable(kept, torch_outputs(model, kept), {}, {name: why for name, why in problems.items() if why})

    def runs(nodes: int, edges: Tensor) -> bool:
        return not _problem(model, _made(task, names, nodes, edges))

    real = _least([_counts(int(g.num_nodes or 0), g.edge_index.numpy()) for g in task.graphs])
    limits = {"least_edges": 1} if fixed else _limits(runs, real, most)
    kept = [sample for sample in samples if not problems[sample.name]]
    fails = {s.name: problems[s.name] for s in samples if problems[s.name] and _allowed(s, limits)}
    if not fixed:
        kept += [s for s in _at_the_limit(task, names, limits) if not _problem(model, s)]
    return Runnable(kept, torch_outputs(model, kept), limits, fails)


def least_values(model: nn.Module | ExportedProgram, sample: Sample) -> dict[str, int]:
    """For `limits` of the manifest: 0 for each whole-numbered feature with which PyTorch takes no -1.

    Args:
        model: what is exported.
        sample: a real graph.
    """
    found = {}
    for name, value in sample.inputs.items():
        if any(map(sample.role(name).is_a, (NODE, EDGE, GRAPH))) and value.dtype.kind == "i" and value.size:
            other = replace(sample, inputs={**sample.inputs, name: np.where(value == value.min(), -1, value)})
            if _problem(model, other):
                found[f"least_value_{name}"] = 0
    return found


def _problem(model: nn.Module | ExportedProgram, sample: Sample) -> str:
    """PyTorch's error for a graph; "" when it runs."""
    try:
        torch_outputs(model, [sample])
    except ExportError as error:
        return str(error).splitlines()[0]
    return ""


def _limits(runs: Callable[[int, Tensor], bool], real: Mapping[str, int], most: int | None) -> dict[str, int]:
    """The limits of a model.

    Args:
        runs: whether it runs on a graph of this many nodes with these edges.
        real: name of each limit -> the least of it in the real graphs, all of which it runs on.
        most: the most nodes that a graph may have.
    """
    least = _least_nodes(lambda nodes: runs(nodes, _ring(nodes)), real["least_nodes"], most)
    found = {"least_nodes": least} if least > 1 else {}
    nodes = max(least, _FEW)
    ring = _ring(nodes)
    into, out_of = ring[1] != 0, ring[0] != 0
    if not runs(nodes, ring):
        return found
    failing = {
        name: 1
        for name, edges in (("least_in_degree", ring[:, into]), ("least_out_degree", ring[:, out_of]))
        if not runs(nodes, edges)
    }
    if not failing and not runs(nodes, ring[:, into & out_of]):
        failing["least_degree"] = 1
    # What real graphs lack is not what the model needs: it fails for another reason.
    degrees = {name: value for name, value in failing.items() if real[name] >= value}
    if not degrees:  # every node may be without edges
        number = next((count for count in range(nodes) if runs(nodes, ring[:, :count])), ring.shape[1])
        number = min(number, real["least_edges"])
        degrees = {"least_edges": number} if number else {}
    return found | degrees


def _least_nodes(runs: Callable[[int], bool], smallest: int, most: int | None) -> int:
    """The fewest nodes that the model runs on; the smallest real graph's number where no other graph runs."""
    sizes = [size for size in _SIZES if most is None or size <= most]
    worked = [runs(size) for size in sizes]
    if not worked or not worked[-1]:
        return smallest
    last_failed = max((i for i, ok in enumerate(worked) if not ok), default=-1)
    if last_failed < 0:
        return 1
    low, high = sizes[last_failed], sizes[last_failed + 1]
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if runs(middle) else (middle, high)
    return high


def _ring(nodes: int) -> Tensor:
    """Every node with an edge to and from the next one, sorted by target."""
    first = torch.arange(nodes)
    second = (first + 1) % nodes
    return torch.unique(torch.stack([torch.cat([first, second]), torch.cat([second, first])]), dim=1).flip(0)


def _made(task: Task, names: Sequence[str], nodes: int, edges: Tensor, name: str = "grown") -> Sample:
    """A graph with features of real nodes."""
    source = max(task.graphs[:64], key=lambda graph: int(graph.num_nodes or 0))
    generator = torch.Generator().manual_seed(nodes)
    rows = torch.randperm(int(source.num_nodes or 0), generator=generator)
    rows = rows.repeat(-(-nodes // len(rows)))[:nodes]
    return Sample(name, "synthetic", synthetic(source, names, rows, edges, generator, task.roles), roles=task.roles)


def _allowed(sample: Sample, limits: Mapping[str, int]) -> bool:
    """Whether a graph is within the limits."""
    found = _counts(sample.nodes, sample.edge_index)
    return all(found[name] >= value for name, value in limits.items())


def _counts(nodes: int, edges: Array) -> dict[str, int]:
    """The sizes of a graph that limits are about."""
    out_of, into = (np.bincount(ends, minlength=nodes) for ends in edges)
    return {
        "least_nodes": nodes,
        "least_edges": edges.shape[1],
        "least_out_degree": int(out_of.min()),
        "least_in_degree": int(into.min()),
        "least_degree": int((out_of + into).min()),
    }


def _least(counts: Sequence[Mapping[str, int]]) -> dict[str, int]:
    return {name: min(each[name] for each in counts) for name in counts[0]}


def _at_the_limit(task: Task, names: Sequence[str], limits: Mapping[str, int]) -> list[Sample]:
    """The smallest graph that the limits allow, and a larger one with every edge twice."""
    least, rest = limits.get("least_nodes", 1), set(limits) - {"least_nodes"}
    edges = _ring(least)
    if not rest - {"least_edges"}:
        fewest = limits.get("least_edges", 0)
        least = least if edges.shape[1] >= fewest else max(least, _FEW)
        edges = _ring(least)[:, :fewest]
    ring = _ring(max(_NODES, least))
    return [
        _made(task, names, least, edges, "smallest"),
        _made(task, names, max(_NODES, least), torch.cat([ring, ring], dim=1), "duplicate"),
    ]
