"""Latency against the number of edges: a curve for each record that has a sweep."""

from __future__ import annotations

from collections.abc import Sequence

from edgegnn.profiling.record import ProfileRecord
from edgegnn.reporting.drawing import canvas, save
from edgegnn.reporting.figures import Figure
from edgegnn.reporting.model_points import plain
from edgegnn.reporting.palette import MUTED, marker_of
from edgegnn.reporting.section import Section

__all__ = ["section"]


def section(records: Sequence[ProfileRecord]) -> Section | None:
    """The part of the page; None where no record has a sweep of two sizes."""
    curves = {
        f"{plain(record.artifact, 24)} on {plain(record.target, 16)}": points
        for record in records
        if len(points := [(p.edges, p.p50_ms) for p in record.sweep if p.p50_ms and p.edges]) > 1
    }
    if not curves:
        return None
    title = "Latency by the size of the graph"
    description = "; ".join(
        f"{label}: " + ", ".join(f"{edges:,} edges {ms:.3g} ms" for edges, ms in points)
        for label, points in curves.items()
    )
    with canvas(3.3 + 0.19 * len(curves)) as (figure, axes):
        for number, (label, points) in enumerate(curves.items()):
            colour, marker = marker_of(number)
            axes.plot(*zip(*points, strict=True), color=colour, marker=marker, label=label)
        edges, ms = next(iter(curves.values()))[-1]
        low = min(points[0][0] for points in curves.values())
        axes.plot([low, edges], [ms * low / edges, ms], color=MUTED, linestyle=":", label="in proportion to the edges")
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.xaxis.set_major_formatter(lambda value, _: _short(value))
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axes.set_xlabel("edges")
        axes.set_ylabel("latency p50, ms")
        figure.legend(loc="outside lower center", ncols=1)
        drawn = save(figure, "sweep-1", title, description)
    notes = ["The shipped graph with the most edges, made smaller or larger at the same density, edges at random."]
    made = Section("sweep", title)
    made.figures.append(Figure("sweep-1", title, description, drawn, notes=notes, data={"curves": curves}))
    return made


def _short(number: float) -> str:
    """A number of edges as 1k, 10k, 1M."""
    scale, unit = next(((s, u) for s, u in ((1e6, "M"), (1e3, "k")) if number >= s), (1.0, ""))
    return f"{number / scale:g}{unit}"
