"""Colours and markers of the figures: told apart by shape as well as by colour.

The colours of series follow Okabe and Ito (jfly.uni-koeln.de/color), darker on white and lighter on black where the
originals have too little contrast; every one has at least 3:1 to its background, text at least 4.5:1 (WCAG 2.2).
Figures are drawn with the light colours; in the page each of them is a CSS variable that has another value in the dark.
"""

from __future__ import annotations

__all__ = ["BACKGROUND", "DARK", "GRID", "INK", "LIGHT", "MARKERS", "MUTED", "SERIES", "css_variables", "marker_of"]

# Name of the CSS variable -> colour on a light and on a dark background. No two light ones are the same.
_COLOURS = {
    "fig-background": ("#ffffff", "#16191d"),
    "fig-ink": ("#1d2126", "#e8eaed"),
    "fig-muted": ("#5b636d", "#a3abb5"),
    "fig-grid": ("#d9dde2", "#363c44"),
    "fig-1": ("#0072b2", "#56b4e9"),
    "fig-2": ("#d55e00", "#ff8b3d"),
    "fig-3": ("#00805d", "#2dc79b"),
    "fig-4": ("#a8467f", "#e59ac6"),
    "fig-5": ("#8a6d00", "#f0e442"),
    "fig-6": ("#3b6fe0", "#9db8ff"),
    "fig-7": ("#6b7280", "#c3c8cf"),
}
LIGHT = {name: light for name, (light, _) in _COLOURS.items()}
DARK = {name: dark for name, (_, dark) in _COLOURS.items()}
BACKGROUND, INK, MUTED, GRID = (LIGHT[f"fig-{name}"] for name in ("background", "ink", "muted", "grid"))
SERIES = tuple(LIGHT[f"fig-{number}"] for number in range(1, 8))
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "p", "*")  # as many as have no divisor with the number of colours


def marker_of(number: int) -> tuple[str, str]:
    """Colour and marker of a series; 63 of them differ."""
    return SERIES[number % len(SERIES)], MARKERS[number % len(MARKERS)]


def css_variables(colours: dict[str, str]) -> str:
    """As declarations of CSS: `--fig-ink: #1d2126; ...`."""
    return " ".join(f"--{name}: {value};" for name, value in colours.items())
