"""Markdown tables that can be read in a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


def table(head: Sequence[str], rows: Sequence[Sequence[object]], *, left: int = 1) -> str:
    """A table whose first `left` columns are aligned left, the others right."""
    cells = [[str(c) for c in head], *([str(c) for c in row] for row in rows)]
    widths = [max(3, *(len(row[i]) for row in cells)) for i in range(len(head))]

    def line(row: Sequence[str]) -> str:
        padded = [c.ljust(w) if i < left else c.rjust(w) for i, (c, w) in enumerate(zip(row, widths, strict=True))]
        return f"| {' | '.join(padded)} |"

    rule = ["-" * w if i < left else "-" * (w - 1) + ":" for i, w in enumerate(widths)]
    return "\n".join([line(cells[0]), line(rule), *map(line, cells[1:])])


def ms(value: float | None) -> str:
    """Milliseconds with three figures; empty for None."""
    if value is None:
        return ""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}" if value >= 1 else f"{value:.4f}"[:6]


def times(value: float | None) -> str:
    """A ratio: "12.3x"."""
    if value is None:
        return ""
    return f"{value:,.0f}x" if value >= 100 else f"{value:.3g}x"


@dataclass(frozen=True)
class Goal:
    """A ratio that was set before: how many times faster `what` has to be than `against`."""

    what: str
    against: str
    ratio: float | None
    goal: float

    @property
    def verdict(self) -> str:
        if self.ratio is None:
            return "not measured"
        return "reached" if self.ratio >= self.goal else "**missed**"


def goals_table(goals: Sequence[Goal], *, share: bool = False) -> str:
    """Goals, what was measured, and whether that is enough; shares are printed in percent."""

    def show(value: float | None) -> str:
        return times(value) if not share else "" if value is None else f"{100 * value:.0f} %"

    rows = [[g.what, g.against, show(g.ratio), f"≥ {show(g.goal)}", g.verdict] for g in goals]
    return table(["what", "against", "measured", "to reach", ""], rows, left=2)
