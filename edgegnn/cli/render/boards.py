"""What `edgegnn profile` shows of emulated microcontrollers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.table import Table

from edgegnn.cli.render.summaries import _json, _print
from edgegnn.cli.render.terminal import say

if TYPE_CHECKING:
    from edgegnn.profiling.footprint import Footprint

__all__ = ["weighed"]


def weighed(found: list[Footprint], as_json: bool) -> None:
    """Result of `profile` on microcontrollers."""
    if as_json:
        _json(found[0].to_dict() if len(found) == 1 else [record.to_dict() for record in found])
        return
    table = Table()
    table.add_column("")
    for record in found:
        table.add_column(f"{record.artifact}\non {record.target}", justify="right")
    rows = {
        "flash": [f"{r.needs.flash:,} B" for r in found],
        "  code": [f"{r.needs.code:,} B" for r in found],
        "  constants": [f"{r.needs.constants:,} B" for r in found],
        "  compiler's library": [f"{r.needs.support:,} B" for r in found],
        "RAM": [f"{r.needs.ram:,} B" for r in found],
        "  arena": [f"{r.needs.arena:,} B" for r in found],
        "  stack": [f"{r.needs.stack:,} B" for r in found],
        "inputs and outputs beside": [f"{r.needs.inputs + r.needs.outputs:,} B" for r in found],
        "instructions, median": [f"{r.instructions.median:,}" for r in found],
        "  the most": [f"{r.instructions.most:,}" for r in found],
        "predictions as PyTorch's": [f"{r.agreement:.2%}" for r in found],
        "largest difference": [f"{r.max_abs_error:.3g}" for r in found],
    }
    for name, values in rows.items():
        table.add_row(name, *values)
    _print(table)
    for record in found:
        count = record.instructions
        left = f"; {record.beyond} are beyond the C form's limits" * bool(record.beyond)
        say(
            f"{record.target}: {count.graphs} graphs of at most {record.max_nodes} nodes and {record.max_edges} edges"
            f"{left}; {record.compiler}, {record.flags}; {record.emulator}"
        )
        if record.note:
            say(f"{record.target}: {record.note}")
        if record.too_much:
            say(f"{record.target}: does not fit: {record.too_much}")
    say("Instructions are counted, not timed: no caches, no pipeline, no waiting for flash.")
