"""The card: the headline of a report as one picture, 1200 x 630 pixels."""

from __future__ import annotations

from typing import Any

from edgegnn.reporting.headline import Headline, Step
from edgegnn.reporting.model_points import plain
from edgegnn.reporting.palette import GRID, INK, MUTED, SERIES
from edgegnn.reporting.picture import HEIGHT, WIDTH, Picture, bar, blank, drawn, text

__all__ = ["draw_card"]

_LEFT, _RIGHT = 48, WIDTH - 48
_GAP = 32


def draw_card(headline: Headline, made: str) -> Picture:
    """Draw the card.

    Args:
        headline: what it shows.
        made: with what, and when: the last line.
    """
    with blank() as (figure, axes):
        subject = plain(headline.subject, 52)
        text(axes, _LEFT, 92, subject, 44 if len(subject) < 34 else 32, INK, weight="bold")
        text(axes, _LEFT, 140, f"{headline.before}  \N{RIGHTWARDS ARROW}  {plain(headline.after, 60)}", 25, MUTED)
        if headline.device:
            text(axes, _LEFT, 174, plain(headline.device, 80), 18, MUTED)
        width = (_RIGHT - _LEFT - _GAP * (len(headline.steps) - 1)) / len(headline.steps)
        for number, step in enumerate(headline.steps):
            _step(axes, step, _LEFT + number * (width + _GAP), width, headline)
        last = [plain(headline.why, 140), ", ".join([made, *headline.caveats])]
        for number, line in enumerate(last):
            text(axes, _LEFT, HEIGHT - 58 + 27 * number, line, 15, MUTED)
        return drawn(figure, f"{headline.subject}: {headline.before} to {headline.after}")


def _step(axes: Any, step: Step, left: float, width: float, headline: Headline) -> None:
    """A column: the axis, the large number, and two bars with an arrow's values."""
    axes.plot([left, left + width], [214, 214], color=GRID, linewidth=1.4)
    text(axes, left, 252, step.axis[:1].upper() + step.axis[1:], 20, MUTED)
    colour = MUTED if step.unsure else SERIES[1] if step.worse else SERIES[0]
    size = 64 if width > 300 else 54
    shown = text(axes, left, 328, step.large, size, colour, weight="bold")
    box = shown.get_window_extent(axes.figure.canvas.get_renderer())
    text(axes, left + box.width + 10, 328, step.words, 20, INK)
    text(axes, left, 362, step.doubt, 17, MUTED)
    longest = max(step.share, 1.0)
    for top, share, name, value, fill in (
        (392, 1.0, f"{headline.before} ", step.before, GRID),
        (462, step.share, "\N{RIGHTWARDS ARROW} ", step.after, SERIES[0]),
    ):
        axes.add_patch(bar(left, top, width * share / longest, 20, fill))
        text(axes, left, top + 44, f"{name}{value}", 19, INK)
