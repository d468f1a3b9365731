"""What validation data would choose among the compressed models."""

from __future__ import annotations

import math
from collections.abc import Sequence

from edgegnn.reporting.figures import COSTS, Cost
from edgegnn.reporting.model_points import Entry, deviation, lower_is_better

__all__ = ["chosen"]

_POINT = 0.01  # of a share; of an error: of its dense value


def chosen(found: Sequence[Entry]) -> list[tuple[str, Entry]]:
    """The dense float model, and the smallest, fastest and most frugal ones that validation data let pass.

    None is called so for a difference that is smaller than the two models' deviations together: of models that can't be
    told apart the one that was chosen already is taken.

    Args:
        found: entries of one subject.

    Returns:
        Pairs of reason and entry, the dense model first; [] where there is none.
    """
    dense = next((e for e in found if not e.how and e.quant == "none" and "test" in e.values), None)
    if dense is None:
        return []
    picks = [("dense", dense)]
    if "val" not in dense.values:
        return picks
    base = dense.values["val"].mean
    sign = -1.0 if lower_is_better(found) else 1.0
    least = sign * base - _POINT * (base if sign < 0 else 1.0)
    near = [e for e in found if "val" in e.values and sign * e.values["val"].mean >= least]
    for cost, why in zip(COSTS, ("smallest", "fastest", "least energy"), strict=True):
        usable = [e for e in near if cost.name in e.values and not (cost.timed and e.emulated)]
        if len({e.energy for e in usable}) > 1 and cost.name == "energy_gross":
            continue
        least_cost = min(usable, key=lambda e: e.values[cost.name].mean, default=dense)
        alike = [e for _, e in picks if e in usable and not _differ(e, least_cost, cost)]
        best = alike[0] if alike else least_cost
        if best is not dense:
            picks.append((why, best))
    merged: dict[str, tuple[list[str], Entry]] = {}
    for why, e in picks:
        merged.setdefault(e.name, ([], e))[0].append(why)
    return [(", ".join(reasons), e) for reasons, e in merged.values()]


def _differ(one: Entry, other: Entry, cost: Cost) -> bool:
    difference = one.values[cost.name].mean - other.values[cost.name].mean
    return abs(difference) > math.hypot(deviation(one, cost.name), deviation(other, cost.name))
