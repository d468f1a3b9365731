"""Where an inference spends its time: a figure for each record that has the times of operators."""

from __future__ import annotations

from collections.abc import Sequence

from edgegnn.profiling.operator_table import BETWEEN, layer_of, slowest
from edgegnn.profiling.record import OperatorTime, OperatorTimes, ProfileRecord
from edgegnn.reporting.drawing import canvas, save
from edgegnn.reporting.figures import Figure
from edgegnn.reporting.model_points import plain
from edgegnn.reporting.palette import SERIES
from edgegnn.reporting.section import Section

__all__ = ["section"]

_MOST = 12  # bars that can be read
_KINDS = ("edgegnn's kernels", "onnxruntime's", "neither")


def section(records: Sequence[ProfileRecord]) -> Section | None:
    """The part of the page; None where no record has operators."""
    found = [(record, record.operators) for record in records if record.operators is not None]
    if not found:
        return None
    made = Section("operators", "Where an inference spends its time")
    for number, (record, times) in enumerate(found, 1):
        made.figures.append(_figure(f"operators-{number}", record, times))
    return made


def _label(node: OperatorTime) -> str:
    return f"{layer_of(node)} {node.op}".strip()


def _figure(name: str, record: ProfileRecord, times: OperatorTimes) -> Figure:
    shown, rest = slowest(times, _MOST)
    bars = [(plain(_label(node), 34), node.ms, 0 if node.native else 1) for node in shown]
    if rest:
        bars.append((f"{len(rest)} more operators", sum(node.ms for node in rest), 2))
    bars.append((BETWEEN, times.between_ms, 2))
    title = f"Time by operator, {plain(record.artifact)} on {plain(record.target)}"
    description = "; ".join(f"{label}: {ms:.3g} ms" for label, ms, _ in bars)
    from matplotlib.patches import Patch

    kinds = sorted({kind for _, _, kind in bars})
    with canvas(1.2 + 0.3 * len(bars)) as (figure, axes):
        axes.barh(range(len(bars)), [ms for _, ms, _ in bars], color=[SERIES[kind] for *_, kind in bars])
        axes.set_yticks(range(len(bars)), [label for label, *_ in bars])
        axes.set_ylim(len(bars) - 0.4, -0.6)
        axes.set_xlabel("ms in one inference")
        axes.grid(visible=False, axis="y")
        handles = [Patch(color=SERIES[kind], label=_KINDS[kind]) for kind in kinds]
        figure.legend(handles=handles, loc="outside lower center", ncols=2)
        drawn = save(figure, name, title, description)
    notes = [
        f"Mean of {times.inferences} inferences under onnxruntime's profiler, whose own time is in them; "
        f"{record.latency_ms.threads} threads."
    ]
    rows = [{"operator": label, "ms": ms, "kernels": _KINDS[kind]} for label, ms, kind in bars]
    return Figure(name, title, description, drawn, notes=notes, data={"artifact": record.artifact, "operators": rows})
