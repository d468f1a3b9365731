"""The Pareto front: what nothing else clearly beats."""

from __future__ import annotations

import math
from collections.abc import Sequence

__all__ = ["front", "joined"]

Pair = tuple[float, float]


def front(points: Sequence[Pair], deviations: Sequence[Pair] = (), *, higher_is_better: bool = True) -> list[int]:
    """Indices of the points on the front, by rising cost.

    A difference counts where it is larger than the two deviations together (the root of the sum of their squares). A
    point is off the front when another one is better in cost or merit, and not worse in the other, by differences that
    count. Equal points are on it together, or off it together.

    Args:
        points: pairs of cost (lower is better) and merit.
        deviations: of both, for each point; none: everything is exact.
        higher_is_better: of the merit; False for an error.
    """
    sign = 1.0 if higher_is_better else -1.0
    exact = deviations or [(0.0, 0.0)] * len(points)
    # Cost and merit so that lower is better of both, with their deviations.
    sides = [((cost, -sign * merit), spread) for (cost, merit), spread in zip(points, exact, strict=True)]

    def better(a: int, b: int, side: int) -> bool:
        (one, spread), (other, more) = sides[a], sides[b]
        return other[side] - one[side] > math.hypot(spread[side], more[side])

    def beats(a: int, b: int) -> bool:
        return any(better(a, b, side) and not better(b, a, 1 - side) for side in (0, 1))

    order = sorted(range(len(points)), key=lambda i: sides[i][0])
    return [i for i in order if not any(beats(other, i) for other in order)]


def joined(points: Sequence[Pair], found: Sequence[int], *, higher_is_better: bool = True) -> list[Pair]:
    """The points of a front that a rising line runs through: those that no other one of them beats by its mean.

    Args:
        points: all of them.
        found: indices, by rising cost, as `front` gives them.
        higher_is_better: of the merit.
    """
    sign = 1.0 if higher_is_better else -1.0
    line: list[Pair] = []
    for i in found:
        if not line or sign * points[i][1] > sign * line[-1][1]:
            line.append(points[i])
    return line
