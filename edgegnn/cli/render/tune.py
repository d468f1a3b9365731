"""Printing of `edgegnn tune`: the front and the winner on stdout, progress on stderr."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from rich.progress import BarColumn, Progress, SpinnerColumn
from rich.table import Table

from edgegnn.cli.render.summaries import _facts, _json, _print
from edgegnn.cli.render.terminal import Terminal, say, text_column
from edgegnn.runtime.metrics import metric_text
from edgegnn.utils.files import size

if TYPE_CHECKING:
    from edgegnn.training import EpochLog
    from edgegnn.tuning import Tuned
    from edgegnn.tuning.budget import Clock

__all__ = ["searching", "tuned"]

_WIDE = 1000  # columns
_SMALL = ("flash", "RAM", "instructions")  # of a microcontroller


class TuneProgress:
    """A bar of the budget with the best so far, a line of what is being done, and a line for each candidate."""

    def __init__(self, bars: Progress, console: Terminal) -> None:
        self._bars, self._console = bars, console
        self._search = bars.add_task("search", total=None, text="")
        self._now = bars.add_task("", total=None, text="")
        self._clock: Clock | None = None
        self._metric, self._label, self._best = "", "", "nothing yet"

    def begin(self, clock: Clock, metric: str, records: list[dict[str, Any]]) -> None:
        """See `edgegnn.tune.Watch`."""
        self._clock, self._metric = clock, metric
        before = f", going on after {len(records)} candidates" if records else ""
        self._console.print(f"{_minutes(clock.left)} of {_minutes(clock.budget)} left{before}")
        self._time()

    def candidate(self, number: int, label: str) -> None:
        """See `edgegnn.tune.Watch`."""
        self._label = label
        self._bars.update(self._now, description=label, total=None, completed=0, text="")
        self._time()

    def epoch(self, log: EpochLog) -> None:
        """See `edgegnn.tune.Watch`."""
        found = "" if log.val_metric is None else f"val {metric_text(log.metric, log.val_metric)}"
        self._bars.update(self._now, total=log.epochs, completed=log.epoch, text=found)
        self._time()

    def status(self, text: str) -> None:
        """See `edgegnn.tune.Watch`."""
        self._bars.update(self._now, total=None, completed=0, text=text)
        self._time()

    def ended(self, record: dict[str, Any], winner: dict[str, Any] | None) -> None:
        """See `edgegnn.tune.Watch`."""
        if record["status"] != "done":
            what = record["reason"]
        else:
            what = f"{_figures(record)}, {_drop(record['drop'], self._metric)}"
            what += "" if record["within"] else " (too much)"
        line = f"{self._label}: {what} ({record['seconds']:.0f} s, {_minutes(self._left)} left)"
        self._console.print(line, soft_wrap=True)
        if winner is not None:
            self._best = f"{winner['label']}, {_figures(winner)}"
        self._time()

    @property
    def _left(self) -> float:
        return 0.0 if self._clock is None else max(0.0, self._clock.left)

    def _time(self) -> None:
        if self._clock is not None:
            text = f"{_minutes(self._left)} left, best: {self._best}"
            self._bars.update(self._search, total=self._clock.budget, completed=self._clock.spent, text=text)


@contextlib.contextmanager
def searching() -> Iterator[TuneProgress]:
    """Progress on stderr: bars in a terminal, a line for each candidate everywhere."""
    console = Terminal(stderr=True)
    columns = (
        SpinnerColumn(),
        text_column("{task.description}"),
        BarColumn(bar_width=24),
        text_column("{task.fields[text]}"),
    )
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bars:
        yield TuneProgress(bars, console)


def tuned(found: Tuned, as_json: bool) -> None:
    """Result of `tune`."""
    from edgegnn.profiling.record import WITHOUT_KERNELS

    content = found.front
    if as_json:
        checkpoint = None if found.checkpoint is None else str(found.checkpoint)
        _json({"folder": str(found.folder), "artifact": str(found.artifact), "checkpoint": checkpoint, **content})
        return
    metric, winner = content["metric"], found.winner
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    small = any("footprint" in c for c in content["candidates"])
    for heading in ("front", "validation", "drop", "file", *(_SMALL if small else ("p50", "energy"))):
        table.add_column(heading, justify="left" if heading == "front" else "right")
    shown = [c for c in content["candidates"] if c["front"] or c["preset"] is not None]
    for c in sorted((c for c in shown if c["status"] == "done"), key=lambda c: (not c["front"], c["bytes"])):
        name = c["label"] + ("  <- best" if c["number"] == winner["number"] else "" if c["front"] else "  (not on it)")
        cells = [
            metric_text(metric, c["val"]),
            _drop(c["drop"], metric) + ("" if c["within"] else " *"),
            size(c["bytes"]),
        ]
        table.add_row(name, *cells, *(_weighed(c) if small else _measured(c)))
    console = Terminal()
    # A file has no width that rows should be wrapped to.
    (console if console.is_terminal else Terminal(width=_WIDE)).print(table)
    say(f"* more than is allowed: {content['rule']}")
    for c in content["candidates"]:
        if c["status"] == "failed":
            say(f"failed: {c['label']}: {c['reason']}")
    unmeasured = next((c["measure_reason"] for c in content["candidates"] if "measure_reason" in c), None)
    if unmeasured is not None:
        say(f"not measured on {content['target']}: {unmeasured}")
    if any(c.get("without_kernels") for c in content["candidates"]):
        say(f"p50: {WITHOUT_KERNELS}")
    facts, test = _facts(), content["test"]
    facts.add_row("best", winner["label"])
    facts.add_row("file", f"{winner['bytes']:,} bytes ({_against(content, winner)})")
    facts.add_row(
        f"test {metric}", f"{metric_text(metric, test['winner'])} (float model {metric_text(metric, test['float'])})"
    )
    if test["caveat"]:
        facts.add_row("note", test["caveat"])
    facts.add_row("answers as the float model", f"{100 * winner['agreement']:.1f} % of validation")
    if small:
        facts.add_row(content["target"], ", ".join(map(" ".join, zip(_weighed(winner), _SMALL, strict=True))))
    energy = winner.get("energy_j")
    if energy is not None:
        facts.add_row("energy", f"{energy['kind']}: {energy['source']}")
    if winner.get("emulated"):
        facts.add_row("emulated", winner["emulated"])
    number = len(content["candidates"])
    ended = ", stopped: the same command goes on" if content["interrupted"] else ""
    facts.add_row("search", f"{number} candidates in {_minutes(content['seconds'])}{ended}")
    _print(facts)
    say(f"by hand: {content['command']}")
    say(f"wrote {found.artifact}\nnext: edgegnn verify {found.artifact}")


def _measured(candidate: dict[str, Any]) -> list[str]:
    latency, energy = candidate.get("latency_ms"), candidate.get("energy_j")
    return [
        "" if latency is None else f"{latency['p50']:.3g} ms",
        "" if energy is None else f"{1000 * energy['gross']:.3g} mJ",
    ]


def _weighed(candidate: dict[str, Any]) -> list[str]:
    found = candidate.get("footprint")
    if found is None:
        return ["", "", ""]
    return [size(found["flash"]), size(found["ram"]), f"{found['instructions']:,}"]


def _against(content: dict[str, Any], winner: dict[str, Any]) -> str:
    presets = [c for c in content["candidates"] if c["preset"] is not None and c.get("within")]
    named = {"the float model": next((c for c in presets if c["preset"] == "none"), None)}
    smallest = min((c for c in presets if c["number"] != winner["number"]), key=lambda c: c["bytes"], default=None)
    if smallest is not None and smallest["preset"] != "none":
        named[f"{smallest['preset']}, the smallest preset within the drop"] = smallest
    return ", ".join(f"{winner['bytes'] / c['bytes']:.3f}x of {name}" for name, c in named.items() if c is not None)


def _figures(record: dict[str, Any]) -> str:
    if "footprint" in record:
        return ", ".join(map(" ".join, zip(_weighed(record), _SMALL, strict=True)))
    return ", ".join([size(record["bytes"]), *filter(None, _measured(record))])


def _drop(drop: float, metric: str) -> str:
    from edgegnn.tuning.report import drop_text

    return f"{drop_text(metric, abs(drop))} {'worse' if drop > 0 else 'better'}" if drop else "the same"


def _minutes(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.1f} min"
