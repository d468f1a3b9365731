"""Minutes without a pause: was the machine slowed down, and the picture of throughput and temperature over time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from edgegnn.bench.card import title_of
from edgegnn.bench.files import Bundle
from edgegnn.profiling.record import SustainedPoint
from edgegnn.reporting.palette import GRID, INK, MUTED, SERIES
from edgegnn.reporting.picture import Picture, blank, drawn
from edgegnn.runtime.state import throttled_words

__all__ = ["Verdict", "draw_long_run", "judge_long_run"]

_SLOWER = 0.95  # of the first minute's throughput: below that the run was slowed down
_ENDS = 0.1  # share of the run that counts as its beginning, and as its end


@dataclass(frozen=True)
class Verdict:
    """What became of a long run.

    Attributes:
        kept: throughput at its end as a share of that at its beginning.
        warmest: highest temperature, °C; None where no sensor can be read.
        words: in a sentence.
        throttled: the machine says so, or throughput fell.
    """

    kept: float
    warmest: float | None
    words: str
    throttled: bool


def judge_long_run(points: Sequence[SustainedPoint]) -> Verdict:
    """Say whether a run was throttled, and by what the machine tells.

    Args:
        points: at least one, in order.
    """
    few = max(1, round(len(points) * _ENDS))
    first = sum(p.throughput_per_s for p in points[:few]) / few
    last = sum(p.throughput_per_s for p in points[-few:]) / few
    kept = last / first if first else 1.0
    temperatures = [p.temperature for p in points if p.temperature is not None]
    said = list(dict.fromkeys(word for p in points for word in throttled_words(p.throttled) if word.endswith(" now")))
    names = ", ".join(word.removesuffix(" now") for word in said)
    warm = f"{temperatures[0]:.0f} → {max(temperatures):.0f} °C" if temperatures else "no temperature sensor"
    if said:
        words = f"throttled by the firmware ({names}): {kept:.0%} of the first throughput at the end, {warm}"
    elif kept < _SLOWER:
        cause = "slowed down" if not temperatures or max(temperatures) - temperatures[0] < 3 else "throttled by heat"
        words = f"{cause}: {kept:.0%} of the first throughput at the end, {warm}"
    else:
        words = f"not throttled: {kept:.0%} of the first throughput at the end, {warm}"
    return Verdict(kept, max(temperatures, default=None), words, bool(said) or kept < _SLOWER)


def draw_long_run(bundle: Bundle) -> Picture:
    """A small panel for each task: throughput, and the temperature where a sensor tells it."""
    rows = [row for row in bundle.measured if row.record is not None and row.record.sustained]
    columns, one = min(4, len(rows)), len({row.runner for row in rows}) == 1
    lines = -(-len(rows) // columns)
    with blank() as (figure, axes):
        device = rows[0].record.device.model if rows[0].record is not None else ""
        axes.text(48, 62, "Without a pause", fontsize=22, weight="bold")
        minutes = f"{bundle.sustained_s / 60:.3g} minutes" if bundle.sustained_s >= 60 else f"{bundle.sustained_s:g} s"
        over = "seconds" if _unit(bundle.sustained_s) == 1 else "minutes"
        axes.text(
            48,
            92,
            f"{minutes} of single inferences, {device}; inferences a second, over {over}",
            fontsize=13,
            color=MUTED,
        )
        width, height = 1104 / columns, 510 / lines
        for i, row in enumerate(rows):
            assert row.record is not None
            left, top = 48 + (i % columns) * width, 112 + (i // columns) * height
            title = title_of(bundle, row.task) if one else f"{row.task}, {row.runner}"
            _panel(figure, (left, top, width, height), title, row.record.sustained)
        return drawn(figure, f"Minutes without a pause on {device}")


def _unit(seconds: float) -> float:
    """Seconds of what the axis counts: minutes, of a short run seconds."""
    return 60.0 if seconds >= 180 else 1.0


def _panel(figure: Any, place: tuple[float, float, float, float], title: str, points: Sequence[SustainedPoint]) -> None:
    left, top, width, height = place
    box = ((left + 38) / 1200, 1 - (top + height - 34) / 630, (width - 74) / 1200, (height - 88) / 630)
    axes = figure.add_axes(box, facecolor="none")
    unit = _unit(points[-1].end_s)
    times = [p.end_s / unit for p in points]
    axes.plot(times, [p.throughput_per_s for p in points], color=SERIES[0], linewidth=1.8)
    axes.set_ylim(0, 1.15 * max(p.throughput_per_s for p in points))
    axes.set_xlim(0, times[-1])
    axes.grid(color=GRID, linewidth=0.7)
    axes.tick_params(labelsize=9, length=0)
    axes.set_title(title, loc="left", fontsize=11, color=INK, weight="bold", pad=24)
    verdict = judge_long_run(points)
    kept = f"{verdict.kept:.0%} kept{', throttled' * verdict.throttled}"
    axes.annotate(
        kept, (0, 1), (0, 7), "axes fraction", "offset points", fontsize=9.5, color=INK if verdict.throttled else MUTED
    )
    warm = [(p.end_s / unit, p.temperature) for p in points if p.temperature is not None]
    if warm:
        right = axes.twinx()
        right.plot(*zip(*warm, strict=True), color=SERIES[1], linewidth=1.2)
        right.set_ylim(20, 100)
        right.tick_params(labelsize=9, length=0, labelcolor=SERIES[1])
        right.spines["right"].set_visible(False)
        axes.text(1, 1.05, "°C", transform=axes.transAxes, fontsize=9.5, color=SERIES[1], ha="left")
    slow = [p.end_s / unit for p in points if any(word.endswith(" now") for word in throttled_words(p.throttled))]
    if slow:
        axes.plot(slow, [0.02] * len(slow), "|", color=SERIES[1], transform=axes.get_xaxis_transform())
