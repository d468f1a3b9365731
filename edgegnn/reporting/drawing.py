"""Draw with matplotlib, as SVG (for a page, or alone), as PNG and as PDF.

A figure has one small panel, so that its text can be read on a phone.
Untrusted names go through `plain` before they are drawn, and are never taken for mathematics ("$...$").
"""

from __future__ import annotations

import io
import logging
import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any
from xml.etree import ElementTree

from edgegnn.reporting.palette import BACKGROUND, GRID, INK, LIGHT, MUTED

__all__ = ["Drawn", "canvas", "save"]

_WIDTH = 4.0  # inches, 288 points: on a phone of 360 pixels a point is 1.14 of them
_SETTINGS: dict[str, Any] = {
    "svg.fonttype": "none",  # text stays text
    "pdf.fonttype": 42,  # TrueType, which journals ask for
    "text.parse_math": False,
    "font.family": "sans-serif",
    "font.size": 10,
    "axes.labelsize": 10,
    "legend.fontsize": 9.5,
    "xtick.labelsize": 9.5,
    "ytick.labelsize": 9.5,
    "figure.facecolor": BACKGROUND,
    "axes.facecolor": BACKGROUND,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": MUTED,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "grid.color": GRID,
    "grid.linewidth": 0.7,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    "lines.markersize": 6,
    "lines.linewidth": 1.6,
    "axes.unicode_minus": True,
}
_SVG = "http://www.w3.org/2000/svg"
_LINK = "http://www.w3.org/1999/xlink"


@dataclass(frozen=True)
class Drawn:
    """A figure as it is written.

    Attributes:
        inline: `<svg>` element for the page: colours are CSS variables, its ids start with the figure's name.
        svg: a file of its own, on white.
        png: draws the same, 200 dots an inch.
        pdf: draws the same for a paper, with its fonts.
    """

    inline: str
    svg: bytes
    png: Callable[[], bytes]
    pdf: Callable[[], bytes]


@contextmanager
def canvas(height: float = 3.3, panels: Sequence[int] = (1,)) -> Iterator[tuple[Any, Any]]:
    """A figure and its panel (`Figure`, `Axes`), with the report's fonts and colours while the block lasts.

    Args:
        height: inches.
        panels: heights of panels with the same x axis, from the top, in proportion; the highest one is given, all are
            the figure's `axes`.
    """
    import matplotlib
    from matplotlib.figure import Figure

    # Fonts that it lacks, or is still looking for, are of no concern: text is set in the reader's.
    logging.getLogger("matplotlib.font_manager").setLevel(logging.ERROR)
    with matplotlib.rc_context(_SETTINGS):
        figure = Figure(figsize=(_WIDTH, height), layout="constrained")
        axes = figure.subplots(len(panels), sharex=True, height_ratios=panels, squeeze=False)[:, 0]
        yield figure, axes[panels.index(max(panels))]


def save(figure: Any, name: str, title: str, description: str) -> Drawn:
    """Write a figure; call it inside the block of `canvas`.

    Args:
        figure: matplotlib's.
        name: unique in the page, of letters, digits and "-".
        title: what a screen reader says first.
        description: what is to be seen.
    """
    svg = _written(figure, "svg", name, {"Date": None, "Creator": None, "Title": title})
    png = partial(_written, figure, "png", name, {"Software": None, "Title": title})
    pdf = partial(
        _written, figure, "pdf", name, {"CreationDate": None, "Creator": None, "Producer": None, "Title": title}
    )
    return Drawn(_inline(svg, name, title, description), svg, png, pdf)


def _written(figure: Any, format: str, name: str, metadata: dict[str, str | None]) -> bytes:
    import matplotlib

    out = io.BytesIO()
    with matplotlib.rc_context({**_SETTINGS, "svg.hashsalt": name}), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # letters that the font lacks: the reader's browser has them
        figure.savefig(out, format=format, dpi=200, metadata=metadata)
    return out.getvalue()


def _inline(svg: bytes, name: str, title: str, description: str) -> str:
    """The `<svg>` element for a page that has other figures: ids of its own, colours and fonts of the page."""
    ElementTree.register_namespace("", _SVG)
    ElementTree.register_namespace("xlink", _LINK)
    root = ElementTree.fromstring(svg)
    for extra in [*root.findall(f"{{{_SVG}}}metadata"), *root.findall(f"{{{_SVG}}}title")]:
        root.remove(extra)
    names = {element.get("id"): f"{name}-{number}" for number, element in enumerate(root.iter()) if element.get("id")}
    for element in root.iter():
        for key, value in element.attrib.items():
            if key == "id":
                element.set(key, names[value])
            elif key in (f"{{{_LINK}}}href", "href"):
                element.set(key, f"#{names[value.removeprefix('#')]}")
            else:
                value = re.sub(r"url\(#([^)]*)\)", lambda m: f"url(#{names[m[1]]})", value)
                element.set(key, _themed(value) if key in ("style", "fill", "stroke") else value)
    for key in ("width", "height", "version"):
        root.attrib.pop(key, None)
    root.set("role", "img")
    root.set("aria-labelledby", f"{name}-title {name}-description")
    for position, (tag, text) in enumerate((("title", title), ("desc", description))):
        element = ElementTree.Element(
            f"{{{_SVG}}}{tag}", {"id": f"{name}-{'title' if tag == 'title' else 'description'}"}
        )
        element.text = text
        root.insert(position, element)
    return ElementTree.tostring(root, encoding="unicode")


def _themed(style: str) -> str:
    """A style with the palette's colours as variables, and without fonts: those are the page's."""
    variables = {light: f"var(--{variable})" for variable, light in LIGHT.items()}
    style = re.sub(r"#[0-9a-f]{6}\b", lambda m: variables.get(m[0], m[0]), style)
    return re.sub(r"font-family:[^;]*;?\s*", "", style)
