"""Compressed rows in plain numpy: what the references of operators on graphs have in common."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["INT32", "in_range", "listed", "reduce", "rows_of", "size_of", "softmax"]

Array = npt.NDArray[Any]
INT32 = np.iinfo(np.int32).max
_TINY = np.float32(1e-16)


def size_of(value: Array, name: str) -> int:
    """The number that a tensor of one element holds, a size."""
    if value.size != 1 or not 0 <= int(value.reshape(())) <= INT32:
        raise ValueError(f"{name} must be one number in [0, 2^31)")
    return int(value.reshape(()))


def in_range(index: Array, size: int, name: str) -> None:
    """Raise ValueError for an index outside [0, size)."""
    if index.size and (index.min() < 0 or index.max() >= size):
        raise ValueError(f"{name} is outside [0, {size})")


def rows_of(indptr: Array, row: Array, num_rows: Array, entries: int) -> tuple[Array, int]:
    """The row of each entry `[E]`, in the order of the entries, and the number of rows."""
    count = size_of(num_rows, "num_rows")
    if indptr.size == 0:
        if row.size != entries:
            raise ValueError("row and col differ in length")
        in_range(row, count, "row")
        return row.astype(np.int64), count
    if indptr.shape != (count + 1,) or indptr[0] != 0 or indptr[-1] != entries or (np.diff(indptr) < 0).any():
        raise ValueError("indptr must rise from 0 to the number of entries, and have num_rows + 1 elements")
    return np.repeat(np.arange(count), np.diff(indptr)), count


def listed(values: Array, perm: Array, entries: int) -> Array:
    """Values given in the order of the edge list, in row order."""
    if values.shape[0] != entries or perm.size not in (0, entries):
        raise ValueError("one value an entry is needed")
    in_range(perm, entries, "perm")
    return values if perm.size == 0 else values[perm]


def reduce(values: Array, index: Array, rows: int, how: str) -> Array:
    """Values `[E, ...]` by row to `[rows, ...]`: sum, mean, max or min; 0 for a row without entries."""
    out = np.zeros((rows, *values.shape[1:]), np.float32)
    if how in ("sum", "mean"):
        np.add.at(out, index, values)
        if how == "sum":
            return out
        count = np.maximum(np.bincount(index, minlength=rows), 1).astype(np.float32)
        return (out / count.reshape(-1, *[1] * (out.ndim - 1))).astype(np.float32)
    filled = np.bincount(index, minlength=rows) > 0
    out[filled] = -np.inf if how == "max" else np.inf
    (np.maximum if how == "max" else np.minimum).at(out, index, values)
    return out


def softmax(logits: Array, index: Array, rows: int) -> Array:
    """Softmax over each row of logits `[E, ...]` in row order, as PyTorch Geometric makes it."""
    top = reduce(logits, index, rows, "max")
    power = np.exp(logits - top[index]).astype(np.float32)
    return (power / (reduce(power, index, rows, "sum") + _TINY)[index]).astype(np.float32)
