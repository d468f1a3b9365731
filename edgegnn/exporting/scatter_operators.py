"""The operators of torch_scatter, which torch.export can't look into, by PyTorch's own; and what ONNX lacks.

torch_scatter's functions are Python around a few compiled operators. While tracing, these are replaced where the
functions look for them, so that it doesn't matter by which name a model has imported a function.

`scatter_reduce` has no mean in ONNX, and `index_reduce` isn't there: they become sums, counts and `scatter_reduce`.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor

__all__ = ["reducing_call", "torch_scatter_operators"]

_REDUCTIONS = {"sum": "sum", "mul": "prod", "mean": "sum", "min": "amin", "max": "amax"}


def reducing_call(name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Tensor | None:
    """What stands in the place of a call of `scatter_reduce` or `index_reduce`; None for what ONNX has.

    Args:
        name: of the function; with "_" behind it, the first argument is changed in place.
        args: by position.
        kwargs: by name.
    """
    plain = name.removesuffix("_")
    if plain == "index_put":
        return _added_at(name, *args, **kwargs)
    if name in ("searchsorted", "bucketize"):
        return _places(name, *args, **kwargs)
    if plain not in ("scatter_reduce", "index_reduce"):
        return None
    given = dict(zip(("input", "dim", "index", "src", "reduce"), args, strict=False)) | dict(kwargs)
    start, dim, index, reduce = given["input"], given["dim"], given["index"], given["reduce"]
    src = given["src"] if "src" in given else given["source"]
    own = given.get("include_self", True)
    if not start.is_floating_point() or (reduce != "mean" and plain == "scatter_reduce"):
        return None
    if plain == "index_reduce":
        index = _spread(index, src, dim % src.dim())
    if reduce == "mean":
        count = torch.zeros_like(start).scatter_add(dim, index, torch.ones_like(src))
        if own:
            result = start.scatter_add(dim, index, src) / (count + 1)
        else:
            mean = torch.zeros_like(start).scatter_add(dim, index, src) / count.clamp(min=1)
            result = torch.where(count > 0, mean, start)
    else:
        result = start.scatter_reduce(dim, index, src, reduce, include_self=own)
    changed: Tensor = start.copy_(result) if name.endswith("_") else result
    return changed


def _places(name: str, first: Tensor, second: Any, *, right: bool = False, **options: Any) -> Tensor | None:
    """`searchsorted` and `bucketize` by one sort of both: how many of the sorted numbers come before each value."""
    bounds, values = (first, second) if name == "searchsorted" else (second, first)
    asked = any(value not in (None, False) for value in options.values())
    if asked or not isinstance(values, Tensor) or bounds.dim() != 1 or bounds.dtype != values.dtype:
        return None
    flat, count = values.reshape(-1), bounds.shape[0]
    # The sort is stable: of equal numbers, those that are put first come first.
    both, bound = torch.cat([bounds, flat] if right else [flat, bounds]), (0 if right else flat.shape[0])
    order = both.sort(stable=True).indices
    of_bounds = ((order >= bound) & (order < bound + count)).to(torch.int64)
    before = torch.zeros_like(order).scatter(0, order, of_bounds.cumsum(0))
    return (before[count:] if right else before[: flat.shape[0]]).reshape(values.shape)


def _added_at(
    name: str, start: Tensor, indices: Sequence[Any], values: Tensor, accumulate: bool = False
) -> Tensor | None:
    """`index_put` that adds up, at places that vectors of numbers give: ONNX Runtime's ScatterND adds wrongly."""
    vectors = [i for i in indices if isinstance(i, Tensor) and i.dtype == torch.int64 and i.dim() == 1]
    if not accumulate or len(vectors) < len(indices) or any(i.shape[0] != vectors[0].shape[0] for i in vectors):
        return None
    place = vectors[0]
    for axis, index in enumerate(vectors[1:], 1):
        place = place * start.shape[axis] + index
    rest = start.shape[len(vectors) :]
    rows = start.flatten(0, len(vectors) - 1) if len(vectors) > 1 else start
    result = rows.index_add(0, place, values.to(start.dtype).expand(place.shape[0], *rest)).view(start.shape)
    changed: Tensor = start.copy_(result) if name.endswith("_") else result
    return changed


@contextmanager
def torch_scatter_operators() -> Iterator[None]:
    """Replace the operators of torch_scatter, where a model has imported it."""
    with ExitStack() as stack:
        if "torch_scatter" in sys.modules:
            for name, operator in _operators().items():
                stack.enter_context(patch.object(torch.ops.torch_scatter, name, operator, create=True))
        yield


def _operators() -> dict[str, Any]:
    found: dict[str, Any] = {"gather_csr": _gather_csr, "gather_coo": _gather_coo}
    for reduce in _REDUCTIONS:
        found[f"scatter_{reduce}"] = _Scatter(reduce)
        found[f"segment_{reduce}_csr"] = _SegmentCsr(reduce)
        found[f"segment_{reduce}_coo"] = _SegmentCoo(reduce)
    return found


class _Scatter:
    """`torch_scatter::scatter_<reduce>`; of "min" and "max" also the positions in src, its size where there is none."""

    def __init__(self, reduce: str) -> None:
        self.reduce = reduce

    def __call__(
        self, src: Tensor, index: Tensor, dim: int = -1, out: Tensor | None = None, dim_size: int | None = None
    ) -> Any:
        dim = dim % src.dim()
        places = _spread(index, src, dim)
        if out is None:
            size = index.max().item() + 1 if dim_size is None else dim_size
            shape = [*src.shape[:dim], size, *src.shape[dim + 1 :]]
            start = src.new_ones(shape) if self.reduce == "mul" else src.new_zeros(shape)
        else:
            start = out
        own = out is not None or self.reduce == "mul"
        if self.reduce in ("sum", "mean"):
            result = start.scatter_add(dim, places, src)
        else:
            result = start.scatter_reduce(dim, places, src, _REDUCTIONS[self.reduce], include_self=own)
        if self.reduce == "mean":
            count = torch.zeros_like(result).scatter_add(dim, places, torch.ones_like(src)).clamp(min=1)
            result = result / count if src.is_floating_point() else result.div(count, rounding_mode="floor")
        if out is not None:
            result = out.copy_(result)
        return (result, _positions(src, places, dim, result)) if self.reduce in ("min", "max") else result


def _spread(index: Tensor, src: Tensor, dim: int) -> Tensor:
    """The index in the shape of src: a vector lies along `dim`."""
    if index.dim() == 1:
        index = index.view(*([1] * dim), -1)
    return index.view(*index.shape, *([1] * (src.dim() - index.dim()))).expand_as(src)


def _positions(src: Tensor, places: Tensor, dim: int, best: Tensor) -> Tensor:
    """Where along `dim` the first of the values is that became `best`."""
    none = src.shape[dim]
    own = _spread(torch.arange(none, device=src.device), src, dim)
    own = torch.where(src == best.gather(dim, places), own, none)
    return torch.full_like(best, none, dtype=torch.int64).scatter_reduce(dim, places, own, "amin", include_self=True)


class _SegmentCsr:
    """`torch_scatter::segment_<reduce>_csr`: rows indptr[i] to indptr[i + 1] make row i."""

    def __init__(self, reduce: str) -> None:
        self.scatter = _Scatter(reduce)

    def __call__(self, src: Tensor, indptr: Tensor, out: Tensor | None = None) -> Any:
        _only_vectors(indptr)
        rows, segments = src.shape[0], indptr.shape[0] - 1
        starts = indptr.new_zeros(rows + 1)
        # Segment 0 holds the rows in front of the first one, and the last segment those behind.
        segment = starts.scatter_add(0, indptr, torch.ones_like(indptr)).cumsum(0)[:-1]
        found = self.scatter(src, segment, 0, None, segments + 2)
        if isinstance(found, tuple):
            return tuple(_into(out if i == 0 else None, each[1:-1]) for i, each in enumerate(found))
        return _into(out, found[1:-1])


class _SegmentCoo:
    """`torch_scatter::segment_<reduce>_coo`: a scatter over a sorted index."""

    def __init__(self, reduce: str) -> None:
        self.scatter = _Scatter(reduce)

    def __call__(self, src: Tensor, index: Tensor, out: Tensor | None = None, dim_size: int | None = None) -> Any:
        return self.scatter(src, index, index.dim() - 1, out, dim_size)


def _gather_csr(src: Tensor, indptr: Tensor, out: Tensor | None = None) -> Tensor:
    _only_vectors(indptr)
    return _into(out, src.repeat_interleave(indptr.diff(), dim=0))


def _gather_coo(src: Tensor, index: Tensor, out: Tensor | None = None) -> Tensor:
    _only_vectors(index)
    return _into(out, src.index_select(0, index))


def _into(out: Tensor | None, value: Tensor) -> Tensor:
    return value if out is None else out.copy_(value)


def _only_vectors(pointers: Tensor) -> None:
    if pointers.dim() != 1:
        raise NotImplementedError("torch_scatter's segments are exported with a vector of pointers only")
