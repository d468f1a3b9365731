"""The plot of a metric against a cost, with its Pareto front."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from edgegnn.reporting.drawing import canvas, save
from edgegnn.reporting.figures import (
    Cost,
    Figure,
    capital,
    metric_label,
    metric_words,
    number_axis,
    shares_axis,
    shown,
)
from edgegnn.reporting.model_points import Entry, deviation, lower_is_better, plain
from edgegnn.reporting.palette import BACKGROUND, INK, MUTED, marker_of
from edgegnn.reporting.pareto_front import front, joined

__all__ = ["pareto"]

NEAR = 0.8  # of the dense model's metric: what lost more stretches the axis


def pareto(name: str, subject: str, entries: Sequence[Entry], cost: Cost, order: Sequence[str] = ()) -> Figure:
    """Metric against a cost; the front is filled, numbered and joined.

    Models that lost more than a fifth of the dense model's metric are drawn in a panel of their own, so that those that
    may be used are told apart.

    Args:
        name: of the figure.
        subject: what the entries are of.
        entries: with "test" and the cost.
        cost: the other axis.
        order: series in the order of their colours; those that it lacks come after.
    """
    lower = lower_is_better(entries)
    scale = 1.0 if lower else 100.0
    pairs = [(e.values[cost.name].mean, e.values["test"].mean) for e in entries]
    spreads = [(deviation(e, cost.name), deviation(e, "test")) for e in entries]
    best = front(pairs, spreads, higher_is_better=not lower)
    line = joined(pairs, best, higher_is_better=not lower)
    far = _far(entries, [merit for _, merit in pairs], lower=lower)
    split = (1, 3) if lower else (3, 1)  # what is far off lies where its axis goes
    series = list(dict.fromkeys(e.series for e in entries))
    numbers = {label: number for number, label in enumerate(dict.fromkeys([*order, *series]))}
    points = [f"{plain(entries[i].name)}: {shown(entries[i], pairs[i][1])} at {cost.text(pairs[i][0])}" for i in best]
    with canvas(3.1 + 0.19 * ((len(series) + 1) // 2) + 0.8 * bool(far), split if far else (1,)) as (figure, axes):
        panels = [axes, *(other for other in figure.axes if other is not axes)]
        for panel in panels:
            xs = [x * cost.factor for x, _ in line]
            panel.step(xs, [y * scale for _, y in line], where="post", color=MUTED, linewidth=1.2, linestyle="--")
        for label in sorted(series, key=lambda one: numbers[one]):
            colour, marker = marker_of(numbers[label])
            for i, e in enumerate(entries):
                if e.series == label:
                    panel = panels[i in far]
                    x, y = pairs[i][0] * cost.factor, pairs[i][1] * scale
                    _errors(panel, x, y, e, cost, scale, colour)
                    face, above = (colour, 3.5) if i in best else (BACKGROUND, 3.0)
                    panel.plot(x, y, marker, color=colour, markerfacecolor=face, markeredgewidth=1.4, zorder=above)
            axes.plot([], [], marker, color=colour, label=plain(label, 26))
        figure.axes[-1].set_xlabel(cost.axis)
        axes.set_ylabel(metric_label(entries))
        number_axis(axes, [p[0] * cost.factor for p in pairs])
        for panel, members in zip(panels, (set(range(len(pairs))) - far, far), strict=False):
            ys = [pairs[i][1] * scale for i in members]
            room = max(0.12 * (max(ys) - min(ys)), 0.02 * max(ys))
            bars = [(pairs[i][1] - spreads[i][1], pairs[i][1] + spreads[i][1]) for i in members]
            panel.set_ylim(min(scale * b[0] for b in bars) - room, max(scale * b[1] for b in bars) + room)
            if not lower:
                shares_axis(panel)
        axes.margins(x=0.09)
        hidden = sum(
            _number_points(
                panel,
                [
                    (number, (pairs[i][0] * cost.factor, pairs[i][1] * scale))
                    for number, i in enumerate(best, 1)
                    if (i in far) == (panel is not axes)
                ],
            )
            for panel in panels
        )
        figure.legend(loc="outside lower center", ncols=2, handletextpad=0.3, columnspacing=1.2)
        metric = capital(metric_words(next((e.metric for e in entries if e.metric), "")))
        title = f"{metric} against {cost.words}, {subject}"
        description = f"{len(entries)} models. On the front: {'; '.join(points)}."
        drawn = save(figure, name, title, description)
    notes = ["Numbers that would cover others are left out of the picture."] if hidden else []
    if far:
        notes.append(f"{'Upper' if lower else 'Lower'} panel: {_words_of_far(len(far), lower=lower)}.")
    return Figure(
        name,
        title,
        description,
        drawn,
        points,
        notes,
        data={
            "subject": subject,
            "cost": cost.name,
            "points": [
                {
                    "name": e.name,
                    "checksum": e.checksum or None,
                    "cost": p[0],
                    "cost_std": e.values[cost.name].std,
                    "test": p[1],
                    "test_std": e.values["test"].std,
                    "front": i in best,
                }
                for i, (e, p) in enumerate(zip(entries, pairs, strict=True))
            ],
        },
    )


def _far(entries: Sequence[Entry], merits: Sequence[float], *, lower: bool) -> set[int]:
    """Indices of models that lost more than a fifth of the dense model's metric, where others are left to look at."""
    dense = [m for e, m in zip(entries, merits, strict=True) if not e.how and e.quant == "none"]
    base = (min if lower else max)(dense or merits)
    far = {i for i, merit in enumerate(merits) if (merit > base / NEAR if lower else merit < NEAR * base)}
    return far if len(merits) - len(far) > 1 else set()


def _words_of_far(count: int, *, lower: bool) -> str:
    models = f"{count} model{'s' * (count > 1)}"
    share = f"{100 / NEAR:.0f} %" if lower else f"{100 * NEAR:.0f} %"
    return f"{models} {'above' if lower else 'below'} {share} of the dense model's, on a scale of its own"


def _errors(axes: Any, x: float, y: float, entry: Entry, cost: Cost, scale: float, colour: str) -> None:
    """Bars of one standard deviation, where that is known."""
    across, up = entry.values[cost.name].std, entry.values["test"].std
    if across or up:
        sides = {"xerr": (across or 0.0) * cost.factor or None, "yerr": (up or 0.0) * scale or None}
        axes.errorbar(x, y, **sides, color=colour, alpha=0.45, linewidth=1, zorder=2)


def _number_points(axes: Any, points: Sequence[tuple[int, tuple[float, float]]]) -> int:
    """Write the numbers of points, but those that would lie on another; how many those are."""
    from matplotlib.transforms import Bbox

    figure = axes.figure
    figure.draw_without_rendering()  # where points lie on paper is known then
    taken: list[Any] = []
    hidden = 0
    for number, point in points:
        right = number % 2 == 0  # neighbours may lie close together
        x, y = axes.transData.transform(point) * 72 / figure.dpi
        x, y = (x + 5, y - 12) if right else (x - 5 - 5.5 * len(str(number)), y + 4)
        box = Bbox.from_bounds(x, y, 5.5 * len(str(number)), 8)
        if any(box.overlaps(other) for other in taken):
            hidden += 1
            continue
        taken.append(box)
        axes.annotate(
            str(number),
            point,
            xytext=(5, -12) if right else (-5, 4),
            textcoords="offset points",
            ha="left" if right else "right",
            color=INK,
            fontsize=9,
            zorder=4,
        )
    return hidden
