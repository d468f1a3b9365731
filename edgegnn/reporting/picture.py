"""Pictures of a fixed size in pixels, with the report's colours: as SVG, whose text stays text, and as PNG."""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from edgegnn.reporting.palette import BACKGROUND, INK, MUTED

__all__ = ["HEIGHT", "WIDTH", "Picture", "bar", "blank", "drawn", "text"]

WIDTH, HEIGHT = 1200, 630  # pixels: what social networks show
_DOTS = 100
_POINT = 0.72  # points for pixels: a figure of 100 dots an inch has 1.39 pixels a point
_SETTINGS: dict[str, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "edgegnn-card",
    "text.parse_math": False,  # names are never taken for mathematics
    "font.family": "sans-serif",
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": MUTED,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
}


@dataclass(frozen=True)
class Picture:
    """A picture in both formats."""

    svg: bytes
    png: bytes


@contextmanager
def blank() -> Iterator[tuple[Any, Any]]:
    """An empty figure, and axes over all of it that count in pixels from the top left, while the block lasts."""
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    logging.getLogger("matplotlib.font_manager").setLevel(logging.ERROR)
    with matplotlib.rc_context(_SETTINGS):
        figure = Figure(figsize=(WIDTH / _DOTS, HEIGHT / _DOTS), dpi=_DOTS, facecolor=BACKGROUND)
        FigureCanvasAgg(figure)  # which measures texts
        axes = figure.add_axes((0, 0, 1, 1))
        axes.set_xlim(0, WIDTH)
        axes.set_ylim(HEIGHT, 0)
        axes.axis("off")
        yield figure, axes


def drawn(figure: Any, title: str) -> Picture:
    """Write a figure; call it inside the block of `blank`."""
    return Picture(
        _written(figure, "svg", {"Date": None, "Creator": None, "Title": title}),
        _written(figure, "png", {"Software": None, "Title": title}),
    )


def text(axes: Any, x: float, y: float, words: str, pixels: float, colour: str, **more: Any) -> Any:
    """Words whose base line is at `y`, in letters of a height in pixels."""
    return axes.text(x, y, words, fontsize=pixels * _POINT, color=colour, va="baseline", **more)


def bar(x: float, y: float, width: float, height: float, colour: str) -> Any:
    """A filled rectangle that is seen however short it is."""
    from matplotlib.patches import Rectangle

    return Rectangle((x, y), max(width, 1.5), height, facecolor=colour, linewidth=0)


def _written(figure: Any, format: str, metadata: dict[str, str | None]) -> bytes:
    out = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # letters that the font lacks
        figure.savefig(out, format=format, dpi=_DOTS, metadata=metadata)
    return out.getvalue()
