"""Sweeps over many cases: a well-spread sample runs by default, `pytest --every` runs them all."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import pytest


def sweep(cases: Sequence[Any], sampled: Callable[[int], bool]) -> list[Any]:
    """Mark as `every` all cases but those whose place in the list is sampled."""
    found = []
    for i, case in enumerate(cases):
        values = case if isinstance(case, tuple) else (case,)
        found.append(case if sampled(i) else pytest.param(*values, marks=pytest.mark.every))
    return found


def spread(*axes: Sequence[Any]) -> list[Any]:
    """The product of some axes, of which the sample has each value of each axis, and no more cases than that takes."""
    length = max(map(len, axes))
    sample = {tuple(i % len(axis) for axis in axes) for i in range(length)}
    places = list(itertools.product(*(range(len(axis)) for axis in axes)))
    cases = [tuple(axis[i] for axis, i in zip(axes, place, strict=True)) for place in places]
    return sweep(cases, lambda i: places[i] in sample)
