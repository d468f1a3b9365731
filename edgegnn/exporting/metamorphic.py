"""Properties that a graph model has whatever its numbers are, and that its artifact has to keep (`export --thorough`).

    order of nodes      numbering the nodes otherwise numbers the answers otherwise
    order of edges      listing the edges otherwise changes nothing
    an isolated node    beside a graph whose nodes get answers changes none of the others
    a second graph      beside the first one changes none of the first one's answers
    edge weights        from half of them to all of them, the answer changes as the float model's does

They need no expected answer, so they hold an artifact to more than the samples do. Not every model has them: a norm
over all nodes, or an embedding by a node's number, breaks the first four. What the user's float model doesn't keep is
said, and not asked of the artifact.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from edgegnn.errors import ExportError, ParityError
from edgegnn.exporting.input_response import Run, check_follows
from edgegnn.exporting.samples import Sample
from edgegnn.runtime.roles import BATCH, GRAPH, size_of

__all__ = ["Held", "Kept", "Property", "properties"]

Array = npt.NDArray[Any]
_NODES, _EDGES, _ISOLATED, _SECOND = "order of nodes", "order of edges", "an isolated node", "a second graph"
_WEIGHTS = "edge weights"
_WEIGHT = "edge_weight"
_SAME = 1e-4  # of the largest output: rounding of sums that are added up in another order
# What an artifact does wrong where it doesn't keep a property.
_BROKEN = {
    _NODES: "numbering the nodes otherwise changes its answers",
    _EDGES: "listing the edges in another order changes its answers",
    _ISOLATED: "an isolated node more changes the answers of the others",
    _SECOND: "a second graph beside the first one changes the first one's answers",
}


@dataclass(frozen=True)
class Property:
    """A change of a graph, and where its answers are then.

    Attributes:
        name: as above.
        changed: the changed graph.
        rows: the rows of the changed graph's answers that belong to the original graph.
    """

    name: str
    changed: Sample
    rows: Array


@dataclass(frozen=True)
class Kept:
    """What was found of a property.

    Attributes:
        property: its name.
        told: "kept"; "the model fails" on the changed graph; "not the model's": the float model changes its answer
            itself; or "not the recipe's": it takes ranges from each input, so that they depend on all that is in it.
        model: how far the float model's answers move; None where it fails.
        artifact: how far the artifact's answers move; None where it isn't asked.
        limit: how far they may.
    """

    property: str
    told: str
    model: float | None = None
    artifact: float | None = None
    limit: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON-able values."""
        return asdict(self)


def properties(base: Sample, kind: str, seed: int = 0) -> list[Property]:
    """The properties that can be tried on a graph.

    Args:
        base: a graph, or a batch of graphs.
        kind: "node", "graph" or "link": what a row of the answers is.
        seed: of what is drawn.
    """
    random = np.random.default_rng(seed)
    nodes, edges = base.nodes, random.permutation(_edges(base))
    order = np.lexsort((random.random(nodes), base.graph_of))  # inside each graph: those of a batch follow each other
    same = np.arange(base.rows(kind))
    found = [
        Property(_NODES, _renumbered(base, order), np.argsort(order) if kind == "node" else same),
        Property(_EDGES, _shuffled(base, edges), np.argsort(edges) if kind == "edge" else same),
    ]
    if kind != "graph":
        found.append(Property(_ISOLATED, _beside(base, 1), same))
    if kind != "graph" or base.find(BATCH) is not None:
        found.append(Property(_SECOND, _beside(base, nodes), same))
    return found


def _edges(base: Sample) -> int:
    """How many edges `edge_index` has; with several types of nodes, all."""
    found = size_of(base.inputs, base.roles, "num_edges")
    return base.edge_index.shape[1] if found is None else found


def _renumbered(base: Sample, order: Array) -> Sample:
    """The graph with its nodes in another order: node order[i] comes to place i."""
    place = np.argsort(order)
    inputs = {
        name: place[value] if base.role(name).numbers_nodes else value
        for name, value in base.picked("num_nodes", order).items()
    }
    return _other(base, "nodes in another order", inputs)


def _shuffled(base: Sample, order: Array) -> Sample:
    return _other(base, "edges in another order", base.picked("num_edges", order))


def _beside(base: Sample, number: int) -> Sample:
    """The graph, and a second one behind it: its first node, or all of it, with twice the features of another node."""
    # Further lists of edges stay with the first graph.
    second = {"num_nodes": np.arange(number), "num_edges": np.arange(_edges(base) * (number == base.nodes))}
    batch = base.find(BATCH)
    inputs = dict(base.inputs)
    for name, value in base.inputs.items():
        role = base.role(name)
        if role.size not in second and role != GRAPH:
            continue
        more = np.roll(value, 1, axis=0) if role.axis == 0 and role.size == "num_nodes" and role != BATCH else value
        more = np.take(more, second.get(role.size, np.arange(len(value) * (batch is not None))), axis=role.axis)
        if role.numbers_nodes:
            more = more + base.nodes
        elif role == BATCH:
            more = more + value.max(initial=0) + 1
        elif role.size == "num_nodes":
            more = _times(more, 2.0)
        inputs[name] = np.concatenate([value, more], axis=role.axis)
    return _other(base, "an isolated node more" if number == 1 else "a second graph beside it", inputs)


def _other(base: Sample, name: str, inputs: dict[str, Array]) -> Sample:
    inputs = {key: np.ascontiguousarray(value) for key, value in inputs.items()}
    return replace(base, name=name, origin="synthetic", inputs=inputs, label=None, mask=None)


@dataclass(frozen=True)
class Held:
    """An artifact that is held to the properties of its float model.

    Attributes:
        kind: "node", "graph" or "link": what a row of the answers is.
        plain: the float model.
        run: the artifact.
        limit: how much further than the model's the artifact's answers may move.
        sway: how far rounding moves PyTorch's answers on a graph.
        own_ranges: the recipe takes ranges from each input.
        fixed: the artifact is for one graph with its own nodes.
    """

    kind: str
    plain: Callable[[Sample], Array]
    run: Run
    limit: Callable[[Array], float]
    sway: Callable[[Sample], float]
    own_ranges: bool = False
    fixed: bool = False

    def check(self, bases: Sequence[Sample]) -> list[Kept]:
        """Try every property on real graphs.

        Returns:
            What was found of each, on the graph where most was found.

        Raises:
            ExportError: the artifact doesn't keep one that the model keeps; the message says which.
        """
        found: dict[str, list[Kept]] = {}
        for seed, base in enumerate(bases):
            want, got = self.plain(base), self.run(base.inputs)
            for each in properties(base, self.kind, seed):
                if not self.fixed or each.name == _EDGES:
                    found.setdefault(each.name, []).append(self._try(base, each, want, got))
        return [max(several, key=_telling) for several in found.values()] + self._weights(bases)

    def _try(self, base: Sample, each: Property, want: Array, got: Array) -> Kept:
        try:
            moved = _apart(self.plain(each.changed)[each.rows], want)
        except ExportError:
            return Kept(each.name, "the model fails")
        if not moved <= _SAME * max(1.0, float(np.abs(want).max(initial=0.0))):
            return Kept(each.name, "not the model's", moved)
        error, limit = _apart(self.run(each.changed.inputs)[each.rows], got), self.limit(want)
        if not error <= limit:
            limit += self.sway(base) + self.sway(each.changed)
        if error <= limit:
            return Kept(each.name, "kept", moved, error, limit)
        if self.own_ranges and each.name in (_ISOLATED, _SECOND):
            return Kept(each.name, "not the recipe's", moved, error, limit)
        raise ExportError(
            f"the artifact doesn't keep a property of the model ({each.name}): {_BROKEN[each.name]} by {error:.3g} "
            f"(allowed {limit:.3g}; PyTorch's by {moved:.3g}) on the graph {base.name!r}"
        )

    def _weights(self, bases: Sequence[Sample]) -> list[Kept]:
        """From half of the edge weights to all of them: both lie in the ranges that the recipe has seen."""
        if any(_WEIGHT not in base.inputs for base in bases):
            return []
        halves = [replace(base, inputs={**base.inputs, _WEIGHT: _times(base.inputs[_WEIGHT], 0.5)}) for base in bases]

        def plain(inputs: dict[str, Array]) -> Array:
            return self.plain(replace(bases[0], inputs=inputs))

        try:
            (followed,) = check_follows(halves, {_WEIGHT: bases}, plain, self.run)
        except ParityError as error:
            raise ExportError(f"the artifact doesn't keep a property of the model ({_WEIGHTS}): {error}") from error
        told = "not the model's" if followed.told == "ignored" else "kept"
        return [Kept(_WEIGHTS, told, followed.change, followed.change * followed.ratio)]


def _times(value: Any, factor: float) -> Any:
    """Floats, multiplied."""
    return value * value.dtype.type(factor) if value.dtype.kind == "f" else value


def _telling(kept: Kept) -> tuple[bool, float]:
    """Sort key of findings: properties that are not kept first, then by how far the artifact's answers move."""
    return kept.told != "kept", kept.artifact or 0.0


def _apart(values: Array, others: Array) -> float:
    """The largest difference."""
    return float(np.abs(np.asarray(values, np.float64) - others).max(initial=0.0))
