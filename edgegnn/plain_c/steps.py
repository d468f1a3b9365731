"""Codes of integer sums without floats: one multiplication and a shift, checked against every sum that can occur.

The code of a sum is a step function that never falls (or never rises): at most 255 steps. `(sum * m + b) >> 32` has the
same steps where numbers m and b exist that fit them all; float32 arithmetic rounds some near-ties the other way, and
sums where that leaves a difference are listed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["Steps", "find_steps"]

_MOST_RARE = 4  # listed sums of a column, on the average; beyond it floats are better
_LARGEST = 2**31 - 1

Array = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Steps:
    """Multipliers and offsets of columns.

    Attributes:
        multiplier: int32, one a column.
        offset: int64, one a column.
        rare: column, sum and code where the multiplication gives another code, by column.
        ends: `[width, 2]`, the least and the largest code of each column.
    """

    multiplier: Array
    offset: Array
    rare: tuple[tuple[int, int, int], ...]
    ends: Array


def find_steps(code_of: Callable[[Array], Array], least: Array, most: Array, bottom: int, top: int) -> Steps | None:
    """Find the multiplication that gives the codes of sums.

    Args:
        code_of: the codes of sums `[width, n]`; in each column they never fall, or never rise.
        least: of each column, the smallest sum that can occur.
        most: the largest.
        bottom: the least code.
        top: the largest code.

    Returns:
        None where too many sums would be listed; of steps that are too steep for 32 bits, all would.
    """
    ends = code_of(np.stack([least, most], axis=1))
    sign = np.where(ends[:, 0] <= ends[:, 1], 1, -1)[:, None]
    low, high = np.minimum(sign[:, 0] * least, sign[:, 0] * most), np.maximum(sign[:, 0] * least, sign[:, 0] * most)

    def rising(sums: Array) -> Array:
        return code_of(sign * sums)

    first, last = rising(low[:, None]), rising(high[:, None])
    codes = np.arange(bottom + 1, top + 1, dtype=np.int64)[None, :]
    at = _thresholds(rising, low, high, codes)
    inner = (codes > first) & (codes <= last)  # steps that are taken
    whole = codes << 32

    def bounds(multiplier: Array) -> tuple[Array, Array]:
        """The least and the largest offset with which each code is reached at its threshold, and not before."""
        reached = np.where(inner, whole - at * multiplier[:, None], -(2**62)).max(axis=1)
        not_before = np.where(inner, whole - (at - 1) * multiplier[:, None], 2**62).min(axis=1)
        return reached, not_before - 1

    multiplier = _widest(bounds, len(low))
    lower, upper = bounds(multiplier)
    offset = lower + (upper - lower) // 2
    rare = _rare(rising, multiplier, offset, low, high, codes, at, inner)
    if rare is None or len(rare) > _MOST_RARE * len(low):
        return None
    listed = tuple(sorted((column, int(sign[column, 0]) * number, code) for column, number, code in rare))
    columns = np.concatenate([np.minimum(first, last), np.maximum(first, last)], axis=1)
    return Steps(sign[:, 0] * multiplier, offset, listed, columns)


def _thresholds(rising: Callable[[Array], Array], low: Array, high: Array, codes: Array) -> Array:
    """Of each column and code the smallest sum that has at least this code; `high + 1` where none has."""
    shape = (len(low), codes.shape[1])
    below, above = np.broadcast_to(low[:, None] - 1, shape).copy(), np.broadcast_to(high[:, None] + 1, shape).copy()
    while (above - below).max(initial=0) > 1:
        middle = below + (above - below) // 2
        inside = np.clip(middle, low[:, None], high[:, None])
        reached = (rising(inside) >= codes) & (middle >= low[:, None])
        reached |= middle > high[:, None]
        open_ = above - below > 1
        above, below = np.where(open_ & reached, middle, above), np.where(open_ & ~reached, middle, below)
    return above


def _widest(bounds: Callable[[Array], tuple[Array, Array]], width: int) -> Array:
    """The multiplier of each column for which most offsets fit: their number is concave in it."""
    left, right = np.zeros(width, np.int64), np.full(width, _LARGEST, np.int64)
    for _ in range(80):
        third = (right - left) // 3
        one, two = left + third, right - third
        rooms = []
        for multiplier in (one, two):
            lower, upper = bounds(multiplier)
            rooms.append(upper - lower)
        better = rooms[0] < rooms[1]
        left, right = np.where(better, one, left), np.where(better, right, two)
    tries = np.stack([np.clip(left + i, 0, right) for i in range(4)])
    rooms = []
    for multiplier in tries:
        lower, upper = bounds(multiplier)
        rooms.append(upper - lower)
    return np.take_along_axis(tries, np.argmax(rooms, axis=0)[None], 0)[0]


def _rare(
    rising: Callable[[Array], Array],
    multiplier: Array,
    offset: Array,
    low: Array,
    high: Array,
    codes: Array,
    at: Array,
    inner: npt.NDArray[np.bool_],
) -> list[tuple[int, int, int]] | None:
    """Column, sum and code wherever the multiplication gives another code; None for too many."""
    step = np.maximum(multiplier, 1)[:, None]
    own = -((offset[:, None] - (codes << 32)) // step)  # the multiplication's own thresholds, rounded up
    own = np.where(
        multiplier[:, None] > 0, own, np.where(offset[:, None] >= codes << 32, low[:, None], high[:, None] + 1)
    )
    own = np.clip(own, low[:, None], high[:, None] + 1)
    wrong = inner & (own != at)
    if np.abs(own - at)[wrong].sum(initial=0) > _MOST_RARE * len(low):
        return None
    found = set()
    for column, step_of in zip(*np.nonzero(wrong), strict=True):
        start, end = sorted((int(own[column, step_of]), int(at[column, step_of])))
        found |= {(int(column), number) for number in range(start, end)}
    rare = []
    for column, number in found:
        sums = np.broadcast_to(np.int64(number), (len(low), 1))
        rare.append((column, number, int(rising(sums)[column, 0])))
    return rare
