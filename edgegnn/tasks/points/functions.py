"""The functions of torch_cluster that make graphs from points, by `edgegnn.tasks.points.operators`.

Names, arguments and results are torch_cluster's. Where its result depends on how it searches, it is settled here: of
points that are equally far the one with the lower number comes first, neighbours within a radius come by number, and
`fps` draws its first point only where gradients are recorded.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from edgegnn.tasks.notes import note
from edgegnn.tasks.points.operators import farthest_points, knn_edges, radius_edges

__all__ = ["fps", "knn", "knn_graph", "nearest", "radius", "radius_graph"]

_SAID = (
    "knn, radius and fps inside the model are edgegnn's own: of equally far points the one with the lower number comes "
    "first, and fps starts at the first point unless it trains"
)
_ALL = 2**31 - 1  # neighbours, where there is no limit


def knn(
    x: Tensor,
    y: Tensor,
    k: int,
    batch_x: Tensor | None = None,
    batch_y: Tensor | None = None,
    cosine: bool = False,
    num_workers: int = 1,
    batch_size: int | None = None,
) -> Tensor:
    """For each point of y the k nearest of x: int64 `[2, E]`, points of y in row 0, of x in row 1."""
    return _knn(x, y, k, batch_x, batch_y, cosine=cosine).flip([0])


def knn_graph(
    x: Tensor,
    k: int,
    batch: Tensor | None = None,
    loop: bool = False,
    flow: str = "source_to_target",
    cosine: bool = False,
    num_workers: int = 1,
    batch_size: int | None = None,
) -> Tensor:
    """Edges from the k nearest points of each point."""
    edges = _knn(x, x, k, batch, batch, cosine=cosine, loop=loop)
    return edges if flow == "source_to_target" else edges.flip([0])


def radius(
    x: Tensor,
    y: Tensor,
    r: float,
    batch_x: Tensor | None = None,
    batch_y: Tensor | None = None,
    max_num_neighbors: int | None = 32,
    num_workers: int = 1,
    batch_size: int | None = None,
    ignore_same_index: bool = False,
) -> Tensor:
    """For each point of y the points of x within a distance: int64 `[2, E]`, points of y in row 0, of x in row 1."""
    return _radius(x, y, r, batch_x, batch_y, max_num_neighbors, loop=not ignore_same_index).flip([0])


def radius_graph(
    x: Tensor,
    r: float,
    batch: Tensor | None = None,
    loop: bool = False,
    max_num_neighbors: int | None = 32,
    flow: str = "source_to_target",
    num_workers: int = 1,
    batch_size: int | None = None,
) -> Tensor:
    """Edges between points within a distance."""
    edges = _radius(x, x, r, batch, batch, max_num_neighbors, loop=loop)
    return edges if flow == "source_to_target" else edges.flip([0])


def nearest(x: Tensor, y: Tensor, batch_x: Tensor | None = None, batch_y: Tensor | None = None) -> Tensor:
    """The nearest point of y for each of x, int64 `[N]`; every graph has points of y."""
    return _knn(y, x, 1, batch_y, batch_x)[0]


def fps(
    src: Tensor,
    batch: Tensor | None = None,
    ratio: float | None = None,
    random_start: bool = True,
    batch_size: int | None = None,
    ptr: Tensor | None = None,
) -> Tensor:
    """Points of each graph that are far from each other: their numbers, int64 `[K]`."""
    note(_SAID)
    points = _points(src)
    graphs = _graphs(points, batch) if ptr is None else of_pointers(ptr, points)
    draw = random_start and torch.is_grad_enabled() and not torch.compiler.is_compiling()
    index = farthest_points(points, graphs, 0.5 if ratio is None else float(ratio), draw)
    return _several(index)


def of_pointers(ptr: Tensor, points: Tensor) -> Tensor:
    """Graph of each point, of which graph g has those from ptr[g] to ptr[g + 1]."""
    if ptr.shape[0] <= 2:
        return _graphs(points, None)
    numbers = torch.arange(points.shape[0], device=points.device)
    return (numbers.unsqueeze(1) >= ptr[1:-1]).sum(1)


def _knn(
    x: Tensor,
    y: Tensor,
    k: int,
    batch_x: Tensor | None,
    batch_y: Tensor | None,
    *,
    cosine: bool = False,
    loop: bool = True,
) -> Tensor:
    note(_SAID)
    x, y = _points(x, cosine=cosine), _points(y, cosine=cosine)
    return _several(knn_edges(x, y, _graphs(x, batch_x), _graphs(y, batch_y), int(k), bool(loop)))


def _radius(
    x: Tensor, y: Tensor, r: float, batch_x: Tensor | None, batch_y: Tensor | None, most: int | None, *, loop: bool
) -> Tensor:
    note(_SAID)
    x, y = _points(x), _points(y)
    limit = _ALL if most is None else min(int(most), _ALL)
    squared = float(torch.tensor(float(r) * float(r), dtype=torch.float32))
    return _several(radius_edges(x, y, _graphs(x, batch_x), _graphs(y, batch_y), squared, limit, bool(loop)))


def _points(x: Tensor, *, cosine: bool = False) -> Tensor:
    """Points as float32 `[N, D]`, without gradients; on the unit sphere those with small angles are near."""
    rows = x.detach().to(torch.float32)
    rows = rows.unsqueeze(1) if rows.dim() == 1 else rows.flatten(1)
    return F.normalize(rows, dim=1) if cosine else rows


def _graphs(x: Tensor, batch: Tensor | None) -> Tensor:
    return torch.zeros(x.shape[0], dtype=torch.int64, device=x.device) if batch is None else batch.long()


def _several(found: Tensor) -> Tensor:
    """Traced as several, like other sizes that only the data know: code that branches on none takes the long way."""
    size: Any = found.shape[-1]
    if not isinstance(size, int):
        torch._check(size >= 2)
    return found
