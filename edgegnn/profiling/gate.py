"""`--fail-above latency=10% size=1%`: limits of what may grow from one record to the next, and who passed them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from edgegnn.errors import DataError, UsageError

__all__ = ["FIGURES", "Change", "Judged", "judge", "parse_limits", "refusal"]

# What a limit can be of: name -> the change that it judges.
FIGURES = {
    "latency": "p50",
    "size": "model_file",
    "memory": "peak_delta",
    "energy": "energy_gross",
    "instructions": "instructions",
    "accuracy": "metric",
}
_TIMED = ("latency", "memory", "energy")  # what an emulated device can't tell
_PAGES = 1 << 20  # bytes: peaks of the same program differ by less


@dataclass(frozen=True)
class Change:
    """What became of one figure.

    Attributes:
        name: "p50", "peak_delta", "energy_gross" or "metric".
        old: in the older record; None where it has none.
        new: in the newer one.
        percent: (new - old) / old in percent; None where one of them is missing, or they can't be compared.
        low: lower end of the interval of `percent` (of p50 at 95 % confidence; of an energy by its windows); None where
            there is none.
        high: upper end.
    """

    name: str
    old: float | None
    new: float | None
    percent: float | None
    low: float | None = None
    high: float | None = None

    @property
    def noise(self) -> bool:
        """The interval contains no change at all."""
        return self.low is not None and self.high is not None and self.low <= 0 <= self.high


@dataclass(frozen=True)
class Judged:
    """A figure and its limit.

    Attributes:
        name: one of `FIGURES`.
        limit: percent that it may grow by; of accuracy, points that it may fall by (of an error: percent that it may
            grow by).
        state: "held"; "exceeded": it grew by more, and by more than noise; "unclear": it grew by more, and noise may
            explain it.
        text: what was seen, in words.
        unit: of the limit: "%" or "points".
    """

    name: str
    limit: float
    state: Literal["held", "exceeded", "unclear"]
    text: str
    unit: str = "%"


def parse_limits(text: str) -> dict[str, float]:
    """Limits by figure, of "latency=10% size=1%" (commas do, too); "5%" alone is of the latency.

    Raises:
        UsageError: something else.
    """
    limits: dict[str, float] = {}
    for part in text.replace(",", " ").replace(" %", "%").split():
        name, _, value = part.rpartition("=")
        found = re.fullmatch(r"(\d{1,6}(?:\.\d{1,6})?)%?", value)
        if not found or (name or "latency") not in FIGURES:
            raise UsageError(
                f"--fail-above is 5%, or limits like latency=10% size=1% (of {', '.join(FIGURES)}), not {part[:40]!r}"
            )
        limits[name or "latency"] = float(found[1])
    if not limits:
        raise UsageError("--fail-above needs a limit like 5%, or latency=10% size=1%")
    return limits


def refusal(limits: Mapping[str, float], serious: Sequence[str], *, emulated: bool) -> str:
    """Why two records can't be judged by these limits; "" when they can.

    Args:
        limits: as of `parse_limits`.
        serious: what differs between the records so that times can't be compared.
        emulated: one of them is of an emulated device.
    """
    timed = [name for name in limits if name in _TIMED]
    if timed and emulated:
        return f"an emulated device can't be judged by {', '.join(timed)}: that is not a measurement there"
    if (timed or "instructions" in limits) and serious:
        return f"these records can't be judged, they differ: {'; '.join(serious)}"
    return ""


def judge(limits: Mapping[str, float], changes: Sequence[Change], *, error_metric: bool) -> list[Judged]:
    """Each limit and what became of its figure.

    Args:
        limits: as of `parse_limits`.
        changes: of the records.
        error_metric: lower is better of the metric.

    Raises:
        DataError: a figure is missing in one of the records.
    """
    known = {change.name: change for change in changes}
    return [_judged(name, limit, known.get(FIGURES[name]), error_metric) for name, limit in limits.items()]


def _judged(name: str, limit: float, change: Change | None, error_metric: bool) -> Judged:
    if change is None or change.percent is None or change.old is None or change.new is None:
        raise DataError(f"--fail-above {name}: one of the records has none that can be compared: leave it out")
    grew, unit = change.percent, "%"
    if name == "accuracy" and not error_metric:
        grew, unit = 100 * (change.old - change.new), "points"
    sign = "fell by" if unit == "points" else "grew by"
    text = f"{name} {sign} {max(0.0, grew):.3g} {unit}, {limit:g} {'are' if limit != 1 else 'is'} allowed"
    if grew <= limit:
        return Judged(name, limit, "held", text, unit)
    unsure = change.low is not None and change.low <= 0
    unsure = unsure or (name == "memory" and change.new - change.old < _PAGES)
    if unsure:
        return Judged(name, limit, "unclear", f"{text}: can't tell that from noise, --repeat 5 says more", unit)
    return Judged(name, limit, "exceeded", text, unit)
