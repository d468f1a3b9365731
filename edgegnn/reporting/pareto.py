"""The plot of a metric against a cost, with its Pareto front."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from edgegnn.reporting.drawing import canvas, save
from edgegnn.reporting.figures import Cost, Figure, metric_label, number_axis, shares_axis, shown
from edgegnn.reporting.model_points import Entry, lower_is_better, plain
from edgegnn.reporting.palette import BACKGROUND, INK, MUTED, marker_of
from edgegnn.reporting.pareto_front import front

__all__ = ["pareto"]


def pareto(name: str, subject: str, entries: Sequence[Entry], cost: Cost) -> Figure:
    """Metric against a cost; the front is filled, numbered and joined.

    Args:
        name: of the figure.
        subject: what the entries are of.
        entries: with "test" and the cost.
        cost: the other axis.
    """
    lower = lower_is_better(entries)
    pairs = [(e.values[cost.name].mean, e.values["test"].mean) for e in entries]
    best = front(pairs, higher_is_better=not lower)
    scale = 1.0 if lower else 100.0
    series = list(dict.fromkeys(e.series for e in entries))
    points = [f"{plain(entries[i].name)}: {shown(entries[i], pairs[i][1])} at {cost.text(pairs[i][0])}" for i in best]
    with canvas(3.1 + 0.19 * ((len(series) + 1) // 2)) as (figure, axes):
        xs = [pairs[i][0] * cost.factor for i in best]
        ys = [pairs[i][1] * scale for i in best]
        axes.step(xs, ys, where="post", color=MUTED, linewidth=1.2, linestyle="--", zorder=1)
        for number, label in enumerate(series):
            colour, marker = marker_of(number)
            for i, e in enumerate(entries):
                if e.series != label:
                    continue
                x, y, spread = pairs[i][0] * cost.factor, pairs[i][1] * scale, e.values["test"].std
                if spread:
                    axes.errorbar(x, y, yerr=spread * scale, color=colour, alpha=0.45, linewidth=1, zorder=2)
                face, above = (colour, 3.5) if i in best else (BACKGROUND, 3.0)
                axes.plot(x, y, marker, color=colour, markerfacecolor=face, markeredgewidth=1.4, zorder=above)
            axes.plot([], [], marker, color=colour, label=plain(label, 26))
        axes.set_xlabel(cost.axis)
        axes.set_ylabel(metric_label(entries))
        number_axis(axes, [p[0] * cost.factor for p in pairs])
        axes.margins(0.09)
        if not lower:
            shares_axis(axes)
        hidden = _number_points(axes, list(zip(xs, ys, strict=True)))
        figure.legend(loc="outside lower center", ncols=2, handletextpad=0.3, columnspacing=1.2)
        title = f"{subject}: {metric_label(entries).split(',')[0].removeprefix('test ')} against {cost.title}"
        description = f"{len(entries)} models. On the front: {'; '.join(points)}."
        drawn = save(figure, name, title, description)
    return Figure(
        name,
        title,
        description,
        drawn,
        points,
        ["Numbers that would cover others are left out of the picture."] if hidden else [],
        data={
            "subject": subject,
            "cost": cost.name,
            "points": [
                {"name": e.name, "cost": p[0], "test": p[1], "front": i in best}
                for i, (e, p) in enumerate(zip(entries, pairs, strict=True))
            ],
        },
    )


def _number_points(axes: Any, points: Sequence[tuple[float, float]]) -> int:
    """Number points from 1 on, but those whose number would lie on another; how many those are."""
    from matplotlib.transforms import Bbox

    figure = axes.figure
    figure.draw_without_rendering()  # where points lie on paper is known then
    taken: list[Any] = []
    hidden = 0
    for number, point in enumerate(points, 1):
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
