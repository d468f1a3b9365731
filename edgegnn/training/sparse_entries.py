"""Entries of sparse matrices by tensor operations alone: no loop and no size depends on values, so that they trace."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

__all__ = ["Entries", "product", "summed"]


@dataclass(frozen=True)
class Entries:
    """Entries of a sparse matrix; row, column int64 `[entries]`, value float `[entries]`."""

    row: Tensor
    column: Tensor
    value: Tensor

    @property
    def transposed(self) -> Entries:
        """Those of the transpose."""
        return Entries(self.column, self.row, self.value)


def product(a: Entries, b: Entries, inner: Any, columns: Any) -> Entries:
    """The product a @ b, sorted by row and column.

    Args:
        a: entries in any order, some perhaps twice.
        b: the same.
        inner: columns of a, rows of b.
        columns: columns of b.
    """
    order = b.row.sort(stable=True).indices
    count = b.row.new_zeros(inner).scatter_add(0, b.row, torch.ones_like(b.row))
    start = count.cumsum(0) - count
    times = count[a.column]  # an entry of a meets each entry of b's row
    mine = torch.arange(a.row.shape[0], device=a.row.device).repeat_interleave(times)
    within = torch.arange(mine.shape[0], device=mine.device) - (times.cumsum(0) - times)[mine]
    other = order[start[a.column[mine]] + within]
    return summed(a.row[mine], b.column[other], columns, a.value[mine] * b.value[other])


def summed(row: Tensor, column: Tensor, columns: Any, value: Tensor) -> Entries:
    """Entries sorted by row and column, with entries of the same place added up."""
    places, at = (row * columns + column).unique(return_inverse=True)
    rows = places // columns
    return Entries(rows, places - rows * columns, value.new_zeros(places.shape[0]).scatter_add(0, at, value))
