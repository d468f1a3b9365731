"""Which candidate comes next, which is the best, and which are on the front."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Sequence

from edgegnn.tuning.space import Candidate, Space, presets, starts
from edgegnn.tuning.store import Record

__all__ = ["best", "figure", "finalists", "front", "known", "next_fixed", "value_of"]

_LATE = 0.7  # share of the budget after which short trainings that promise something are given full ones first
_EVERY = 3  # before, after this many short ones
_FOOTPRINT = ("flash", "ram", "instructions")
_TOO_LARGE = 1e6  # what optuna is told of candidates that the device has no room for: this and more
_OUTSIDE = 100.0  # what optuna is told of candidates that lose too much: this and more


def figure(record: Record, minimize: str) -> float | None:
    """What is minimized; None where it isn't known.

    "size": bytes of the model file. "latency": p50 in ms. "energy": gross J of an inference. Of a microcontroller
    "flash" and "ram" in bytes, "instructions" of an inference.
    """
    if minimize in _FOOTPRINT:
        return (record.get("footprint") or {}).get(minimize)
    if minimize == "size":
        return record.get("bytes")
    if minimize == "latency":
        return (record.get("latency_ms") or {}).get("p50")
    return (record.get("energy_j") or {}).get("gross")


def best(records: Iterable[Record], minimize: str) -> Record | None:
    """Of the candidates within the allowed drop the one with the smallest figure; of equal ones that loses least."""
    return next(iter(finalists(records, minimize, 1)), None)


def front(records: Iterable[Record], minimize: str) -> list[Record]:
    """The Pareto front of drop and figure, the smallest figure first."""
    ranked = [(value, r["drop"], r) for r in records if "drop" in r and (value := figure(r, minimize)) is not None]
    kept: list[Record] = []
    for _, drop, record in sorted(ranked, key=lambda entry: entry[:2]):
        if not kept or drop < kept[-1]["drop"]:
            kept.append(record)
    return kept


def finalists(records: Iterable[Record], minimize: str, number: int) -> list[Record]:
    """The candidates within the allowed drop that have the smallest figures, the smallest first."""
    ranked = [(value, r["drop"], r) for r in records if r.get("within") and (value := figure(r, minimize)) is not None]
    return [record for _, _, record in sorted(ranked, key=lambda entry: entry[:2])[:number]]


def value_of(record: Record, minimize: str, allowed: float) -> float | None:
    """What optuna is told: within the allowed drop the figure decides, outside only the drop; None of one that failed.

    Those that the device has no room for are the worst, and the worse the larger they are.
    Only the order counts for the sampler (TPE splits trials into the better and the rest).
    """
    if "over" in record:
        return _TOO_LARGE * (1 + float(record["over"]))
    if "excess" not in record:
        return None
    value = figure(record, minimize)
    if record["within"] and value is not None:
        return math.log(max(value, 1e-12))
    return _OUTSIDE * (1 + record["excess"] / max(allowed, 1e-6))


def known(records: Iterable[Record]) -> dict[Candidate, Record]:
    """The latest record of each candidate."""
    return {Candidate.from_dict(r["settings"]): r for r in records}


def next_fixed(
    records: Sequence[Record],
    space: Space,
    minimize: str,
    *,
    nearly: float,
    used: float,
    fits: Callable[[Candidate], bool],
) -> Candidate | None:
    """The next candidate that doesn't need a sampler: a preset, a first try, or a full training of a promising one.

    Args:
        records: all so far, oldest first.
        space: what can be chosen.
        minimize: see `figure`.
        nearly: how much more than the allowed drop a full training may make good.
        used: share of the budget that is used.
        fits: whether a candidate can end within the budget.
    """
    tried = known(records)
    first = [c for c in (*presets(space), *starts(space, minimize)) if c not in tried and fits(c)]
    if first:
        return first[0]
    short = 0
    for record in reversed(records):
        if record["settings"]["full"]:
            break
        short += 1
    if short < _EVERY and used < _LATE:
        return None
    return next((c for c in _promising(tried, minimize, nearly) if fits(c)), None)


def _promising(tried: dict[Candidate, Record], minimize: str, nearly: float) -> list[Candidate]:
    """Those that lost a little too much in a short training, and would be the best otherwise; first that lost least."""
    winner = best(tried.values(), minimize)
    limit = math.inf if winner is None else figure(winner, minimize) or math.inf
    found: list[tuple[float, Candidate]] = []
    for candidate, record in tried.items():
        longer = dataclasses.replace(candidate, full=True)
        if candidate.full or longer in tried or record["status"] != "done" or record["within"]:
            continue
        # Latency and energy of what loses too much aren't measured: its file says how much smaller it is.
        value, bound = figure(record, minimize), limit
        if value is None:
            value, bound = record["bytes"], math.inf if winner is None else winner["bytes"]
        if value < bound and record["excess"] < nearly:
            found.append((record["excess"], longer))
    return [candidate for _, candidate in sorted(found, key=lambda entry: entry[0])]
