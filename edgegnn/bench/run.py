"""Run the benchmark: every task on every runner, and what came of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import edgegnn
from edgegnn.bench.files import Bundle, Row, Score
from edgegnn.bench.prepare import Prepared, default_folder, open_prepared, prepare
from edgegnn.bench.runners import Runner
from edgegnn.bench.tasks import BenchTask
from edgegnn.devices.target import Target
from edgegnn.errors import EdgeGNNError, first_line
from edgegnn.exporting.artifact import versions
from edgegnn.profiling import ProfileRecord

__all__ = ["prepare_all", "run"]

Status = Callable[[str], None]


def prepare_all(
    tasks: Sequence[BenchTask], folder: Path | None = None, *, again: bool = False, status: Status = lambda _: None
) -> dict[str, Prepared | EdgeGNNError]:
    """Name of each task -> the prepared task, or why there is none.

    Args:
        tasks: which.
        folder: where; None: in the user's cache.
        again: make also those that are there.
        status: told in a few words what is being done.
    """
    place = folder or default_folder()
    found: dict[str, Prepared | EdgeGNNError] = {}
    for task in tasks:
        try:
            there = None if again else open_prepared(task, place)
            found[task.name] = there or prepare(task, place, status=status)
        except EdgeGNNError as error:
            found[task.name] = error
    return found


def run(
    tasks: Sequence[BenchTask],
    runners: Sequence[Runner],
    target: Target,
    *,
    folder: Path | None = None,
    quick: bool = False,
    threads: int | None = None,
    sustained: float = 0.0,
    command: str = "",
    status: Status = lambda _: None,
) -> Bundle:
    """Measure tasks, one after the other. A task that fails is a row that says why, and stops no other.

    Args:
        tasks: which.
        runners: who computes them.
        target: where.
        folder: of prepared tasks; what is missing there is prepared first. None: in the user's cache.
        quick: short windows: for a first look.
        threads: of one inference; None: as the target says.
        sustained: seconds of a long run without a pause, after each measurement.
        command: how the user asked for it; results travel, so no secrets.
        status: told in a few words what is being done.
    """
    ready = prepare_all(tasks, folder, status=status)
    rows = []
    for task in tasks:
        found = ready[task.name]
        for runner in runners:
            if isinstance(found, EdgeGNNError):
                rows.append(_failed(task, runner, str(found)))
                continue
            options: dict[str, Any] = {"quick": quick, "threads": threads}
            options |= {"sustained": sustained} if sustained and runner.long else {}
            rows.append(_row(found, runner, target, options, status))
    return Bundle(
        target=target.name,
        command=command,
        created=datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
        edgegnn=edgegnn.__version__,
        versions={name: str(version) for name, version in versions().items()},
        quick=quick,
        sustained_s=sustained,
        tasks=[found.facts for found in ready.values() if isinstance(found, Prepared)],
        rows=rows,
    )


def _precision(task: BenchTask, runner: Runner) -> str:
    return task.recipe if runner.quantized else "fp32"


def _failed(task: BenchTask, runner: Runner, reason: str) -> Row:
    return Row(task=task.name, runner=runner.name, precision=_precision(task, runner), reason=reason)


def _row(prepared: Prepared, runner: Runner, target: Target, options: dict[str, Any], status: Status) -> Row:
    task = prepared.task
    reason = runner.refusal(target)
    if reason:
        return _failed(task, runner, reason)
    title = f"{task.name}, {runner.title}"
    status(title)
    try:
        record = runner.measure(prepared, target, {**options, "progress": lambda text: status(f"{title}: {text}")})
    except EdgeGNNError as error:
        return _failed(task, runner, str(error))
    except Exception as error:  # a bug shows in its row, and costs no other
        return _failed(task, runner, f"unexpected {type(error).__name__}: {first_line(error)}")
    return _judged(prepared, runner, record)


def _judged(prepared: Prepared, runner: Runner, record: ProfileRecord) -> Row:
    """The row of a measurement: is it as good as the rules ask?"""
    facts, metric = prepared.facts, record.metric
    quality = None if metric is None else Score(name=metric.name, value=metric.value, n=metric.n)
    share = None if quality is None or quality.n != facts.fp32.n else quality.share_of(facts.fp32)
    # The device proved that it answers as the quantized model does, which was compared with fp32 when it was made.
    agreement = facts.agreement if runner.quantized else record.agreement
    return Row(
        task=prepared.task.name,
        runner=runner.name,
        precision=_precision(prepared.task, runner),
        record=record,
        agreement=agreement,
        quality=quality,
        share=share,
        valid=share is not None and share >= facts.quality,
    )
