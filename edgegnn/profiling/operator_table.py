"""The operators of a record, and its times by the size of the graph, as tables for people."""

from __future__ import annotations

from rich.table import Table

from edgegnn.profiling.record import OperatorTime, OperatorTimes, ProfileRecord

__all__ = ["BETWEEN", "layer_of", "render_operators", "render_sweep", "slowest"]

MOST = 15  # rows of the table; the record has all
_BAR = 10  # characters
_RATED = 0.01  # share of the time from which on bytes a second say something
BETWEEN = "between operators"


def render_operators(record: ProfileRecord) -> Table:
    """A table of the operators that take most of an inference, with a bar for each.

    Args:
        record: with operators.
    """
    times = record.operators
    assert times is not None
    shown, rest = slowest(times, MOST)
    total = sum(node.ms for node in times.nodes) + times.between_ms
    table = Table(title="where an inference spends its time", title_justify="left", caption_justify="left")
    table.caption = (
        f"mean of {times.inferences} inferences under onnxruntime's profiler, {total:.3f} ms each; a copy of a large "
        f"array moves {times.copy_bytes_per_s / 1e9:.1f} GB/s here"
    )
    table.add_column("layer", overflow="fold")
    table.add_column("operator", overflow="fold")
    table.add_column("kernel")
    table.add_column("ms", justify="right")
    table.add_column("share", justify="right")
    table.add_column("", no_wrap=True)
    table.add_column("GB/s", justify="right")
    for node in shown:
        rate = f"{node.bytes / node.ms / 1e6:.1f}" if node.ms > _RATED * total else ""
        kernel = "edgegnn" if node.native else "onnxruntime"
        table.add_row(layer_of(node), node.op, kernel, *_share(node.ms, total), rate)
    if rest:
        table.add_row("", f"{len(rest)} more", "", *_share(sum(node.ms for node in rest), total), "")
    table.add_row("", BETWEEN, "", *_share(times.between_ms, total), "")
    return table


def layer_of(node: OperatorTime) -> str:
    """Path of the layer that an operator belongs to; "" for the model itself."""
    path = node.name.rpartition("/")[0]
    return "" if path == "model" else path.removeprefix("model.")


def render_sweep(record: ProfileRecord) -> Table:
    """A table of the latency on smaller and larger graphs.

    Args:
        record: with a sweep.
    """
    table = Table(title="latency by the size of the graph", title_justify="left", caption_justify="left")
    for column in ("edges", "nodes", "p50", "of an edge"):
        table.add_column(column, justify="right")
    for point in record.sweep:
        if point.p50_ms is None:
            table.add_row(f"{point.edges:,}", "", "-", "")
            table.caption = f"{point.edges:,} edges: {point.reason}"
            continue
        each = f"{point.p50_ms * 1e6 / point.edges:,.0f} ns" if point.edges else ""
        table.add_row(f"{point.edges:,}", f"{point.nodes:,}", f"{point.p50_ms:.3f} ms", each)
    return table


def slowest(times: OperatorTimes, most: int) -> tuple[list[OperatorTime], list[OperatorTime]]:
    """The operators that take most of the time, the longest first, and the others; never one other alone."""
    ordered = sorted(times.nodes, key=lambda node: -node.ms)
    most += len(ordered) == most + 1
    return ordered[:most], ordered[most:]


def _share(ms: float, total: float) -> tuple[str, str, str]:
    part = ms / total if total > 0 else 0.0
    return f"{ms:.3f}", f"{part:.1%}", "█" * round(part * _BAR)
