"""Graphs from points in plain numpy: what Knn, Radius and FarthestPoints of domain `ai.edgegnn` have to compute.

The squared distance of two points is the float32 sum of their squared differences, one coordinate after the other,
never above the largest finite float. Of points that are equally far the one with the lower number comes first.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["farthest_points", "knn", "radius"]

Array = npt.NDArray[Any]
_FARTHEST = np.finfo(np.float32).max


def squared_distances(x: Array, y: Array) -> Array:
    """Squared distances float32 `[M, N]` of the points y `[M, D]` to the points x `[N, D]`."""
    total = np.zeros((len(y), len(x)), np.float32)
    for a, b in zip(x.T, y.T, strict=True):
        difference = b[:, None] - a[None, :]
        total += difference * difference
    return np.minimum(total, _FARTHEST)


def _check_points(x: Array, batch: Array, name: str) -> None:
    if x.ndim != 2 or batch.shape != x.shape[:1]:
        raise ValueError(f"{name} must have the shape [N, D], and its batch [N]")
    if not np.isfinite(x).all():
        raise ValueError(f"{name} has NaN or infinity")
    if batch.size and (batch[0] < 0 or batch[-1] > np.iinfo(np.int32).max or (np.diff(batch) < 0).any()):
        raise ValueError("graphs must be numbered in rising order, from 0")


def _edges(
    x: Array, y: Array, batch_x: Array, batch_y: Array, loop: int, choose: Callable[[Array, Array], Array]
) -> tuple[Array]:
    """Edges from what `choose` picks of a graph's sources, for each query: given their distances and numbers."""
    _check_points(x, batch_x, "x")
    _check_points(y, batch_y, "y")
    if x.shape[1] != y.shape[1] or loop not in (0, 1):
        raise ValueError("x and y must have the same number of coordinates, and loop be 0 or 1")
    found: list[Array] = [np.zeros((2, 0), np.int64)]
    for graph in np.unique(batch_y):
        sources, queries = np.flatnonzero(batch_x == graph), np.flatnonzero(batch_y == graph)
        for query, distances in zip(queries, squared_distances(x[sources], y[queries]), strict=True):
            near = sources[choose(distances, sources == query)]
            found.append(np.stack([near, np.full_like(near, query)]))
    return (np.concatenate(found, axis=1).astype(np.int64),)


def knn(x: Array, y: Array, batch_x: Array, batch_y: Array, k: int, loop: int = 1) -> tuple[Array]:
    """The k nearest of the points x for each of y, from near to far.

    Args:
        x: sources, float32 `[N, D]`.
        y: queries, float32 `[M, D]`.
        batch_x: graph of each source, int64 `[N]`, in rising order.
        batch_y: graph of each query, int64 `[M]`, in rising order.
        k: neighbours of a query; fewer where its graph has fewer sources.
        loop: 0: of the k + 1 nearest sources the one with the query's own number is left out.

    Returns:
        Edges int64 `[2, E]`: sources in row 0, queries in row 1.
    """
    if k < 1:
        raise ValueError("k must be 1 or more")

    def choose(distances: Array, own: Array) -> Array:
        near = np.argsort(distances, kind="stable")[: k + 1 - loop]
        return near if loop else near[~own[near]]

    return _edges(x, y, batch_x, batch_y, loop, choose)


def radius(
    x: Array, y: Array, batch_x: Array, batch_y: Array, squared_radius: float, max_num_neighbors: int, loop: int = 1
) -> tuple[Array]:
    """The points x nearer than a radius to each of y: the first `max_num_neighbors` by number.

    Arguments and result as those of `knn`; with `loop` 0 a query doesn't get the source with its own number.
    """
    if not squared_radius >= 0 or max_num_neighbors < 1:
        raise ValueError("squared_radius must be 0 or more, max_num_neighbors 1 or more")

    def choose(distances: Array, own: Array) -> Array:
        near = distances < np.float32(squared_radius)
        return np.flatnonzero(near if loop else near & ~own)[:max_num_neighbors]

    return _edges(x, y, batch_x, batch_y, loop, choose)


def farthest_points(x: Array, batch: Array, ratio: float) -> tuple[Array]:
    """Points of each graph that are far from each other, float32 x `[N, D]`: their numbers, int64 `[K]`.

    The first is the graph's first point, the next always the one farthest from all before it. A graph of n points gives
    ceil(n * ratio) of them, the product rounded to float32.
    """
    _check_points(x, batch, "x")
    if not 0 < ratio <= 1:
        raise ValueError("ratio is outside (0, 1]")
    found: list[int] = []
    for graph in np.unique(batch):
        points = np.flatnonzero(batch == graph)
        least = np.full(len(points), np.inf, np.float32)
        at = 0
        for _ in range(int(np.ceil(np.float32(len(points)) * np.float32(ratio)))):
            found.append(int(points[at]))
            least = np.minimum(least, squared_distances(x[points], x[points[at : at + 1]])[0])
            at = int(least.argmax())
    return (np.array(found, np.int64),)
