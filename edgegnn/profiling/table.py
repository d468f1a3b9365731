"""Profile records as a table for people."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from rich.table import Table

from edgegnn.devices.inventory import TargetInfo
from edgegnn.profiling.comparison import Change, Comparison
from edgegnn.profiling.gate import FIGURES
from edgegnn.profiling.record import WITHOUT_KERNELS, ProfileRecord
from edgegnn.runtime.metrics import NO_ACCURACY, metric_name, without_metric
from edgegnn.runtime.state import throttled_words
from edgegnn.utils.files import size

__all__ = ["notes", "ratios", "render", "render_comparison", "render_targets", "reported_words", "rows"]

Value = Callable[[ProfileRecord], float | None]

# What a ratio can be made of: row -> value. Lower is better for all but throughput and most metrics.
_NUMBERS: dict[str, Value] = {
    "metric": lambda r: None if r.metric is None else r.metric.value,
    "model_file": lambda r: float(r.memory_bytes.model_file),
    "p50": lambda r: r.latency_ms.p50,
    "p90": lambda r: r.latency_ms.p90,
    "p99": lambda r: r.latency_ms.p99,
    "peak_delta": lambda r: float(r.memory_bytes.peak_delta),
    "energy_gross": lambda r: None if r.energy_j is None else r.energy_j.gross,
    "energy_net": lambda r: None if r.energy_j is None else r.energy_j.net,
    "throughput": lambda r: r.throughput_per_s,
    "instructions": lambda r: None if r.instructions is None else float(r.instructions.median),
}


def ratios(base: ProfileRecord, other: ProfileRecord) -> dict[str, float | None]:
    """What the other record has, divided by what the base has.

    Returns:
        metric, model_file, p50, p90, p99, peak_delta, energy_gross, energy_net, throughput, instructions. None where a
        record has no value, the base has 0, the two energies come from different sources, or, for what only a real
        device can tell, one of them is emulated.
    """
    found: dict[str, float | None] = {}
    for name, value in _NUMBERS.items():
        a, b = value(base), value(other)
        comparable = not name.startswith("energy") or _source(base) == _source(other)
        if name not in ("metric", "model_file", "instructions") and (base.emulated or other.emulated):
            comparable = False
        found[name] = b / a if a and b is not None and comparable else None
    return found


def render(records: Sequence[ProfileRecord], *, title: str | None = None) -> Table:
    """A table with one column a record, and the ratio of the second to the first when there are two.

    Args:
        records: at least one.
        title: above the table.
    """
    ratio = ratios(*records) if len(records) == 2 else None
    table = Table(title=title, caption="\n".join(notes(records)), caption_justify="left", title_justify="left")
    table.add_column("")
    for record in records:
        table.add_column(f"{record.artifact}\non {record.target}", justify="right")
    if ratio is not None:
        table.add_column(f"{records[1].artifact}\n/ {records[0].artifact}", justify="right")
    for label, cells, key in rows(records):
        value = ratio.get(key) if ratio is not None else None
        last = [] if ratio is None else ["" if value is None else f"{value:.2f}x"]
        table.add_row(label, *cells, *last)
    return table


def rows(records: Sequence[ProfileRecord]) -> list[tuple[str, list[str], str]]:
    """What a table of records says: label, a cell for each record, and the name of its ratio ("": none is made).

    Args:
        records: at least one.
    """
    found: list[tuple[str, list[str], str]] = []

    def row(label: str, show: Callable[[ProfileRecord], str], key: str = "") -> None:
        found.append((label, [show(record) for record in records], key))

    row("recipe", lambda r: _recipe(r.recipe))
    row(f"{metric_name(_first_metric(records))}, shipped graphs", _metric, "metric")
    row("model file", lambda r: size(r.memory_bytes.model_file), "model_file")
    if any(record.start_ms is not None for record in records):
        row("open, first inference", _start)
    row("latency p50", lambda r: f"{r.latency_ms.p50:.3f} ms{_mark(r)}", "p50")
    row("latency p90", lambda r: f"{r.latency_ms.p90:.3f} ms{_mark(r)}", "p90")
    row("latency p99", lambda r: f"{r.latency_ms.p99:.3f} ms{_mark(r)}", "p99")
    row("fastest", lambda r: f"{r.latency_ms.min:.3f} ms{_mark(r)}")
    for name, pairs in dict.fromkeys((e.name, e.pairs) for r in records for e in r.entries):
        label = name if pairs is None else f"{name} {pairs} pair{'s' * (pairs > 1)}"
        row(f"  {label}, p50", partial(_entry, name=name, pairs=pairs))
    if any(record.latency_ms.repeats for record in records):
        row("p50 of each process", _repeats)
    row("inferences, threads", lambda r: f"{r.latency_ms.n}, {r.latency_ms.threads}")
    if any(record.instructions is not None for record in records):
        row("instructions of one inference", _instructions, "instructions")
    row("throughput", lambda r: f"{r.throughput_per_s:.1f} /s{_mark(r)}", "throughput")
    row("CPU use, all cores = 100 %", lambda r: f"{r.cpu_percent:.0f} %{_mark(r)}")
    row("peak memory over baseline", lambda r: size(r.memory_bytes.peak_delta) + _mark(r), "peak_delta")
    if any(record.memory_bytes.gpu_peak is not None for record in records):
        row("GPU memory", lambda r: "-" if r.memory_bytes.gpu_peak is None else size(r.memory_bytes.gpu_peak))
    row("energy per inference", lambda r: _energy(r, net=False), "energy_gross")
    row("  of it above idle", lambda r: _energy(r, net=True), "energy_net")
    row("kernels", lambda r: "edgegnn" if r.native_kernels else r.runtime)
    return found


def _repeats(record: ProfileRecord) -> str:
    runs = record.latency_ms.repeats
    return f"{min(runs):.3f} to {max(runs):.3f} ms, {len(runs)}" if runs else "-"


def _start(record: ProfileRecord) -> str:
    start = record.start_ms
    return "-" if start is None else f"{start.open:.1f} + {start.first:.2f} ms{_mark(record)}"


def _recipe(name: str) -> str:
    return "fp32" if name == "none" else name  # as `edgegnn.quantize.recipe.shown_name`, which is a layer above


def _entry(record: ProfileRecord, *, name: str, pairs: int | None) -> str:
    found = [e.latency_ms.p50 for e in record.entries if (e.name, e.pairs) == (name, pairs)]
    return f"{found[0]:.3f} ms{_mark(record)}" if found else "-"


def render_comparison(comparison: Comparison) -> Table:
    """A table of what changed, each figure with its limit, and what else was different below it."""
    notes = [comparison.verdict]
    if comparison.spread is not None:
        one = f"{100 * comparison.spread.relative:.1f} %"
        notes.append(f"from run to run p50 differs by {one} (one standard deviation), {comparison.spread.words}")
    notes += [comparison.reason] if comparison.reason and comparison.p50.percent is not None else []
    if any(comparison.estimated):
        notes.append("~ estimated by a model, not measured")
    if any(comparison.emulated):
        notes.append("† emulated: not a measurement")
    if any(comparison.quick):
        notes.append("* quick: short windows, not the full protocol")
    notes += [f"not the same: {text}" for text in comparison.differences]
    table = Table(caption="\n".join(notes), caption_justify="left")
    judged = {FIGURES[one.name]: one for one in comparison.judged}
    for column in ("", "before", "now", "change", *(["limit"] if judged else [])):
        table.add_column(column, justify="right" if column else "left")
    for change in comparison.changes:
        label, show = _CHANGES[change.name]
        energy, timed = change.name.startswith("energy"), change.name not in _UNTIMED
        old, new = (
            "-"
            if value is None
            else f"{'~' * (estimated and energy)}{show(value)}{' †' * (emulated and timed)}{' *' * (quick and timed)}"
            for value, quick, estimated, emulated in zip(
                (change.old, change.new), comparison.quick, comparison.estimated, comparison.emulated, strict=True
            )
        )
        limit = judged.get(change.name)
        last = [] if not judged else ["" if limit is None else f"{limit.limit:g} {limit.unit}: {_STATES[limit.state]}"]
        table.add_row(label, old, new, _percent(change), *last)
    return table


_STATES = {"held": "held", "exceeded": "exceeded", "unclear": "can't tell"}


def _percent(change: Change) -> str:
    if change.percent is None:
        return ""
    text = f"{change.percent:+.1f} %"
    if change.low is not None and change.high is not None:
        text += f" ({change.low:+.1f} to {change.high:+.1f})"
    return text


def render_targets(found: Sequence[TargetInfo]) -> Table:
    """A table of targets, with the reasons below it."""
    notes = []
    for info in found:
        if not info.reachable:
            notes.append(f"{info.name} is not reachable: {info.reason}")
        elif info.energy_reason:
            notes.append(f"{info.name}, energy: {info.energy_reason}")
    table = Table(caption="\n".join(notes), caption_justify="left")
    for column in ("target", "arch", "reachable", "onnxruntime", "native kernels", "energy"):
        table.add_column(column)
    for info in found:
        here = ("yes", info.runtime or "none", "yes" if info.native_kernels else "no", info.energy or "none")
        table.add_row(info.name, info.arch, *(here if info.reachable else ("no", "", "", "")))
    return table


def notes(records: Sequence[ProfileRecord], *, caveats: bool = True) -> list[str]:
    """What has to be said below a table of records, each sentence once.

    Args:
        records: of the table.
        caveats: also what its marks mean, and whether the machine was busy.
    """
    said = []
    for record in records:
        device = record.device
        python = f"torch {device.torch}" if device.torch else f"onnxruntime {device.onnxruntime}"
        runs = python if device.torch or device.onnxruntime else "plain C, no runtime"
        gpu = f", on {device.gpu or 'its GPU'} (copies to it and back are in the times)"
        said.append(
            f"{record.target}: {device.model}, {device.cores} cores, {runs}{gpu * (record.how.processor == 'cuda')}"
        )
    said += [f"{r.metric.name}: {r.metric_caveat}" for r in records if r.metric is not None and r.metric_caveat]
    said += [without_metric(record.metric_reason) for record in records if record.metric_reason]
    for record in records:
        energy = record.energy_j
        if energy is None:
            said.append(f"no energy: {record.energy_reason}")
        elif caveats or energy.kind == "measured":
            mark = "~ estimated" if energy.kind == "estimated" else "measured"
            said.append(f"energy {mark}: {energy.source}; {energy.scope}")
    for record in records:
        if record.emulated:
            said.append(f"† emulated: not a measurement ({record.target}: {record.emulated.split(':')[0]})")
        if record.instructions is not None:
            said.append(f"instructions counted by {record.instructions.source}, one thread")
        elif record.instructions_reason:
            said.append(f"no count of instructions: {record.instructions_reason}")
    said += [f"{r.target}: as reported by the device: {reported_words(r)}" for r in records if r.reported_by_device]
    said += [f"{r.target}: {WITHOUT_KERNELS}" for r in records if r.without_kernels]
    if caveats and any(r.quick for r in records):
        said.append("* quick: short windows, not the full protocol; leave out --quick for figures to quote")
    for record in records:
        words = throttled_words(record.device.throttled)
        if words:
            said.append(f"{record.target}: {', '.join(words)}: edgegnn targets check {record.target} says what helps")
    busy = [r.device.load_average for r in records if r.device.load_average and r.device.load_average > 0.5]
    if caveats and busy:
        said.append(f"the machine was not idle before (load average up to {max(busy):.1f})")
    return list(dict.fromkeys(said))


def reported_words(record: ProfileRecord) -> str:
    """What only the device could tell, in words."""
    fields = [name.split(".")[-1 if name == "metric.value" else 0] for name in record.reported_by_device]
    return ", ".join(dict.fromkeys(_REPORTED.get(name, name) for name in fields))


def _mark(record: ProfileRecord) -> str:
    return " †" * bool(record.emulated)


def _instructions(record: ProfileRecord) -> str:
    return "-" if record.instructions is None else f"{record.instructions.median / 1e6:,.3g} million"


def _first_metric(records: Sequence[ProfileRecord]) -> str:
    return next((r.metric.name for r in records if r.metric is not None), "metric")


def _metric(record: ProfileRecord) -> str:
    if record.metric is None:
        return "-" if record.metric_reason in ("", NO_ACCURACY) else "undefined"
    return f"{record.metric.value:.4f} (n={record.metric.n})"


def _source(record: ProfileRecord) -> str:
    return "" if record.energy_j is None else record.energy_j.source


def _energy(record: ProfileRecord, *, net: bool) -> str:
    energy = record.energy_j
    if energy is None:
        return "-"
    value = energy.net if net else energy.gross
    if value is None:
        return "not above idle"
    return f"{'~' * (energy.kind == 'estimated')}{_joules(value)}{' *' * record.quick}"


def _joules(value: float) -> str:
    for scale, unit in ((1.0, "J"), (1e-3, "mJ"), (1e-6, "µJ")):
        if value >= scale:
            return f"{value / scale:.3g} {unit}"
    return f"{value / 1e-9:.3g} nJ"


# Fields of `reported_by_device` that are not called what they are.
_REPORTED = {
    "latency_ms": "times",
    "entries": "times",
    "start_ms": "times",
    "operators": "times",
    "sweep": "times",
    "sustained": "times",
    "throughput_per_s": "times",
    "cpu_percent": "CPU use",
    "memory_bytes": "memory",
    "energy_j": "energy",
    "value": "the metric's value",
    "saturated": "saturated values",
    "native_kernels": "kernels",
    "device": "what it is",
}
_UNTIMED = ("model_file", "metric", "instructions")
_CHANGES: dict[str, tuple[str, Callable[[float], str]]] = {
    "p50": ("latency p50", lambda v: f"{v:.3f} ms"),
    "p99": ("latency p99", lambda v: f"{v:.3f} ms"),
    "peak_delta": ("peak memory over baseline", lambda v: size(int(v))),
    "gpu_peak": ("GPU memory", lambda v: size(int(v))),
    "model_file": ("model file", lambda v: size(int(v))),
    "energy_gross": ("energy per inference", _joules),
    "energy_net": ("  of it above idle", _joules),
    "instructions": ("instructions of one inference", lambda v: f"{v / 1e6:,.3g} million"),
    "metric": ("metric, shipped graphs", lambda v: f"{v:.4f}"),
}
