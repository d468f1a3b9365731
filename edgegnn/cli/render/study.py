"""Printing of `edgegnn study`: tables on stdout, progress on stderr."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TimeElapsedColumn
from rich.table import Table

from edgegnn.cli.render.summaries import _json
from edgegnn.cli.render.terminal import Terminal, complain, say, text_column

if TYPE_CHECKING:
    from edgegnn.studies import Outcome, Step, Study, Summary
    from edgegnn.training import EpochLog

__all__ = ["ran", "running", "tabled"]

_WIDE = 1000  # columns


class StudyProgress:
    """A bar of the cells, a line of what is being done, and a line for each cell that ended."""

    def __init__(self, bars: Progress, console: Terminal, study: Study) -> None:
        self.bars, self.console, self.study = bars, console, study
        self.cells = bars.add_task("study", total=None, text="")
        self.now = bars.add_task("", total=None, text="")
        self.done = self.trained = self.total = self.number = 0

    def begin(self, total: int, done: int, trained: int) -> None:
        """See `edgegnn.studies.running.Watch`."""
        self.total, self.done, self.trained, self.number = total, done, trained, trained
        self.bars.update(self.cells, total=total, completed=trained)
        self.console.print(f"{total} cells, {done} of them done, in {self.study.store_path}")

    def step(self, step: Step, beside: int) -> None:
        """See `edgegnn.studies.running.Watch`."""
        others = f", beside {beside} other{'s' * (beside > 1)}" if beside else ""
        self.bars.update(self.now, description=step.cell.label, total=None, completed=0, text=f"{step.kind}{others}")

    def epoch(self, log: EpochLog) -> None:
        """See `edgegnn.studies.running.Watch`."""
        self.bars.update(self.now, total=log.epochs, completed=log.epoch)

    def status(self, text: str) -> None:
        """See `edgegnn.studies.running.Watch`."""
        self.bars.update(self.now, total=None, completed=0, text=text)

    def measuring(self, left: int) -> None:
        """See `edgegnn.studies.running.Watch`."""
        self.number = self.total - left
        self.bars.update(self.cells, completed=self.number, text="")
        self.console.print(f"now measuring, one cell after the other: {left} to do")

    def ended(self, outcome: Outcome, kind: str, seconds: float, left: float | None) -> None:
        """See `edgegnn.studies.running.Watch`."""
        from edgegnn.runtime.metrics import metric_text

        if kind == "dense" and outcome.status != "failed":
            return
        self.number += 1
        self.trained += kind != "timing"
        self.done += outcome.status != "missing"
        remaining = f", about {_duration(left)} left" if left else ""
        if outcome.status == "failed":
            what = f"failed: {outcome.reason}"
        elif kind == "timing":
            what = f"p50 {outcome.timing['p50']:.3f} ms"
        else:
            what = f"test {metric_text(outcome.compress['metric'], outcome.compress['test'])}"
        line = f"[{self.number}/{self.total}] {outcome.cell.label}: {what} ({_duration(seconds)}{remaining})"
        self.console.print(line, soft_wrap=True)
        self.bars.update(self.cells, completed=self.number, text=remaining.removeprefix(", "))


@contextlib.contextmanager
def running(study: Study) -> Iterator[StudyProgress]:
    """Progress on stderr: bars in a terminal, a line for each cell everywhere."""
    console = Terminal(stderr=True)
    columns = (
        SpinnerColumn(),
        text_column("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        text_column("{task.fields[text]}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bars:
        watch = StudyProgress(bars, console, study)
        try:
            yield watch
        except KeyboardInterrupt:
            where = f"{watch.done} of {watch.total} cells are done"
            if watch.trained > watch.done:
                where += f", {watch.trained - watch.done} more are to be measured"
            console.print(f"stopped: {where}; the same command goes on from there")
            raise


def ran(summary: Summary, study: Study, as_json: bool) -> None:
    """Result of `study run`."""
    statuses = [o.status for o in summary.outcomes]
    if as_json:
        _json(
            {
                "store": str(study.store_path),
                "cells": len(statuses),
                "done": statuses.count("done"),
                "steps_run": summary.ran,
                "seconds": round(summary.seconds, 1),
                "failed": [{"cell": o.cell.label, "reason": o.reason} for o in summary.failed],
            }
        )
        return
    say(f"{statuses.count('done')} of {len(statuses)} cells done, {len(summary.failed)} failed: {study.store_path}")
    for o in summary.failed:
        complain(f"failed: {o.cell.label}: {o.reason}")
    argument = "" if Path(study.path) == Path("study.toml") else f" {study.path}"
    say(f"next: edgegnn study table{argument}")


def tabled(outcomes: Sequence[Outcome], format: str, as_json: bool) -> None:
    """Result of `study table`."""
    from edgegnn.studies import groups, tables
    from edgegnn.studies.formats import as_csv, as_latex, as_markdown

    if as_json:
        _json({"groups": [group.to_dict() for group in groups(outcomes)]})
    elif format == "csv":
        say(as_csv(groups(outcomes)))
    elif format != "text":
        say({"markdown": as_markdown, "latex": as_latex}[format](tables(outcomes)))
    else:
        console = Terminal()
        if not console.is_terminal:  # a file has no width that rows should be wrapped to
            console = Terminal(width=_WIDE)
        for made in tables(outcomes):
            say(made.title)
            table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
            for number, heading in enumerate(made.columns):
                table.add_column(heading, justify="right" if number else "left")
            for row in made.rows:
                table.add_row(*row)
            console.print(table)
            say("\n".join(made.said) + "\n")


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
