"""What a graph of the data lacks before the model can take it, as far as it isn't part of the model itself.

step            what it makes
degree          x [N, 1]: the in-degree of each node, less `mean`, by `std`; for data without features
row-normalise   x: each row of `raw_x` by its sum, or by 1 where that is less
one-hot         x: a column for each category 0, 1, ... of each column of `raw_x`
random-walk     an encoding of each node's place, of the edges (`edgegnn.runtime.encodings`), with `size` columns;
laplacian       as x: these columns behind those of `raw_x`, where the graph has any

A step is done where its input isn't given.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edgegnn.errors import ArtifactError, DataError
from edgegnn.runtime.encodings import of_each_graph

__all__ = ["RAW", "Step", "parse_steps", "prepare"]

Array = npt.NDArray[Any]
RAW = "raw_x"  # the features as the data have them
COUNT = "num_nodes"  # may be given beside a graph without features
_MOST = 2**24  # nodes that edges alone may claim
_WIDEST = 1024  # columns of an encoding


@dataclass(frozen=True)
class Step:
    """One step.

    Attributes:
        kind: "degree", "row-normalise", "one-hot", "random-walk" or "laplacian".
        input: the input that it makes.
        mean: of "degree".
        std: of "degree".
        sizes: of "one-hot", how many categories each column has.
        size: of the last two, how many columns they make.
    """

    kind: str
    input: str
    mean: float = 0.0
    std: float = 1.0
    sizes: tuple[int, ...] = ()
    size: int = 0


def parse_steps(raw: Mapping[str, Any]) -> tuple[Step, ...]:
    """The steps that a manifest lists; () in one that lists none.

    Raises:
        ArtifactError: they are not what they should be.
    """
    entry = raw.get("preprocessing") or {}
    listed = entry.get("before", []) if isinstance(entry, dict) else None
    if not isinstance(listed, list) or not all(_is_step(step) for step in listed):
        raise ArtifactError("manifest.json: preprocessing has steps that this edgegnn doesn't know: use a newer one")
    return tuple(Step(**{**step, "sizes": tuple(step.get("sizes", ()))}) for step in listed)


def _is_step(step: Any) -> bool:
    if not isinstance(step, dict) or step.get("kind") not in _STEPS or not isinstance(step.get("input"), str):
        return False
    numbers = [step.get("mean", 0.0), step.get("std", 1.0)]
    sizes, size = step.get("sizes", []), step.get("size", 0)
    good = all(type(n) in (int, float) and abs(n) < 1e30 and math.isfinite(n) for n in numbers) and numbers[1] > 0
    whole = isinstance(sizes, list) and all(type(n) is int and 0 < n < 2**16 for n in sizes) and len(sizes) < 2**16
    known = set(step) <= {"kind", "input", "mean", "std", "sizes", "size"}
    return good and whole and known and type(size) is int and 0 <= size <= _WIDEST


def prepare(steps: Sequence[Step], inputs: Mapping[str, Any]) -> dict[str, Any]:
    """The inputs of a model, with what the steps make of a graph of the data.

    Args:
        steps: those of the manifest.
        inputs: name -> array. For "degree": without x, with `edge_index` and, where the last nodes have no edges,
            `num_nodes` or `batch`. For the others: `raw_x` in place of x.

    Raises:
        DataError: what a step needs is missing or of a wrong shape.
    """
    found = dict(inputs)
    for step in steps:
        if step.input not in found:
            made = _STEPS[step.kind](step, found)
            if made is not None:
                found[step.input] = made
    used = {RAW, COUNT} if steps else set()
    return {name: value for name, value in found.items() if name not in used}


def _degree(step: Step, inputs: Mapping[str, Any]) -> Array | None:
    if "edge_index" not in inputs:
        return None
    edges, nodes = _edges(inputs)
    degree = np.bincount(edges[1], minlength=nodes).astype(np.float64)
    return ((degree - step.mean) / step.std).astype(np.float32).reshape(-1, 1)


def _encoding(step: Step, inputs: Mapping[str, Any]) -> Array | None:
    if "edge_index" not in inputs:
        return None
    before = _matrix(inputs) if step.input == "x" else None
    edges, nodes = _edges(inputs, len(before) if before is not None else len(inputs["x"]) if "x" in inputs else 0)
    batch = np.asarray(inputs.get("batch", np.zeros(nodes, np.int64)))
    if batch.shape != (nodes,) or batch.dtype.kind not in "iu" or np.any(np.diff(batch) < 0) or np.any(batch < 0):
        raise DataError(f"batch must be the number of the graph of each of {nodes} nodes, in ascending order")
    made = of_each_graph(step.kind, edges, batch, step.size)
    return made if before is None else np.concatenate([before.astype(np.float32), made], axis=1)


def _edges(inputs: Mapping[str, Any], rows: int = 0) -> tuple[Array, int]:
    """The edges [2, E], and how many nodes there are: `rows` of features, or what else the graph says."""
    edges = np.asarray(inputs["edge_index"])
    if edges.ndim != 2 or len(edges) != 2 or edges.dtype.kind not in "iu":
        raise DataError(f"edge_index has the shape {list(edges.shape)}, the model takes whole numbers [2, num_edges]")
    if edges.size and (int(edges.min()) < 0 or int(edges.max()) >= _MOST):
        raise DataError(f"edge_index names node {int(edges.min())} or {int(edges.max())}: nodes are numbered from 0")
    given = np.asarray(inputs.get(COUNT, len(np.atleast_1d(inputs["batch"])) if "batch" in inputs else 0))
    if given.size != 1 or given.dtype.kind not in "iu":
        raise DataError(f"{COUNT} must be one whole number")
    largest = int(edges.max(initial=-1)) + 1
    if rows and largest > rows:
        raise DataError(f"edge_index names node {largest - 1}, the graph has nodes 0 to {rows - 1}")
    return edges, rows or max(int(given.reshape(-1)[0]), largest)


def _matrix(inputs: Mapping[str, Any]) -> Array | None:
    if RAW not in inputs:
        return None
    x = np.asarray(inputs[RAW])
    if x.ndim != 2 or x.dtype.kind not in "biuf":
        raise DataError(
            f"{RAW} has the shape {list(x.shape)}, the features of the data are numbers [num_nodes, columns]"
        )
    return x


def _row_normalise(step: Step, inputs: Mapping[str, Any]) -> Array | None:
    x = _matrix(inputs)
    if x is None:
        return None
    x = x.astype(np.float32)
    made: Array = x / np.maximum(x.sum(axis=1, keepdims=True), np.float32(1))
    return made


def _one_hot(step: Step, inputs: Mapping[str, Any]) -> Array | None:
    x = _matrix(inputs)
    if x is None:
        return None
    if x.shape[1] != len(step.sizes):
        raise DataError(f"{RAW} has {x.shape[1]} columns, the model takes {len(step.sizes)}")
    columns = [x[:, i : i + 1] == np.arange(size) for i, size in enumerate(step.sizes)]
    return np.concatenate(columns, axis=1).astype(np.float32)


_STEPS: Mapping[str, Callable[[Step, Mapping[str, Any]], Array | None]] = {
    "degree": _degree,
    "row-normalise": _row_normalise,
    "one-hot": _one_hot,
    "random-walk": _encoding,
    "laplacian": _encoding,
}
