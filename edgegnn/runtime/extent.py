"""How large graphs are: what a range guard without tensors to look at compares."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edgegnn.errors import ArtifactError
from edgegnn.runtime.roles import BATCH, EDGES, Role, find_names, number_of_nodes

__all__ = ["Extent", "beyond_extent", "extent_of", "parse_extent"]

Array = npt.NDArray[Any]
_TIMES = 2.0  # what was seen: sums that are twice as large leave most ranges


@dataclass(frozen=True)
class Extent:
    """The largest of each over some graphs.

    Attributes:
        nodes: of one graph.
        degree: edges that end in one node, or begin there.
        values: name of a float input -> its largest magnitude.
    """

    nodes: int
    degree: int
    values: Mapping[str, float]


def extent_of(inputs: Mapping[str, Array], roles: Mapping[str, Role] | None = None) -> Extent:
    """The extent of one graph, or of a batch of graphs.

    Args:
        inputs: of a model, checked.
        roles: what the inputs belong to; the usual ones of their names where that isn't given.
    """
    known = roles or {}
    batches, edges = ([inputs[name] for name in find_names(inputs, known, role)] for role in (BATCH, EDGES))
    nodes = sum(map(_most, batches)) if batches else number_of_nodes(inputs, known)
    degree = max((_most(ends) for relation in edges for ends in relation), default=0)
    floats = {name: value for name, value in inputs.items() if value.dtype.kind == "f"}
    return Extent(nodes, degree, {name: float(np.abs(value).max(initial=0.0)) for name, value in floats.items()})


def _most(numbers: Array) -> int:
    return int(np.bincount(numbers).max()) if numbers.size else 0


def beyond_extent(known: Extent, found: Extent) -> str:
    """The warning about a graph twice as large as any that was seen; "" for other graphs."""
    pairs = [
        ("nodes", float(found.nodes), float(known.nodes)),
        ("edges at a node", float(found.degree), float(known.degree)),
        *((f"in {name}", value, known.values.get(name, value)) for name, value in found.values.items()),
    ]
    over = [(what, value, most) for what, value, most in pairs if value > _TIMES * most]
    if not over:
        return ""
    what, value, most = max(over, key=lambda entry: entry[1] / max(entry[2], 1e-30))
    return (
        f"the graph is beyond what was calibrated on: {value:g} {what}, {most:g} at most in calibration: answers may "
        "be clipped"
    )


def parse_extent(raw: Mapping[str, Any]) -> Extent | None:
    """The extent of calibration's graphs that a manifest gives; None in one without.

    Raises:
        ArtifactError: it is not what it should be.
    """
    entry = raw.get("extent")
    if entry is None:
        return None
    known: dict[str, Any] = entry if isinstance(entry, dict) else {}
    nodes, degree, values = known.get("nodes"), known.get("degree"), known.get("values")
    sizes = [size for size in (nodes, degree) if type(size) is int and size >= 0]
    numbers: list[Any] = list(values.values()) if isinstance(values, dict) else [None]
    if len(sizes) != 2 or not all(type(v) in (int, float) and 0 <= v < 1e39 for v in numbers):
        raise ArtifactError("manifest.json: extent is no size of graphs: export the artifact again")
    return Extent(sizes[0], sizes[1], {name: float(value) for name, value in (values or {}).items()})
