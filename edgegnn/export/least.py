"""The smallest graphs that a model runs on, where PyTorch itself fails, or gives NaN, on an awkward one.

k nearest neighbours of fewer than k nodes, statistics of a single node, a mean over no edges: such limits are those of
the model. They are found by running it on graphs that grow, become part of the manifest, and the runtime refuses
smaller graphs in one line.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.export import ExportedProgram

from edgegnn.errors import ExportError
from edgegnn.export.parity import torch_outputs
from edgegnn.export.samples import Sample, synthetic
from edgegnn.tasks import Task

__all__ = ["Runnable", "runnable"]

Array = npt.NDArray[np.generic]
_SIZES = (*range(1, 17), 24, 32, 48, 64, 128)
_NODES = 24


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

    def runs(nodes: int, edges: Tensor) -> bool:
        return not _problem(model, _made(task, names, nodes, edges))

    smallest = min(int(graph.num_nodes or 0) for graph in task.graphs)
    limits = {"least_edges": 1} if fixed else _limits(runs, smallest, most)
    kept = [sample for sample in samples if not problems[sample.name]]
    fails = {s.name: problems[s.name] for s in samples if problems[s.name] and _allowed(s, limits)}
    if not fixed:
        kept += [s for s in _at_the_limit(task, names, limits) if not _problem(model, s)]
    return Runnable(kept, torch_outputs(model, kept), limits, fails)


def _problem(model: nn.Module | ExportedProgram, sample: Sample) -> str:
    """What PyTorch says against a graph; "" when it runs."""
    try:
        torch_outputs(model, [sample])
    except ExportError as error:
        return str(error).splitlines()[0]
    return ""


def _limits(runs: Callable[[int, Tensor], bool], smallest: int, most: int | None) -> dict[str, int]:
    least = _least_nodes(lambda nodes: runs(nodes, _ring(nodes)), smallest, most)
    found = {"least_nodes": least} if least > 1 else {}
    nodes = max(least, 6)
    ring = _ring(nodes)
    into, out_of = ring[1] != 0, ring[0] != 0
    if not runs(nodes, ring):
        return found
    if not runs(nodes, ring[:, into]):
        found["least_in_degree"] = 1
    if not runs(nodes, ring[:, out_of]):
        found["least_out_degree"] = 1
    if len(found) == (least > 1) and not runs(nodes, ring[:, into & out_of]):
        found["least_degree"] = 1
    if len(found) == (least > 1):  # every node may be without edges
        number = next((count for count in range(nodes) if runs(nodes, ring[:, :count])), ring.shape[1])
        found |= {"least_edges": number} if number else {}
    return found


def _least_nodes(runs: Callable[[int], bool], smallest: int, most: int | None) -> int:
    """The fewest nodes from which on the model runs; those of the smallest real graph where no other graph runs."""
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
    """Every node with an edge to and from the next one."""
    first = torch.arange(nodes)
    second = (first + 1) % nodes
    return torch.unique(torch.stack([torch.cat([first, second]), torch.cat([second, first])]), dim=1)


def _made(task: Task, names: Sequence[str], nodes: int, edges: Tensor, name: str = "grown") -> Sample:
    """A graph with features of real nodes."""
    source = max(task.graphs[:64], key=lambda graph: int(graph.num_nodes or 0))
    generator = torch.Generator().manual_seed(nodes)
    rows = torch.randperm(int(source.num_nodes or 0), generator=generator)
    rows = rows.repeat(-(-nodes // len(rows)))[:nodes]
    return Sample(name, "synthetic", synthetic(source, names, rows, edges, generator))


def _allowed(sample: Sample, limits: Mapping[str, int]) -> bool:
    """Whether a graph is within the limits."""
    nodes, edges = len(sample.inputs["x"]), sample.inputs["edge_index"]
    degrees = [np.bincount(ends, minlength=nodes) for ends in edges]
    found = {
        "least_nodes": nodes,
        "least_edges": edges.shape[1],
        "least_out_degree": degrees[0].min(),
        "least_in_degree": degrees[1].min(),
        "least_degree": (degrees[0] + degrees[1]).min(),
    }
    return all(found[name] >= value for name, value in limits.items())


def _at_the_limit(task: Task, names: Sequence[str], limits: Mapping[str, int]) -> list[Sample]:
    """The smallest graph that the limits allow, and a larger one with every edge twice."""
    least, rest = limits.get("least_nodes", 1), set(limits) - {"least_nodes"}
    edges = _ring(least) if rest - {"least_edges"} else _ring(least)[:, : limits.get("least_edges", 0)]
    ring = _ring(max(_NODES, least))
    return [
        _made(task, names, least, edges, "smallest"),
        _made(task, names, max(_NODES, least), torch.cat([ring, ring], dim=1), "duplicate"),
    ]
