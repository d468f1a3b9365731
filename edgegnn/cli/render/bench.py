"""Printing of `edgegnn bench`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from rich.table import Table

from edgegnn.cli.render.summaries import _json, _print, measuring
from edgegnn.cli.render.terminal import complain, say
from edgegnn.errors import EdgeGNNError
from edgegnn.runtime.metrics import metric_name, metric_text
from edgegnn.utils.files import size

if TYPE_CHECKING:
    from edgegnn.bench.comparing import Compared
    from edgegnn.bench.files import Bundle, Row
    from edgegnn.bench.output import Written
    from edgegnn.bench.prepare import Prepared

__all__ = ["compared", "prepared", "ran", "running"]


def running() -> AbstractContextManager[Callable[[str], None]]:
    """A spinner on stderr; a function of what is being done."""
    return measuring("bench")


def prepared(found: Mapping[str, Prepared | EdgeGNNError], as_json: bool) -> bool:
    """Result of `bench --prepare`; whether a task could not be made."""
    failed = {name: one for name, one in found.items() if isinstance(one, EdgeGNNError)}
    made = {name: one for name, one in found.items() if not isinstance(one, EdgeGNNError)}
    if as_json:
        import msgspec

        ready = [{"folder": str(one.folder), **msgspec.to_builtins(one.facts)} for one in made.values()]
        _json({"tasks": ready, "failed": {name: str(error) for name, error in failed.items()}})
    else:
        table = _table("task", "data", "graphs", "fp32 quality", "folder")
        for name, one in made.items():
            facts = one.facts
            data = facts.data.name if facts.data.public else f"generated, seed {facts.data.seed}"
            quality = f"{metric_text(facts.fp32.name, facts.fp32.value)} {metric_name(facts.fp32.name)}"
            table.add_row(name, data, str(facts.graphs), quality, str(one.folder))
        _print(table)
    for name, error in failed.items():
        complain(f"{name}: {error}")
    return bool(failed)


def ran(written: Written, as_json: bool) -> None:
    """Result of `bench`."""
    bundle = written.bundle
    if as_json:
        _json({"file": str(written.path), "pictures": [str(path) for path in written.pictures], **written.values})
    else:
        _print(_latencies(bundle))
        say("")
        _print(_sizes(bundle))
        _say_long_runs(bundle)
        for text in _notes(bundle):
            say(text)
        say(
            f"wrote {written.path}"
            + (f", {', '.join(path.name for path in written.pictures)}" if written.pictures else "")
        )
    for row in bundle.rows:
        if row.record is None:
            complain(f"{row.task}, {row.runner}: {row.reason}")


def _latencies(bundle: Bundle) -> Table:
    table = _table("milliseconds", "runner", "p50", "p90", "p99", "to open", "first")
    for row in bundle.measured:
        record = row.record
        assert record is not None
        latency, start = record.latency_ms, record.start_ms
        times = [latency.p50, latency.p90, latency.p99, *((start.open, start.first) if start else ())]
        shown = [f"{value:.3f}" if value < 100 else f"{value:.0f}" for value in times] + ["-"] * (5 - len(times))
        shown[0] += " †" * bool(record.emulated) + " *" * bundle.quick
        table.add_row(row.task, row.runner, *shown)
    return table


def _sizes(bundle: Bundle) -> Table:
    from edgegnn.reporting.figures import joules

    table = _table("sizes", "runner", "model", "memory", "energy", "agrees", "quality", "of fp32")
    for row in bundle.measured:
        record = row.record
        assert record is not None
        energy = record.energy_j
        spent = "-" if energy is None else f"{'~' * (energy.kind == 'estimated')}{joules(energy.gross)}"
        agreement = "-" if row.agreement is None else f"{row.agreement:.1%}"
        memory, model = size(record.memory_bytes.peak_delta), size(record.memory_bytes.model_file)
        table.add_row(row.task, row.runner, model, memory, spent, agreement, *_quality(row))
    return table


def _quality(row: Row) -> tuple[str, str]:
    """The quality, and its share of the fp32 model's; "!" where that is too low."""
    if row.quality is None:
        return "-", "-"
    share = "-" if row.share is None else f"{row.share:.1%}{'' if row.valid else ' !'}"
    return metric_text(row.quality.name, row.quality.value).replace(" ", ""), share


def _say_long_runs(bundle: Bundle) -> None:
    from edgegnn.bench.long_run import judge_long_run

    for row in bundle.measured:
        if row.record is not None and row.record.sustained:
            say(f"{row.task}, {row.runner}, without a pause: {judge_long_run(row.record.sustained).words}")


def _notes(bundle: Bundle) -> list[str]:
    """What has to be said below the table."""
    found = []
    for task in bundle.tasks:
        if task.data.reason:
            found.append(
                f"{task.name}: generated data, seed {task.data.seed}, in the place of a public set: {task.data.reason}"
            )
    sources = {
        row.record.energy_j.source: row.record.energy_j.kind
        for row in bundle.measured
        if row.record and row.record.energy_j
    }
    found += [f"energy {'~ estimated' if kind == 'estimated' else kind}: {source}" for source, kind in sources.items()]
    if not sources and bundle.measured and bundle.measured[0].record is not None:
        found.append(f"no energy: {bundle.measured[0].record.energy_reason}")
    if any(row.record is not None and row.record.emulated for row in bundle.rows):
        found.append("† emulated: not a measurement")
    if any(row.record is not None and not row.valid for row in bundle.rows):
        found.append("! below 99 % of the fp32 model's quality: not valid")
    if bundle.quick:
        found.append("* quick: short windows, not a result to submit; leave out --quick")
    return found


def compared(result: Compared, as_json: bool) -> None:
    """Result of `bench --compare`."""
    if as_json:
        _json(result.to_dict())
        return
    table = _table("task", "runner", "before", "now", "faster", "model", "energy", "valid")
    for pair in result.pairs:
        runner = pair.runners[0] if pair.runners[0] == pair.runners[1] else " → ".join(pair.runners)
        energy = "-" if pair.energy_j is None else _of_before(*pair.energy_j)
        table.add_row(
            pair.task,
            runner,
            *(f"{value:.3f} ms" for value in pair.p50_ms),
            "-" if pair.ratio is None else f"{pair.ratio:.2f}x",
            _of_before(*pair.bytes),
            energy,
            " → ".join("yes" if valid else "no" for valid in pair.valid),
        )
    _print(table)
    if result.ratio is not None:
        say(f"all tasks: {result.ratio:.2f}x as fast (geometric mean)")
    for text in [*result.notes, *result.missing]:
        say(text)
    for text in dict.fromkeys(f"{pair.task}: {note}" for pair in result.pairs for note in pair.notes):
        say(text)


def _of_before(before: float, now: float) -> str:
    """A figure as a share of what it was."""
    return f"{now / before:.2f}x" if before else "-"


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    for i, name in enumerate(columns):
        table.add_column(name, justify="left" if i < 2 else "right", no_wrap=i < 2, overflow="fold")
    return table
