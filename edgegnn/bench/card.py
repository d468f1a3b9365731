"""The card: one picture of a run, 1200 x 630 pixels, that can be read in passing.

With other runners beside edgegnn, the large numbers are how many times faster it is; alone, they are its latencies.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from edgegnn.bench.comparing import geometric_mean, is_open
from edgegnn.bench.files import Bundle, Row
from edgegnn.bench.runners import RUNNERS
from edgegnn.bench.tasks import VERSION
from edgegnn.profiling import ProfileRecord
from edgegnn.reporting.model_points import plain
from edgegnn.reporting.palette import GRID, INK, MUTED, SERIES
from edgegnn.reporting.picture import Picture, bar, blank, drawn, text

__all__ = ["draw_card", "runner_title", "speedups", "title_of"]

_LEFT, _BARS, _END, _QUALITY, _NUMBERS, _COLUMN = 48, 300, 730, 890, 1152, 160
_TOP, _BOTTOM = 188, 540


def runner_title(name: str) -> str:
    """A runner in words; one of the user's by its name."""
    return RUNNERS[name].title if name in RUNNERS else plain(name, 24)


def title_of(bundle: Bundle, name: str) -> str:
    """A task in words."""
    task = bundle.task(name)
    return plain(task.title if task is not None else name, 40)


def speedups(bundle: Bundle, other: str, *, valid: bool = False) -> dict[str, float]:
    """Task -> how many times faster the first runner is than another, where both have measured it.

    Args:
        bundle: the results.
        other: name of the other runner.
        valid: only where the first runner reaches the quality.
    """
    first = {row.task: row for row in bundle.measured if row.runner == bundle.runners[0] and (row.valid or not valid)}
    found = {}
    for row in bundle.measured:
        own = first.get(row.task)
        if row.runner == other and own is not None and _p50(own) > 0:
            found[row.task] = _p50(row) / _p50(own)
    return found


def draw_card(bundle: Bundle, checksum: str) -> Picture:
    """Draw the card.

    Args:
        bundle: with at least one measurement.
        checksum: of its file.
    """
    names = list(dict.fromkeys(row.task for row in bundle.measured))
    runners = [name for name in bundle.runners if any(row.runner == name for row in bundle.measured)]
    record = bundle.measured[0].record
    assert record is not None
    with blank() as (figure, axes):
        _head(axes, bundle, runners, record)
        step = (_BOTTOM - _TOP) / max(len(names), 4)
        _scale(axes, bundle, len(names) * step)
        for i, name in enumerate(names):
            _task(axes, bundle, name, runners, _TOP + i * step, step)
        _foot(axes, bundle, runners, record, checksum)
        return drawn(figure, f"EdgeGNN-Bench on {record.device.model}")


def _head(axes: Any, bundle: Bundle, runners: Sequence[str], record: ProfileRecord) -> None:
    text(axes, _LEFT, 62, f"EdgeGNN-Bench v{VERSION}", 21, MUTED)
    device = plain(_short(record.device.gpu or record.device.model), 46)
    text(axes, _LEFT, 112, device, 40 if len(device) < 34 else 30, INK, weight="bold")
    threads = record.latency_ms.threads
    facts = f"{threads} thread{'s' * (threads != 1)}, single stream, latency per inference (median)"
    text(axes, _LEFT, 148, facts, 19, MUTED)
    others = _others(bundle, runners)
    right: float = _NUMBERS
    for name in reversed(others):
        counted = speedups(bundle, name, valid=True)
        mean = geometric_mean([v for task, v in counted.items() if not is_open(bundle, task)])
        if mean is not None:
            text(axes, right, 106, _times(mean), 52, SERIES[0], ha="right", weight="bold")
            text(axes, right, 144, f"vs {runner_title(name)}", 17, MUTED, ha="right")
        right -= _COLUMN


def _others(bundle: Bundle, runners: Sequence[str]) -> list[str]:
    """Up to two runners that the first one is compared with; other people's come before edgegnn's own."""
    known = [name for name in runners[1:] if speedups(bundle, name)]
    foreign = [name for name in known if name not in RUNNERS or not RUNNERS[name].own]
    return (foreign or known)[:2]


def _span(bundle: Bundle) -> tuple[float, float]:
    """Powers of ten that hold all latencies, milliseconds."""
    values = [_p50(row) for row in bundle.measured]
    low, high = math.floor(math.log10(min(values) * 0.8)), math.ceil(math.log10(max(values)))
    return low, max(high, low + 1)


def _place(bundle: Bundle, milliseconds: float) -> float:
    low, high = _span(bundle)
    return _BARS + (_END - _BARS) * (math.log10(milliseconds) - low) / (high - low)


def _scale(axes: Any, bundle: Bundle, height: float) -> None:
    low, high = _span(bundle)
    for power in range(int(low), int(high) + 1):
        x = _place(bundle, 10.0**power)
        axes.plot([x, x], [_TOP - 4, _TOP + height], color=GRID, linewidth=1, zorder=0)
        text(axes, x, _TOP - 12, _milliseconds(10.0**power), 14, MUTED, ha="center")
    text(axes, _QUALITY, _TOP - 12, "of fp32's quality", 14, MUTED, ha="right")


def _task(axes: Any, bundle: Bundle, name: str, runners: Sequence[str], top: float, step: float) -> None:
    """A row: the task, a bar for each runner, and what is most worth saying on the right."""
    middle = top + step / 2
    kind, _, model = title_of(bundle, name).partition(": ")
    text(axes, _LEFT, middle - 1, kind, 19, INK, weight="bold")
    text(axes, _LEFT, middle + 17, model, 14.5, MUTED)
    rows = {row.runner: row for row in bundle.measured if row.task == name}
    thick = min(13.0, (step - 10) / len(runners))
    begin = middle - thick * len(runners) / 2
    for i, runner in enumerate(runners):
        row = rows.get(runner)
        y = begin + i * thick
        if row is None:
            continue
        end = _place(bundle, _p50(row))
        axes.add_patch(bar(_BARS, y + 1, end - _BARS, thick - 2, SERIES[_colour(i)]))
        if not row.valid:
            text(axes, end + 8, y + thick - 2, "below 99 %", 12.5, MUTED)
        elif i == 0 or len(runners) <= 3:
            text(axes, end + 8, y + thick - 2.5, _milliseconds(_p50(row)), 12.5 if i else 13.5, MUTED if i else INK)
    best = rows.get(runners[0])
    if best is not None:
        _summary(axes, bundle, best, name, runners, middle)


def _summary(axes: Any, bundle: Bundle, row: Row, name: str, runners: Sequence[str], middle: float) -> None:
    """On the right: the quality, and how many times faster, or the latency."""
    others = _others(bundle, runners)
    for i, other in enumerate(reversed(others)):
        value = speedups(bundle, other).get(name)
        if value is not None:
            colour = SERIES[0] if row.valid else MUTED
            text(axes, _NUMBERS - i * _COLUMN, middle + 8, _times(value), 24, colour, ha="right", weight="bold")
    if not others:
        text(axes, _NUMBERS, middle + 8, _milliseconds(_p50(row)), 24, SERIES[0], ha="right", weight="bold")
    if row.share is not None:
        text(axes, _QUALITY, middle + 6, f"{100 * row.share:.1f} %", 15, INK if row.valid else SERIES[1], ha="right")


def _foot(axes: Any, bundle: Bundle, runners: Sequence[str], record: ProfileRecord, checksum: str) -> None:
    x: float = _LEFT
    for i, name in enumerate(runners):
        precision = next(row.precision for row in bundle.measured if row.runner == name)
        words = runner_title(name) + (" INT8" if precision.endswith("int8") else "")
        words += "" if "fp32" in words or precision != "fp32" else " fp32"
        axes.add_patch(bar(x, 566, 18, 14, SERIES[_colour(i)]))
        shown = text(axes, x + 26, 579, words, 16, INK)
        box = shown.get_window_extent(axes.figure.canvas.get_renderer())
        x += 26 + box.width + 28
    marks = []
    if bundle.quick:
        marks.append("short windows: a first look")
    if record.emulated:
        marks.append("emulated: not a measurement")
    software = (
        f"edgegnn {bundle.edgegnn}, onnxruntime {record.device.onnxruntime or bundle.versions.get('onnxruntime')}"
    )
    line = ", ".join([bundle.created[:10], software, *marks])
    text(axes, _LEFT, 609, line, 14, MUTED)
    text(axes, _NUMBERS, 609, f"results {checksum[:12]}", 14, MUTED, ha="right")


def _colour(number: int) -> int:
    return number if number < len(SERIES) else len(SERIES) - 1


def _p50(row: Row) -> float:
    assert row.record is not None
    return row.record.latency_ms.p50


def _times(value: float) -> str:
    return f"{value:.0f}x" if value >= 9.95 else f"{value:.1f}x"


def _milliseconds(value: float) -> str:
    if value >= 1000:
        return f"{value / 1000:.3g} s"
    return f"{value:.3g} ms" if value >= 1 else f"{value * 1000:.3g} µs"


def _short(model: str) -> str:
    """The name of a processor without trade marks and clock."""
    for mark in ("(R)", "(TM)", "(r)", "(tm)", " CPU", " Processor"):
        model = model.replace(mark, "")
    return " ".join(model.partition(" @ ")[0].split())
