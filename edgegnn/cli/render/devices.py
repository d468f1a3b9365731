"""Printing of the commands that drive devices: tables for people, JSON for programs, progress on stderr."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from rich.progress import Progress, SpinnerColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from edgegnn.cli.render.summaries import _json, _print
from edgegnn.cli.render.terminal import Terminal, complain, say, text_column
from edgegnn.utils.files import size

if TYPE_CHECKING:
    from edgegnn.devices.new_target import Described
    from edgegnn.devices.readiness import Step
    from edgegnn.devices.setup import Ready
    from edgegnn.devices.ship import Installed
    from edgegnn.profiling import Comparison, ProfileRecord
    from edgegnn.profiling.parallel import Pair

__all__ = ["checked", "compared", "described", "installed", "measuring_all", "profiled_all", "ready", "shipped"]

_COLORS = {"ok": "green", "warning": "yellow", "failed": "red", "skipped": "dim"}


@contextlib.contextmanager
def measuring_all(names: Sequence[str]) -> Iterator[Callable[[str, str], None]]:
    """One line on stderr for each device; yields a function of the device's name and what is being done there."""
    console = Terminal(stderr=True)
    columns = (
        SpinnerColumn(),
        text_column("{task.description}"),
        text_column("{task.fields[text]}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as lines:
        tasks = {name: lines.add_task(name, total=None, text="") for name in names}
        yield lambda name, text: lines.update(tasks[name], text=text)


def profiled_all(pairs: Sequence[Pair], as_json: bool) -> None:
    """Result of `profile` for several artifacts or targets; what failed goes to stderr, too."""
    if as_json:
        _json([pair.to_dict() for pair in pairs])
    else:
        from edgegnn.profiling import render

        records = [pair.record for pair in pairs if pair.record is not None]
        if records:
            _print(render(records))
    for pair in pairs:
        if pair.error is not None:
            complain(f"{pair.artifact} on {pair.target}: {pair.error}")


def compared(record: ProfileRecord, comparison: Comparison, as_json: bool) -> None:
    """Result of `profile --compare`; a change that is too large is said on stderr, too."""
    if as_json:
        _json({**record.to_dict(), "comparison": comparison.to_dict()})
    else:
        from edgegnn.profiling import render, render_comparison

        _print(render([record]))
        _print(render_comparison(comparison))
    for one in comparison.judged:
        if one.state != "held":
            complain(one.text)


def checked(name: str, steps: Sequence[Step], as_json: bool) -> None:
    """Result of `targets check`."""
    if as_json:
        _json({"target": name, "ok": not _failed(steps), "steps": [step.to_dict() for step in steps]})
        return
    table = Table(box=None, pad_edge=False, show_header=False)
    for _ in range(3):
        table.add_column(overflow="fold")
    for step in steps:
        table.add_row(step.name, Text(step.state, style=_COLORS[step.state]), step.detail)
        if step.cure:
            table.add_row("", "", f"→ {step.cure}")
    _print(table)
    say(f"{name} is not ready" if _failed(steps) else f"{name} is ready: edgegnn profile --target {name} ARTIFACT")


def described(made: Described, as_json: bool) -> None:
    """Result of `targets init`."""
    if as_json:
        _json(made.to_dict())
        return
    say(f"wrote {made.file}: {made.description} ({made.arch})")
    if made.reason:
        say(f"the device could not be asked what it is: {made.reason}")
    say(f"next: edgegnn targets setup {made.name}")


def ready(result: Ready, as_json: bool) -> None:
    """Result of `targets setup`."""
    if as_json:
        _json(result.to_dict())
        return
    say(f"{result.target}: {result.model}: {result.versions} in {result.python}")
    say("installed" if result.changed else "nothing to install: all was there")
    if result.file is not None:
        say(f"its address is in {result.file}")
    say(f"next: edgegnn profile --target {result.target} ARTIFACT")


def shipped(result: Installed, as_json: bool) -> None:
    """Result of `ship`, and of `ship --rollback`."""
    if as_json:
        _json(result.to_dict())
        return
    proven = f", proven there on {result.verified} graphs" if result.verified else ""
    what = "is now" if result.changed else "was already"
    say(
        f"{result.artifact} on {result.target} {what} version {result.current}{proven} ({size(result.sent_bytes)} sent)"
    )
    say(f"open it there as {result.folder}")
    if len(result.versions) > 1:
        say(f"versions there: {', '.join(result.versions)}")
        say(f"the way back: edgegnn ship --rollback {result.artifact} --target {result.target}")


def installed(target: str, found: Sequence[Installed], as_json: bool) -> None:
    """Result of `ship --list`."""
    if as_json:
        _json([entry.to_dict() for entry in found])
        return
    if not found:
        say(f"nothing was shipped to {target} yet")
        return
    table = Table(box=None, pad_edge=False)
    for column in ("artifact", "in use", "versions", "folder"):
        table.add_column(column, overflow="fold")
    for entry in found:
        table.add_row(entry.artifact, entry.current or "none", str(len(entry.versions)), entry.folder)
    _print(table)


def _failed(steps: Sequence[Step]) -> bool:
    return any(step.state == "failed" for step in steps)
