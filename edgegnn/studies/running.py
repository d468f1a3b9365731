"""`edgegnn study run`: do what is missing, and keep each step as it ends.

Everything is trained and compressed first, one step after the other, in several processes, or on a Ray cluster. Then
everything is measured, one cell after the other, with nothing beside it. Only this process writes the store, and a
study is locked while it runs.
"""

from __future__ import annotations

import contextlib
import shutil
import statistics
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from edgegnn.errors import StudyError, UsageError
from edgegnn.profiling.machine_lock import settle
from edgegnn.studies import steps
from edgegnn.studies.config import Study, check_names, read_study
from edgegnn.studies.local import Ended, Executor, Here, Processes
from edgegnn.studies.plan import Cell, Step, cells
from edgegnn.studies.store import Row, Store, open_store
from edgegnn.utils.files import locked

if TYPE_CHECKING:
    from edgegnn.training import EpochLog

__all__ = ["Outcome", "Summary", "Watch", "outcome", "run"]

KINDS = ("dense", "compress", "timing")
_SETTLE, _SETTLE_SHARE = 90.0, 0.15  # seconds between trainings and measurements; of what the trainings took


@dataclass(frozen=True)
class Outcome:
    """What is known of a cell.

    Attributes:
        cell: the cell.
        status: "done", "failed" (`reason` says why) or "missing".
        reason: of the first step that failed.
        dense: result of the dense training; {} when there is none, like the next two.
        compress: result of compressing and exporting.
        timing: result of the measurement.
    """

    cell: Cell
    status: str
    reason: str
    dense: dict[str, Any]
    compress: dict[str, Any]
    timing: dict[str, Any]


@dataclass(frozen=True)
class Summary:
    """How a run ended.

    Attributes:
        outcomes: of every cell.
        ran: steps that this run did.
        seconds: that it took.
    """

    outcomes: list[Outcome]
    ran: int
    seconds: float

    @property
    def failed(self) -> list[Outcome]:
        """Cells that failed, now or earlier."""
        return [o for o in self.outcomes if o.status == "failed"]


class Watch(Protocol):
    """Told what goes on."""

    def begin(self, total: int, done: int, trained: int) -> None:
        """Start: `done` of `total` cells are finished; `trained` still await measurement."""

    def step(self, step: Step, beside: int) -> None:
        """A step begins, or is handed to the cluster; say how many run beside it."""

    def epoch(self, log: EpochLog) -> None:
        """An epoch of training ended."""

    def status(self, text: str) -> None:
        """What is being done now."""

    def measuring(self, left: int) -> None:
        """All cells are trained and compressed; say how many are to be measured."""

    def ended(self, outcome: Outcome, kind: str, seconds: float, left: float | None) -> None:
        """A step of this kind ended after the given seconds and brought a cell here.

        So many seconds are left for all, None where that can't be told yet.
        """


class Quiet:
    """A watch that keeps quiet."""

    def begin(self, total: int, done: int, trained: int) -> None:
        """See `Watch`."""

    def step(self, step: Step, beside: int) -> None:
        """See `Watch`."""

    def epoch(self, log: EpochLog) -> None:
        """See `Watch`."""

    def status(self, text: str) -> None:
        """See `Watch`."""

    def measuring(self, left: int) -> None:
        """See `Watch`."""

    def ended(self, outcome: Outcome, kind: str, seconds: float, left: float | None) -> None:
        """See `Watch`."""


def study(
    path: str | Path,
    *,
    jobs: int = 1,
    ray: str | None = None,
    retry_failed: bool = False,
    allow_import: bool = False,
    watch: Watch | None = None,
) -> Summary:
    """Run the cells of a study that are missing; stopped in the middle, it goes on from there.

    Args:
        path: of study.toml.
        jobs: trainings and compressions side by side on this machine.
        ray: address of a Ray cluster that trains and compresses instead of this machine.
        retry_failed: run cells that failed again.
        allow_import: import the factories of models that the study names.
        watch: told about it; None: nobody.

    Returns:
        How each cell ended; `summary.failed` lists those that failed, with their reasons.

    Raises:
        UsageError: `jobs` and `ray`, `jobs` that is no positive number, or no address of a cluster.
        StudyError: as for `run`, or the file is wrong (line and key are named).

    Examples:
        >>> summary = edgegnn.study("study.toml", jobs=2)
        >>> [o.compress["test"] for o in summary.outcomes if o.status == "done"]
    """
    how: dict[str, Any] = {"retry_failed": retry_failed, "jobs": jobs, "ray": ray, "allow_import": allow_import}
    return run(read_study(Path(path)), watch or Quiet(), **how)


def run(
    study: Study,
    watch: Watch,
    *,
    retry_failed: bool = False,
    jobs: int = 1,
    ray: str | None = None,
    allow_import: bool = False,
) -> Summary:
    """Run the cells that are missing.

    Args:
        study: what to run.
        watch: told about it.
        retry_failed: run cells that failed again.
        jobs: trainings and compressions side by side on this machine.
        ray: address of a Ray cluster that trains and compresses instead of this machine.
        allow_import: import the factories of models that the study names.

    Raises:
        UsageError: `jobs` and `ray`, `jobs` that is no positive number, no address of a cluster, or factories whose
            import isn't allowed.
        StudyError: unknown names, an empty grid, a store that can't be used, a full disk, the study runs already, or
            the cluster can't be used.
    """
    if jobs < 1:
        raise UsageError(f"--jobs must be 1 or more, not {jobs}")
    if jobs > 1 and ray is not None:
        raise UsageError("--jobs is for this machine, --ray for a cluster: leave one of them out")
    if ray is not None:
        from edgegnn.studies.cluster import check_address

        check_address(ray)
    check_names(study)
    if study.models and not allow_import:
        named = ", ".join(model.factory for model in study.models.values())
        raise UsageError(f"{study.path} names models that are built by importing {named}: allow it with --allow-import")
    grid = cells(study)
    began = time.monotonic()
    busy = f"this study runs already ({study.files} is locked): wait for it"
    with locked(study.files / ".lock", busy, error=StudyError), open_store(study.store_path, create=True) as store:
        _clean(study.files)
        work = _Work(study, store, watch, store.rows(), retry_failed)
        try:
            work.run(grid, jobs, ray)
        finally:
            _clean(study.files)
        return Summary([outcome(cell, work.rows) for cell in grid], work.ran, time.monotonic() - began)


def outcome(cell: Cell, rows: dict[str, Row]) -> Outcome:
    """What the store has of a cell."""
    found = [rows.get(key) if key is not None else None for key in _keys(cell)]
    results = [row.result if row is not None else {} for row in found]
    needed = found[1:] if cell.timing_key is not None else found[1:2]
    # What was compressed needs no dense model any more, even if training it again (its file was gone) failed since.
    count = needed if needed[0] is not None and needed[0].status == "done" else found
    failed = next((row for row in count if row is not None and row.status == "failed"), None)
    if failed is not None:
        status = "failed"
    else:
        status = "done" if all(row is not None for row in needed) else "missing"
    return Outcome(cell, status, failed.reason if failed is not None else "", *results)


def _keys(cell: Cell) -> tuple[str, str, str | None]:
    return cell.dense_key, cell.compress_key, cell.timing_key


@dataclass
class _Work:
    """A run in progress."""

    study: Study
    store: Store
    watch: Watch
    rows: dict[str, Row]
    retry_failed: bool
    ran: int = 0
    took: dict[tuple[str, ...], list[float]] = field(default_factory=dict)

    def run(self, grid: Sequence[Cell], jobs: int, ray: str | None) -> None:
        """Do what is missing."""
        self._note_known(grid)
        missing = {cell.compress_key: self._missing(cell) for cell in grid}
        train: list[Step] = []
        trained: set[str] = set()  # a dense model is trained for the first cell that needs it
        for cell in grid:
            if "dense" in missing[cell.compress_key] and cell.dense_key not in trained:
                trained.add(cell.dense_key)
                train.append(Step("dense", cell))
            if "compress" in missing[cell.compress_key]:
                train.append(Step("compress", cell))
        measure = [Step("timing", cell) for cell in grid if "timing" in missing[cell.compress_key]]
        compressed = sum("compress" not in kinds for kinds in missing.values())
        ended = sum(not kinds for kinds in missing.values())
        with contextlib.closing(self._executor(jobs, ray) if train else self._here()) as executor:
            self.watch.begin(len(grid), ended, compressed)
            began = time.monotonic()
            try:
                self._do(executor, train, measure)
            except KeyboardInterrupt:
                for step, result in executor.wait(0):
                    self._keep(step, result)
                raise
        measure = [step for step in measure if self._done(step.cell.compress_key)]
        if measure:
            self.watch.measuring(len(measure))
            settle(self.study.target, min(_SETTLE, _SETTLE_SHARE * (time.monotonic() - began)), self.watch.status)
            self._do(self._here(), measure, [])

    def _missing(self, cell: Cell) -> list[str]:
        """Kinds of the steps that have to be done for a cell, in order."""
        for key in _keys(cell)[self._done(cell.compress_key) :]:
            row = self.rows.get(key or "")
            if row is not None and row.status == "failed" and not self.retry_failed:
                return []
        measure = cell.timing_key is not None and not self._done(cell.timing_key)
        gone = measure and not steps.artifact_path(self.study, cell).exists()
        if self._done(cell.compress_key) and not gone:
            return ["timing"] if measure else []
        train = not self._done(cell.dense_key) or not steps.dense_path(self.study, cell).exists()
        return ["dense"] * train + ["compress"] + ["timing"] * measure

    def _executor(self, jobs: int, ray: str | None) -> Executor:
        if ray is not None:
            from edgegnn.studies.cluster import Cluster

            return Cluster(self.study, ray, self.watch.status)
        return Processes(self.study, jobs) if jobs > 1 else self._here()

    def _here(self) -> Here:
        def began(key: str) -> int:
            deaths = self.store.begin(key)
            return 0 if self.retry_failed else deaths

        return Here(self.study, began, self.store.forget, self.watch.epoch, self.watch.status)

    def _do(self, executor: Executor, todo: list[Step], later: Sequence[Step]) -> None:
        """Do steps, each after the one that it needs; `later` ones count for the time that is left only."""
        running: dict[str, Step] = {}
        while todo or running:
            waiting = {step.key for step in todo if step.kind == "dense"} | running.keys()
            ready = [step for step in todo if step.kind != "compress" or step.cell.dense_key not in waiting]
            for step in ready[: executor.slots - len(running)]:
                self.watch.step(step, len(running))
                running[step.key] = step
                executor.begin(step)
            todo = [step for step in todo if step.key not in running]
            for step, ended in executor.wait():
                del running[step.key]
                self._keep(step, ended)
                lost = []
                if step.kind == "dense" and ended.reason:
                    lost = [s for s in todo if s.cell.dense_key == step.key]
                    todo = [s for s in todo if s not in lost]
                left = self._seconds_left([*todo, *running.values()], executor.width, later)
                for each in lost if step.kind == "dense" else [step]:
                    self.watch.ended(outcome(each.cell, self.rows), step.kind, ended.seconds, left)

    def _keep(self, step: Step, ended: Ended) -> None:
        if ended.disk_full:
            self.store.forget(step.key)
            raise StudyError(f"the disk with {self.study.files} is full: make room, then run the same command again")
        row = Row("failed" if ended.reason else "done", ended.reason, ended.result, ended.seconds)
        self.store.end(step.key, step.kind, step.spec, row)
        self.rows[step.key] = row
        self.ran += 1
        if not ended.reason:
            self._note(step, ended.seconds)

    def _seconds_left(self, left: Iterable[Step], width: int, later: Iterable[Step]) -> float | None:
        """What the steps that are left will take, going by those that ended; None where none of their kind did."""
        now = [self._guess(step) for step in left]
        then = [self._guess(step) for step in later if outcome(step.cell, self.rows).status == "missing"]
        known = [seconds for seconds in (*now, *then) if seconds is not None]
        if len(known) < len(now) + len(then):
            return None
        return sum(known[: len(now)]) / width + sum(known[len(now) :])

    def _note_known(self, grid: Iterable[Cell]) -> None:
        """Learn from the steps that ended in earlier runs how long each kind takes."""
        for cell in grid:
            for kind, key in zip(KINDS, _keys(cell), strict=True):
                if key is not None and self._done(key):
                    self._note(Step(kind, cell), self.rows[key].seconds)

    def _guess(self, step: Step) -> float | None:
        kin = _kin(step)
        alike = next((self.took[kin[:n]] for n in (5, 3, 1) if kin[:n] in self.took), None)
        return statistics.fmean(alike) if alike else None

    def _note(self, step: Step, seconds: float) -> None:
        kin = _kin(step)
        for n in (1, 3, 5):
            self.took.setdefault(kin[:n], []).append(seconds)

    def _done(self, key: str | None) -> bool:
        row = self.rows.get(key or "")
        return row is not None and row.status == "done"


def _kin(step: Step) -> tuple[str, str, str, str, str]:
    cell = step.cell
    return step.kind, cell.dense["model"], cell.dense["data"], cell.prune or "", cell.quant


def _clean(folder: Path) -> None:
    """Remove what a killed run left half-written (`edgegnn.utils.files.replacing`)."""
    for path in [*folder.glob(".*.tmp"), *folder.glob(".*.old")]:
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
