"""The Pareto front: what nothing else beats in both directions."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["front"]


def front(points: Sequence[tuple[float, float]], *, higher_is_better: bool = True) -> list[int]:
    """Indices of the points on the front, by rising cost.

    A point is off the front when another one costs no more, is no worse, and differs in one of the two. Equal points
    are on it together, or off it together.

    Args:
        points: pairs of cost (lower is better) and merit.
        higher_is_better: of the merit; False for an error.
    """
    sign = 1.0 if higher_is_better else -1.0
    order = sorted(range(len(points)), key=lambda i: (points[i][0], -sign * points[i][1]))
    found: list[int] = []
    for i in order:
        cost, merit = points[i]
        if found:
            last_cost, last_merit = points[found[-1]]
            if sign * merit < sign * last_merit or (merit == last_merit and cost > last_cost):
                continue
        found.append(i)
    return found
