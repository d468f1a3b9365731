"""Knn, Radius and FarthestPoints in PyTorch: what `ai.edgegnn`'s operators of these names compute, to the bit.

The squared distance of two points is the float32 sum of their squared differences, one coordinate after the other,
never above the largest finite float. Of points that are equally far the one with the lower number comes first. Tracing
keeps each call whole, with a number of edges that only the data know.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch import Tensor

__all__ = ["farthest_points", "knn_edges", "nearest", "radius_edges", "within"]

_FARTHEST = torch.finfo(torch.float32).max
_BLOCK = 256  # queries looked at once


@torch.library.custom_op("edgegnn::knn", mutates_args=())
def knn_edges(x: Tensor, y: Tensor, batch_x: Tensor, batch_y: Tensor, k: int, loop: bool) -> Tensor:
    """The k nearest of the points x for each of y, from near to far.

    Args:
        x: sources, float32 `[N, D]`.
        y: queries, float32 `[M, D]`.
        batch_x: graph of each source, int64 `[N]`, in rising order.
        batch_y: graph of each query, int64 `[M]`, in rising order.
        k: neighbours of a query; fewer where its graph has fewer sources.
        loop: False: of the k + 1 nearest sources the one with the query's own number is left out.

    Returns:
        Edges int64 `[2, E]`: sources in row 0, queries in row 1.

    Raises:
        ValueError: a point with NaN or infinity, or graphs out of order.
    """
    return _by_block(x, y, batch_x, batch_y, partial(nearest, k=k, loop=loop))


@torch.library.custom_op("edgegnn::radius", mutates_args=())
def radius_edges(
    x: Tensor, y: Tensor, batch_x: Tensor, batch_y: Tensor, squared_radius: float, most: int, loop: bool
) -> Tensor:
    """The points x nearer than a radius to each of y: the first `most` by number; else as `knn_edges`."""
    return _by_block(x, y, batch_x, batch_y, partial(within, squared_radius=squared_radius, most=most, loop=loop))


@knn_edges.register_fake
def _(x: Tensor, y: Tensor, batch_x: Tensor, batch_y: Tensor, k: int, loop: bool) -> Tensor:
    return batch_x.new_empty(2, torch.library.get_ctx().new_dynamic_size())


@radius_edges.register_fake
def _(x: Tensor, y: Tensor, batch_x: Tensor, batch_y: Tensor, squared_radius: float, most: int, loop: bool) -> Tensor:
    return batch_x.new_empty(2, torch.library.get_ctx().new_dynamic_size())


@torch.library.custom_op("edgegnn::farthest_points", mutates_args=())
def farthest_points(x: Tensor, batch: Tensor, ratio: float, random_start: bool) -> Tensor:
    """Points of each graph that are far from each other, float32 x `[N, D]`: their numbers, int64 `[K]`.

    The first is the graph's first point, or one drawn with `random_start`; the next is always the one farthest from
    all before it. A graph of n points gives ceil(n * ratio) of them, the product rounded to float32.

    Raises:
        ValueError: as `knn_edges`.
    """
    _check_points(x, batch)
    found = [batch.new_zeros(0)]
    for begin, end in _runs(batch):
        own, count = x[begin:end], int(torch.ceil(torch.tensor(end - begin, dtype=torch.float32) * ratio))
        at = int(torch.randint(end - begin, ())) if random_start else 0
        least, picked = torch.full((end - begin,), torch.inf), []
        for _ in range(count):
            picked.append(begin + at)
            least = torch.minimum(least, squared_distances(own, own[at : at + 1])[0])
            at = int((least == least.max()).nonzero()[0])
        found.append(batch.new_tensor(picked))
    return torch.cat(found)


@farthest_points.register_fake
def _(x: Tensor, batch: Tensor, ratio: float, random_start: bool) -> Tensor:
    return batch.new_empty(torch.library.get_ctx().new_dynamic_size())


def squared_distances(x: Tensor, y: Tensor) -> Tensor:
    """Squared distances float32 `[M, N]` of the points y `[M, D]` to the points x `[N, D]`."""
    total = x.new_zeros(y.shape[0], x.shape[0])
    for a, b in zip(x.unbind(1), y.unbind(1), strict=True):
        difference = b.unsqueeze(1) - a
        total = total + difference * difference
    return total.clamp(max=_FARTHEST)


def nearest(x: Tensor, y: Tensor, same: Tensor, from_x: Tensor, from_y: Tensor, k: int, loop: bool) -> Tensor:
    """Edges from the k nearest of some sources, of those pairs that `same` `[M, N]` allows.

    Args:
        x: sources.
        y: queries.
        same: which pairs are of one graph.
        from_x: number of each source.
        from_y: number of each query.
        k: as `knn_edges`.
        loop: as `knn_edges`.
    """
    near = squared_distances(x, y).masked_fill(~same, torch.inf)
    # As bits a distance is ordered as it is as a number: with the place behind it no two keys are equal.
    keys = (near.view(torch.int32).long() << 32) | torch.arange(x.shape[0], device=x.device)
    count = torch.sym_min(k if loop else k + 1, x.shape[0])
    at = keys.topk(count, dim=1, largest=False).indices
    sources, queries = from_x[at], from_y.unsqueeze(1).expand_as(at)
    good = near.gather(1, at) < torch.inf
    good = good if loop else good & (sources != queries)
    return torch.stack([sources[good], queries[good]])


def within(
    x: Tensor, y: Tensor, same: Tensor, from_x: Tensor, from_y: Tensor, squared_radius: float, most: int, loop: bool
) -> Tensor:
    """Edges from the first `most` sources within a radius; else as `nearest`."""
    good = (squared_distances(x, y) < squared_radius) & same
    good = good if loop else good & (from_x != from_y.unsqueeze(1))
    good = good & (good.long().cumsum(1) <= most)
    queries, sources = good.nonzero(as_tuple=True)
    return torch.stack([from_x[sources], from_y[queries]])


def _by_block(x: Tensor, y: Tensor, batch_x: Tensor, batch_y: Tensor, choose: Callable[..., Tensor]) -> Tensor:
    """Edges of all queries, a block at a time, each with the sources of its graphs only."""
    _check_points(x, batch_x)
    _check_points(y, batch_y)
    found = [batch_x.new_zeros(2, 0)]
    for begin in range(0, y.shape[0], _BLOCK):
        rows = slice(begin, begin + _BLOCK)
        graphs = batch_y[rows]
        first, last = (torch.searchsorted(batch_x, g, side=s) for g, s in ((graphs[0], "left"), (graphs[-1], "right")))
        columns = slice(int(first), int(last))
        same = graphs.unsqueeze(1) == batch_x[columns]
        numbers = torch.arange(x.shape[0], device=x.device)[columns], torch.arange(y.shape[0], device=x.device)[rows]
        found.append(choose(x[columns], y[rows], same, *numbers))
    return torch.cat(found, dim=1)


def _check_points(x: Tensor, batch: Tensor) -> None:
    if not bool(torch.isfinite(x).all()):
        raise ValueError("a point that neighbours are looked for has NaN or infinity")
    if x.dim() != 2 or batch.shape != x.shape[:1] or bool((batch.diff() < 0).any()) or bool((batch[:1] < 0).any()):
        raise ValueError("batch must number the graph of each point, in rising order from 0")


def _runs(batch: Tensor) -> Iterator[tuple[int, int]]:
    """First point of each graph, and the one behind its last."""
    at = 0
    for count in batch.unique_consecutive(return_counts=True)[1].tolist():
        yield at, at + count
        at += count
