"""edgegnn's own graphs from points in the place of torch_cluster's and pyg-lib's, while a model runs.

What is replaced, so that it doesn't matter by which name a model has a function, or whether a library is installed:

    torch.ops.pyg         knn, radius, fps, nearest: what PyTorch Geometric's functions and layers call since 2.8
    torch_cluster         its functions, where a module holds them; the whole package where it isn't installed
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from types import ModuleType
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor

from edgegnn.tasks.points import functions
from edgegnn.tasks.points.functions import of_pointers

__all__ = ["point_graphs"]

_CLUSTER = "torch_cluster"
_FLAGS = ("WITH_KNN", "WITH_RADIUS", "WITH_FPS", "WITH_NEAREST")
# Modules of PyTorch Geometric that turn `batch` into pointers for pyg-lib's operators, and for nothing else.
_POINTERS = ("pool", "conv.edge_conv", "conv.gravnet_conv", "conv.x_conv")
_active = False


@contextmanager
def point_graphs() -> Iterator[None]:
    """Replace them; inside another such context nothing happens."""
    global _active
    if _active:
        yield
        return
    with ExitStack() as stack:
        _replace_pyg(stack)
        _replace_torch_cluster(stack)
        _active = True
        try:
            yield
        finally:
            _active = False


def _replace_pyg(stack: ExitStack) -> None:
    import torch_geometric.nn
    import torch_geometric.typing

    for name in _FLAGS:
        stack.enter_context(patch.object(torch_geometric.typing, name, True, create=True))
    for name, operator in _OPERATORS.items():
        stack.enter_context(patch.object(torch.ops.pyg, name, operator, create=True))
    for name in _POINTERS:
        module = importlib.import_module(f"torch_geometric.nn.{name}")
        if hasattr(module, "index2ptr"):
            stack.enter_context(patch.object(module, "index2ptr", _Graphs))
        if hasattr(module, _CLUSTER):  # before 2.8
            stack.enter_context(patch.object(module, _CLUSTER, functions))


def _replace_torch_cluster(stack: ExitStack) -> None:
    package = sys.modules.get(_CLUSTER)
    if package is None:
        if importlib.util.find_spec(_CLUSTER) is None:
            sys.modules[_CLUSTER] = functions
            stack.callback(sys.modules.pop, _CLUSTER, None)
        return
    own = {id(vars(package)[name]): name for name in functions.__all__ if name in vars(package)}
    for module in list(sys.modules.values()):
        if not isinstance(module, ModuleType) or module is functions:
            continue
        for name, value in list(vars(module).items()):
            if id(value) in own:
                stack.enter_context(patch.object(module, name, getattr(functions, own[id(value)])))


class _Graphs:
    """The graph of each point, in the place of pointers to the first point of each graph."""

    def __init__(self, batch: Tensor, size: Any = None) -> None:
        self.batch = batch


def _batch(pointers: Tensor | _Graphs | None, points: Tensor) -> Tensor | None:
    if isinstance(pointers, _Graphs):
        return pointers.batch
    return None if pointers is None else of_pointers(pointers, points)


def _knn(x: Tensor, y: Tensor, ptr_x: Any, ptr_y: Any, k: int, cosine: bool = False, num_workers: int = 1) -> Tensor:
    return functions.knn(x, y, k, _batch(ptr_x, x), _batch(ptr_y, y), cosine)


def _radius(
    x: Tensor,
    y: Tensor,
    ptr_x: Any,
    ptr_y: Any,
    r: float,
    max_num_neighbors: int = 32,
    num_workers: int = 1,
    ignore_same_index: bool = False,
) -> Tensor:
    graphs = _batch(ptr_x, x), _batch(ptr_y, y)
    return functions.radius(x, y, r, *graphs, max_num_neighbors, ignore_same_index=ignore_same_index)


def _fps(src: Tensor, ptr: Any, ratio: float = 0.5, random_start: bool = True) -> Tensor:
    return functions.fps(src, _batch(ptr, src), ratio, random_start)


def _nearest(x: Tensor, y: Tensor, ptr_x: Any = None, ptr_y: Any = None) -> Tensor:
    return functions.nearest(x, y, _batch(ptr_x, x), _batch(ptr_y, y))


_OPERATORS: dict[str, Callable[..., Tensor]] = {"knn": _knn, "radius": _radius, "fps": _fps, "nearest": _nearest}
