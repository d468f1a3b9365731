"""What models take of microcontrollers: flash and RAM by part, and executed instructions."""

from __future__ import annotations

from collections.abc import Sequence

from edgegnn.profiling.footprint import Footprint
from edgegnn.quantize.recipe import shown_name
from edgegnn.reporting.drawing import canvas, save
from edgegnn.reporting.figures import Figure
from edgegnn.reporting.model_points import plain
from edgegnn.reporting.palette import SERIES
from edgegnn.reporting.section import Section
from edgegnn.studies.tables import StudyTable

__all__ = ["section"]

_PARTS = ("constants", "code", "compiler's library")
_MOST = 24  # bars that can be read


def section(records: Sequence[Footprint]) -> Section | None:
    """The part of the page; None without such records."""
    if not records:
        return None
    made = Section("microcontrollers", "On microcontrollers")
    made.figures.append(_flash(records[:_MOST]))
    if len(records) > _MOST:
        made.figures[0].notes.append(f"The first {_MOST} of {len(records)} records; the table has all.")
    made.tables.append(_table(records))
    return made


def _label(record: Footprint) -> str:
    return f"{plain(record.artifact, 30)} on {plain(record.target, 18)}"


def _flash(records: Sequence[Footprint]) -> Figure:
    bars = [(_label(r), (r.needs.constants, r.needs.code, r.needs.support)) for r in records]
    title = "Flash by part"
    description = "; ".join(f"{label}: {sum(parts) / 1000:.1f} kB" for label, parts in bars)
    with canvas(1.2 + 0.35 * len(bars)) as (figure, axes):
        at = [0.0] * len(bars)
        for kind, name in enumerate(_PARTS):
            sizes = [parts[kind] / 1000 for _, parts in bars]
            axes.barh(range(len(bars)), sizes, left=at, color=SERIES[kind], label=name)
            at = [a + b for a, b in zip(at, sizes, strict=True)]
        axes.set_yticks(range(len(bars)), [label for label, _ in bars])
        axes.set_ylim(len(bars) - 0.4, -0.6)
        axes.set_xlabel("kB of flash")
        axes.grid(visible=False, axis="y")
        figure.legend(loc="outside lower center", ncols=len(_PARTS))
        drawn = save(figure, "microcontrollers", title, description)
    rows = [{"model": label, **dict(zip(_PARTS, parts, strict=True))} for label, parts in bars]
    return Figure("microcontrollers", title, description, drawn, notes=[], data={"flash_bytes": rows})


def _table(records: Sequence[Footprint]) -> StudyTable:
    columns = ["artifact", "target", "recipe", "flash, bytes", "RAM, bytes", "instructions, median", "the most"]
    columns += ["limits, nodes / edges", "as PyTorch's, %"]
    rows = [
        [
            plain(r.artifact),
            plain(r.target),
            shown_name(plain(r.recipe)),
            f"{r.needs.flash:,}",
            f"{r.needs.ram:,}",
            f"{r.instructions.median:,}",
            f"{r.instructions.most:,}",
            f"{r.max_nodes:,} / {r.max_edges:,}",
            f"{100 * r.agreement:.2f}",
        ]
        for r in records
    ]
    notes = [f"{_label(r)} does not fit: {plain(r.too_much, 300)}." for r in records if r.too_much]
    notes.append(
        "Compiled and run on emulated processors. Instructions are counted, not timed: no caches, no pipeline, no "
        "waiting for flash. RAM: arena, stack and variables."
    )
    return StudyTable("Memory and instructions", columns, rows, notes, keys=2)
