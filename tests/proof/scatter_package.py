"""A stand-in for torch_scatter 2.1: its Python functions over compiled operators that tracing can't look into."""

from __future__ import annotations

from functools import cache
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

_LIBRARY = torch.library.Library("torch_scatter", "DEF")
_SOURCE = """
import torch

def broadcast(src, other, dim):
    if dim < 0:
        dim = other.dim() + dim
    if src.dim() == 1:
        for _ in range(0, dim):
            src = src.unsqueeze(0)
    for _ in range(src.dim(), other.dim()):
        src = src.unsqueeze(-1)
    return src.expand(other.size())

def scatter_sum(src, index, dim=-1, out=None, dim_size=None):
    index = broadcast(index, src, dim)
    if out is None:
        size = list(src.size())
        if dim_size is not None:
            size[dim] = dim_size
        elif index.numel() == 0:
            size[dim] = 0
        else:
            size[dim] = int(index.max()) + 1
        out = torch.zeros(size, dtype=src.dtype, device=src.device)
    return out.scatter_add_(dim, index, src)

def scatter_mean(src, index, dim=-1, out=None, dim_size=None):
    out = scatter_sum(src, index, dim, out, dim_size)
    dim_size = out.size(dim)
    index_dim = dim + src.dim() if dim < 0 else dim
    if index.dim() <= index_dim:
        index_dim = index.dim() - 1
    ones = torch.ones(index.size(), dtype=src.dtype, device=src.device)
    count = scatter_sum(ones, index, index_dim, None, dim_size)
    count[count < 1] = 1
    return out.true_divide_(broadcast(count, out, dim))

def scatter_mul(src, index, dim=-1, out=None, dim_size=None):
    return torch.ops.torch_scatter.scatter_mul(src, index, dim, out, dim_size)

def scatter_min(src, index, dim=-1, out=None, dim_size=None):
    return torch.ops.torch_scatter.scatter_min(src, index, dim, out, dim_size)

def scatter_max(src, index, dim=-1, out=None, dim_size=None):
    return torch.ops.torch_scatter.scatter_max(src, index, dim, out, dim_size)

def scatter_softmax(src, index, dim=-1, dim_size=None):
    index = broadcast(index, src, dim)
    largest = scatter_max(src, index, dim=dim, dim_size=dim_size)[0]
    recentered = (src - largest.gather(dim, index)).exp_()
    return recentered.div(scatter_sum(recentered, index, dim, dim_size=dim_size).gather(dim, index))

def segment_csr(src, indptr, out=None, reduce="sum"):
    found = getattr(torch.ops.torch_scatter, f"segment_{reduce}_csr")(src, indptr, out)
    return found[0] if isinstance(found, tuple) else found

def segment_coo(src, index, out=None, dim_size=None, reduce="sum"):
    found = getattr(torch.ops.torch_scatter, f"segment_{reduce}_coo")(src, index, out, dim_size)
    return found[0] if isinstance(found, tuple) else found

def gather_csr(src, indptr, out=None):
    return torch.ops.torch_scatter.gather_csr(src, indptr, out)
"""


@cache
def package() -> ModuleType:
    """The module; its operators are defined once a process."""
    for reduce in ("sum", "mul", "mean", "min", "max"):
        result = "(Tensor, Tensor)" if reduce in ("min", "max") else "Tensor"
        _define(f"scatter_{reduce}(Tensor s, Tensor i, int d, Tensor? o, int? n) -> {result}", _scatter(reduce))
        _define(f"segment_{reduce}_csr(Tensor s, Tensor p, Tensor? o) -> {result}", _csr(reduce))
        _define(f"segment_{reduce}_coo(Tensor s, Tensor i, Tensor? o, int? n) -> {result}", _coo(reduce))
    _define("gather_csr(Tensor s, Tensor p, Tensor? o) -> Tensor", lambda s, p, o: s[_segments(p)])
    module = ModuleType("torch_scatter")
    exec(_SOURCE, module.__dict__)  # functions whose `int` is that of their module
    return module


def _define(schema: str, function: Any) -> None:
    _LIBRARY.define(schema)
    _LIBRARY.impl(schema.partition("(")[0], function, "CPU")


def _scatter(reduce: str) -> Any:
    """One row after the other, in plain Python."""

    def run(src: Tensor, index: Tensor, dim: int, out: Tensor | None, size: int | None) -> Any:
        dim = dim % src.dim()
        places = index.view([-1] + [1] * (src.dim() - 1)).expand_as(src.movedim(dim, 0)) if index.dim() == 1 else None
        places = index.expand_as(src).movedim(dim, 0) if places is None else places
        rows, places = src.movedim(dim, 0).unsqueeze(-1).flatten(1), places.unsqueeze(-1).flatten(1)
        groups = (int(index.max()) + 1 if index.numel() else 0) if size is None else size
        found, at = torch.zeros(groups, rows.shape[1]), torch.full((groups, rows.shape[1]), src.shape[dim])
        for column in range(rows.shape[1]):
            for group in range(groups):
                mine = (places[:, column] == group).nonzero().view(-1)
                values = rows[mine, column]
                if reduce == "mul":
                    found[group, column] = values.prod()
                elif len(values):
                    best = {"min": values.argmin, "max": values.argmax}.get(reduce, lambda: torch.tensor(0))()
                    found[group, column] = {"sum": values.sum, "mean": values.mean}.get(
                        reduce, lambda v=values, b=best: v[b]
                    )()
                    at[group, column] = mine[best]
        shape = [groups, *src.movedim(dim, 0).shape[1:]]
        found, at = found.reshape(shape).movedim(0, dim), at.reshape(shape).movedim(0, dim)
        return (found, at) if reduce in ("min", "max") else found

    return run


def _segments(pointers: Tensor) -> Tensor:
    return torch.arange(len(pointers) - 1).repeat_interleave(pointers.diff())


def _csr(reduce: str) -> Any:
    def run(src: Tensor, pointers: Tensor, out: Tensor | None) -> Any:
        inside = src[int(pointers[0]) : int(pointers[-1])]
        found = _scatter(reduce)(inside, _segments(pointers), 0, None, len(pointers) - 1)
        if reduce not in ("min", "max"):
            return found
        values, at = found
        return values, torch.where(at == len(inside), len(src), at + pointers[0])

    return run


def _coo(reduce: str) -> Any:
    return lambda src, index, out, size: _scatter(reduce)(src, index, index.dim() - 1, None, size)
