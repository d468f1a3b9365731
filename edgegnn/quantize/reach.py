"""Ranges that hold the user's data.

While a model trains, percentiles and moving averages pass over what is rare: the largest of a few values, the one graph
of a batch that is much larger than the rest. An answer that depends on such a value would be clipped without a word. So
ranges of 8 bits are widened to what the weights give on every graph of the training and validation splits, and on the
same nodes without any edge: before training, which then sees them, and once more for the final weights.

Eight times the tracked range is the limit: five bits are left for everything within. Beyond it a hub of thousands of
neighbours would cost all other nodes their precision, and the runtime's range guard speaks up. Ranges of 4 bits stay:
sixteen codes can't give any away.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch_geometric.data import Data

from edgegnn.quantize.quant_model import QuantModel
from edgegnn.quantize.quantizer import QuantPoint
from edgegnn.quantize.recipe import QAT
from edgegnn.runtime.roles import EDGE
from edgegnn.signature import TypedGraph, roles_of
from edgegnn.tasks import Task, model_inputs, run_model
from edgegnn.tasks.evaluation import batches
from edgegnn.tasks.link import pick_pairs

__all__ = ["hold_data"]

_BITS = 8
_MOST = 8.0  # times the tracked span


@dataclass
class _Ends:
    """The smallest and the largest value that points were given, by name."""

    found: dict[str, tuple[Tensor, Tensor]] = field(default_factory=dict)

    def note(self, name: str, values: Tensor) -> None:
        if not values.numel():
            return
        low, high = torch.aminmax(values.detach())
        before = self.found.get(name, (low, high))
        self.found[name] = torch.minimum(before[0], low), torch.maximum(before[1], high)


def hold_data(quantized: QuantModel, task: Task) -> None:
    """Widen the ranges of activations of 8 bits to hold the training and validation data.

    Points where a paper puts them keep the paper's ranges, and learnt steps (A2Q) what was learnt.

    Args:
        quantized: before training, or after it.
        task: what it is trained on.
    """
    points = {p.name: p for p in quantized.points.values() if isinstance(p, QuantPoint) and p.bits == _BITS}
    if (isinstance(quantized.recipe, QAT) and quantized.recipe.placement == "paper") or not points:
        return
    names = model_inputs(quantized, task)
    if not all(point.seen for point in points.values()):
        with _watched(quantized, lambda name, values: points[name].observe(values) if name in points else None):
            for graph in _graphs(task):
                run_model(quantized, names, graph)
    ends = _Ends()
    with _watched(quantized, ends.note):
        for graph in _graphs(task):
            run_model(quantized, names, graph)
            try:
                run_model(quantized, names, _without_edges(graph))
            except Exception:  # the model is for graphs with edges
                continue
    for name in points.keys() & ends.found.keys():
        low, high = ends.found[name]
        _widen(points[name], low.view(1), high.view(1))


def _widen(point: QuantPoint, low: Tensor, high: Tensor) -> None:
    known_low, known_high = point.lo.clamp(max=0.0), point.hi.clamp(min=0.0)
    more = (_MOST - 1) * (known_high - known_low)
    point.lo = torch.minimum(point.lo, torch.maximum(low, known_low - more))
    point.hi = torch.maximum(point.hi, torch.minimum(high, known_high + more))
    point.freeze()


@contextmanager
def _watched(quantized: QuantModel, watch: Callable[[str, Tensor], None]) -> Iterator[None]:
    """Report the tensors that points are given, without rounding them."""
    training = quantized.training
    quantized.eval()
    quantized.step.watch = watch
    try:
        with torch.no_grad():
            yield
    finally:
        quantized.step.watch = None
        quantized.train(training)


def _graphs(task: Task) -> Iterator[Data]:
    """Batches of all that training and validation see."""
    both = [i for split in ("train", "val") for i in task.index[split].tolist()]
    if task.many:
        yield from batches([task.graphs[i] for i in both])
    elif task.of_links:
        yield pick_pairs(task.graphs[0], torch.tensor(both))
    else:
        yield task.graphs[0]


def _without_edges(graph: Data) -> Data:
    if isinstance(graph, TypedGraph):
        return graph.without_edges()
    alone = graph.clone()
    edges = graph.edge_index.shape[1]
    alone.edge_index = graph.edge_index[:, :0]
    for key in _per_edge(graph, edges):
        alone[key] = graph[key][:0]
    return alone


def _per_edge(graph: Data, edges: int) -> Sequence[str]:
    return [key for key, role in roles_of([graph]).items() if role == EDGE and len(graph[key]) == edges]
