"""Printing of `edgegnn recipes` and `edgegnn doctor`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from edgegnn.cli.render.summaries import _json, _print
from edgegnn.cli.render.terminal import say

if TYPE_CHECKING:
    from edgegnn.cli.checkup import Finding
    from edgegnn.quantize.facts import RecipeFacts

__all__ = ["doctor", "recipes"]

_COLORS = {"ok": "green", "optional": "dim", "warning": "yellow", "broken": "red"}


def recipes(found: Sequence[RecipeFacts], as_json: bool) -> None:
    """Result of `recipes`."""
    if as_json:
        _json([recipe.to_dict() for recipe in found])
        return
    table = Table(box=None, pad_edge=False)
    table.add_column("recipe", style="bold", no_wrap=True)
    for column in ("method", "bits", "trains", "needs", "file, of fp32"):
        table.add_column(column, overflow="fold")
    for recipe in found:
        trains = "yes" if recipe.trains else "no"
        table.add_row(recipe.name, recipe.method, recipe.bits, trains, recipe.needs, recipe.size)
    _print(table)
    say("next: edgegnn export model.pt --quant dq-int8")


def doctor(found: Sequence[Finding], as_json: bool) -> None:
    """Result of `doctor`."""
    broken = [finding.name for finding in found if finding.state == "broken"]
    if as_json:
        _json({"ok": not broken, "findings": [finding.to_dict() for finding in found]})
        return
    table = Table(box=None, pad_edge=False, show_header=False)
    for _ in range(3):
        table.add_column(overflow="fold")
    for finding in found:
        table.add_row(finding.name, Text(finding.state, style=_COLORS[finding.state]), finding.detail)
        if finding.cure:
            table.add_row("", "", f"→ {finding.cure}")
    _print(table)
    say(f"broken: {', '.join(broken)}" if broken else "edgegnn can train, export, verify and measure here")
