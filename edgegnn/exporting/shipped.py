"""The graphs that an artifact ships to prove itself with: few enough to be copied to a device.

Of a task of many graphs, the first ones of the test split. Of a task of one graph the whole graph, and where that is
too large a part of it: some nodes (or pairs) of the test split with so much around them that the model gives them the
same answers as in the whole graph. How many hops that takes is tried out. Where no number of hops does, as with a norm
over all nodes, the part's answers are its own.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import nn
from torch.export import ExportedProgram

from edgegnn.errors import ExportError
from edgegnn.exporting.parity import torch_outputs
from edgegnn.exporting.samples import Sample
from edgegnn.exporting.subgraphs import around, neighbourhood, part_of
from edgegnn.manifest import SamplesTaken
from edgegnn.runtime.roles import EDGES, PAIRS, find_names

__all__ = ["Shipped", "choose", "fitting"]

Array = npt.NDArray[Any]
Model = nn.Module | ExportedProgram

# Enough for the metric on the device to mean something, small enough to copy to it.
MOST_SAMPLES = 256
MOST_BYTES = 8 * 2**20  # of the inputs, compressed
_LOOK = 2**22  # bytes of an array that are compressed to see how far it packs
_TRIED = 8  # nodes whose answers decide how many hops are enough
_MOST_HOPS = 8
_SAME = 1e-4  # of the largest output
_UNITS = {"node": "nodes", "edge": "edges", "link": "pairs"}


@dataclass(frozen=True)
class Shipped:
    """What was taken.

    Attributes:
        samples: the graphs.
        expected: PyTorch's outputs on them.
        unit: "graphs", "nodes", "edges" or "pairs" of the test split: what is counted.
        number: how many.
        of: how many there are.
        cut: the graph is a part of the one in the data.
        hops: how many hops around the nodes of a part give the answers of the whole graph; None where none do.
    """

    samples: list[Sample]
    expected: list[Array]
    unit: str
    number: int
    of: int
    cut: bool = False
    hops: int | None = None

    def described(self) -> SamplesTaken:
        """What the manifest says of it."""
        return SamplesTaken(unit=self.unit, number=self.number, of=self.of, cut=self.cut, hops=self.hops)


def choose(
    model: Model, many: bool, real: Sequence[Sample], expected: Sequence[Array], number: int | None, *, cut: bool
) -> Shipped:
    """The samples that an artifact ships.

    Args:
        model: what is exported.
        many: the parts of the split are of graphs, not of the rows of one graph.
        real: the test split: its graphs, or the one graph.
        expected: PyTorch's outputs on them.
        number: how many graphs, nodes or pairs, however large; None: as many as fit.
        cut: a part of a graph will do: the model is for graphs of any size.
    """
    if many:
        first = list(real[: number or MOST_SAMPLES])
        kept = first if number is not None else fitting(first) or first[:1]
        return Shipped(kept, list(expected[: len(kept)]), "graphs", len(kept), len(real))
    whole, unit = real[0], _UNITS[real[0].kind]
    rows = _rows(whole)
    enough = number >= len(rows) if number is not None else _packed(whole) <= MOST_BYTES
    if not enough and cut:
        with suppress(ExportError):  # a model that doesn't run on a part, of too few edges say
            part, hops = _part(model, whole, expected[0], np.random.default_rng(0).permutation(rows), number)
            return Shipped([part], torch_outputs(model, [part]), unit, len(_rows(part)), len(rows), True, hops)
    return Shipped([whole], list(expected[:1]), unit, len(rows), len(rows))


def _part(model: Model, whole: Sample, want: Array, rows: Array, number: int | None) -> tuple[Sample, int | None]:
    """A part of a graph around some rows, and how many hops around them it has; None for answers of its own."""
    near = _hops(model, whole, want, rows[:_TRIED])
    if near is not None:
        for count in _halves(number or MOST_SAMPLES):
            part = _around_rows(whole, rows[:count], *near)
            if number is not None or _packed(part) <= MOST_BYTES:
                return part, near[0]
    return _nearest(whole, rows, number or len(rows)), None


def fitting(samples: Sequence[Sample], taken: Sequence[Sample] = ()) -> list[Sample]:
    """The first samples that fit beside those that are taken."""
    kept: list[Sample] = []
    total = sum(map(_packed, taken))
    for sample in samples:
        total += _packed(sample)
        if total > MOST_BYTES:
            break
        kept.append(sample)
    return kept


def _packed(sample: Sample) -> float:
    """About how many bytes the inputs take when they are compressed."""
    return sum(map(_packed_array, sample.inputs.values()))


def _packed_array(value: Array) -> float:
    flat = value.reshape(-1)
    size = _LOOK // value.itemsize
    start = max(0, (len(flat) - size) // 2)
    look = flat[start : start + size]
    return len(zlib.compress(look.tobytes(), 1)) * len(flat) / max(len(look), 1)


def _rows(whole: Sample) -> Array:
    """The rows of the outputs that the test split is about."""
    if whole.mask is not None:
        return np.flatnonzero(whole.mask)
    return np.arange(whole.rows(whole.kind))


def _halves(number: int) -> Iterator[int]:
    while number:
        yield number
        number //= 2


def _hops(model: Model, whole: Sample, want: Array, rows: Array) -> tuple[int, bool] | None:
    """The hops around rows that give the whole graph's answers, and whether they are against the edges only.

    None where no number does, short of the whole graph.
    """
    allowed = _SAME * max(1.0, float(np.abs(want).max(initial=0.0)))
    nodes = whole.nodes
    for both in (False, True):
        for hops in range(1, _MOST_HOPS + 1):
            part = _around_rows(whole, rows, hops, both)
            if part.nodes == nodes:
                break
            with suppress(ExportError):
                (got,) = torch_outputs(model, [part])
                if np.abs(got[_rows(part)] - want[np.sort(rows)]).max() <= allowed:
                    return hops, both
    return None


def _around_rows(whole: Sample, rows: Array, hops: int, both: bool) -> Sample:
    """The rows in the order of the whole graph, and what is around their nodes."""
    chosen, pairs = np.sort(rows), whole.find(PAIRS)
    if pairs is not None:
        label = None if whole.label is None else whole.label[chosen]
        whole = replace(whole, inputs=whole.picked("num_links", chosen), label=label)
        centres = np.unique(whole.inputs[pairs])
    else:
        mask = np.zeros(whole.rows(whole.kind), bool)
        mask[chosen] = True
        whole, centres = replace(whole, mask=mask), _nodes_of(whole, chosen)
    return _named(whole, around(whole.edge_index, whole.numbered, centres, hops, both=both))


def _nodes_of(whole: Sample, rows: Array) -> Array:
    """The nodes whose surroundings decide the answers of some rows: the nodes themselves, or the ends of the edges."""
    if whole.kind == "edge":
        own = [
            n for n in find_names(whole.inputs, whole.roles, EDGES) if not whole.of or whole.role(n).size == whole.of
        ]
        first, starts = own[0], whole.starts
        ends = [starts.get(end, 0) for end in whole.role(first).ends]
        return np.unique(whole.inputs[first][:, rows] + np.array([[ends[0]], [ends[1]]], np.int64))
    return rows + whole.starts.get(whole.of, 0)


def _nearest(whole: Sample, rows: Array, number: int) -> Sample:
    """A part that fits, around the first row, with at most so many rows of the test split."""
    pairs = whole.find(PAIRS)
    ends = whole.inputs[pairs][:, rows[0]] if pairs is not None else _nodes_of(whole, rows[:1])
    size = max(2, int(whole.nodes * min(1.0, MOST_BYTES / _packed(whole))))
    chosen = np.union1d(neighbourhood(whole.edge_index, whole.numbered, int(ends[0]), size), ends)
    part = _named(whole, chosen)
    if part.mask is None:
        return part
    mask = np.zeros(len(part.mask), bool)
    mask[_rows(part)[:number]] = True
    return replace(part, mask=mask)


def _named(whole: Sample, nodes: Array) -> Sample:
    return part_of(whole, nodes, f"{whole.name}, {len(nodes)} of {whole.nodes} nodes")
