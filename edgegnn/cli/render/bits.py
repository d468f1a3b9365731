"""How learnt bit widths are printed."""

from __future__ import annotations

from typing import Any

from rich.table import Table

__all__ = ["bits_in_words", "bits_table"]


def bits_in_words(average: dict[str, float]) -> str:
    """Average widths in one line."""
    return f"{average['rows']:.2f} a row, {average['values']:.2f} a value in front of products"


def bits_table(points: dict[str, dict[str, Any]]) -> Table:
    """A table of bit widths: the number of nodes or groups with each width, in front of each product."""
    table = Table(box=None, pad_edge=False, title="learnt bits", title_justify="left")
    table.add_column("in front of")
    for column in ("average", "for each", "columns"):
        table.add_column(column, justify="right")
    table.add_column("bits: how many")
    for name, point in points.items():
        widths = ", ".join(f"{bits}: {count:,}" for bits, count in point["histogram"].items())
        cells = [f"{point['average']:.2f}", point["kind"], str(point["columns"]), widths]
        table.add_row(name.removesuffix(".input"), *cells)
    return table
