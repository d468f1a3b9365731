"""`edgegnn study run`: do what is missing, one step after the other, and keep each as it ends.

One step runs at a time, and a cell is finished (trained, exported, measured) before the next one begins. A study is
locked while it runs, and while anything is measured on this machine, no other study trains or measures on it.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import statistics
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from edgegnn.errors import EdgeGNNError, StudyError, first_line
from edgegnn.study import steps
from edgegnn.study.config import Study, check_names
from edgegnn.study.plan import Cell, cells
from edgegnn.study.store import Row, Store, disk_is_full, open_store

if TYPE_CHECKING:
    from edgegnn.train import EpochLog

__all__ = ["Outcome", "Summary", "Watch", "outcome", "run"]

KINDS = ("dense", "compress", "timing")
# A step that ended the whole process this often is given up. Ctrl-C doesn't count.
_DEATHS = 2


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

    def begin(self, total: int, left: int) -> None:
        """So many cells there are, and so many are left to do."""

    def step(self, cell: Cell, kind: str) -> None:
        """A step begins."""

    def epoch(self, log: EpochLog) -> None:
        """An epoch of training ended."""

    def status(self, text: str) -> None:
        """What is being done now."""

    def ended(self, outcome: Outcome, seconds: float, left: float | None) -> None:
        """A cell ended after so many seconds; so many are left, None where that can't be told yet."""


def run(study: Study, watch: Watch, *, retry_failed: bool = False) -> Summary:
    """Run the cells that are missing.

    Args:
        study: what to run.
        watch: told about it.
        retry_failed: run cells that failed again.

    Raises:
        StudyError: unknown names, an empty grid, a store that can't be used, a full disk, or the study runs already.
    """
    check_names(study)
    grid = cells(study)
    began = time.monotonic()
    with _alone(study), open_store(study.store_path, create=True) as store:
        _clean(study.files)
        work = _Work(study, store, watch, store.rows(), retry_failed)
        work.note_known(grid)
        left = [cell for cell in grid if work.missing(cell)]
        watch.begin(len(grid), len(left))
        for number, cell in enumerate(left):
            start = time.monotonic()
            work.run(cell)
            ended = outcome(cell, work.rows)
            watch.ended(ended, time.monotonic() - start, work.seconds_left(left[number + 1 :]))
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
    tried: set[str] = field(default_factory=set)
    took: dict[tuple[str, ...], list[float]] = field(default_factory=dict)

    def missing(self, cell: Cell) -> list[str]:
        """Kinds of the steps that have to be done for a cell, in order."""
        for key in _keys(cell)[self._done(cell.compress_key) :]:
            row = self.rows.get(key or "")
            if row is not None and row.status == "failed" and not self._again(key):
                return []
        measure = cell.timing_key is not None and not self._done(cell.timing_key)
        gone = measure and not steps.artifact_path(self.study, cell).exists()
        if self._done(cell.compress_key) and not gone:
            return ["timing"] if measure else []
        train = not self._done(cell.dense_key) or not steps.dense_path(self.study, cell).exists()
        return ["dense"] * train + ["compress"] + ["timing"] * measure

    def run(self, cell: Cell) -> None:
        """Do these steps; the first that fails is the last."""
        status, epoch = self.watch.status, self.watch.epoch
        measured = {"compress": cell.compress_key, **(cell.timing or {})}
        doing: dict[str, tuple[str | None, dict[str, Any], Callable[[], dict[str, Any]]]] = {
            "dense": (cell.dense_key, cell.dense, lambda: steps.dense(self.study, cell, epoch, status)),
            "compress": (cell.compress_key, cell.compress, lambda: steps.compress(self.study, cell, epoch, status)),
            "timing": (cell.timing_key, measured, lambda: steps.timing(self.study, cell, status)),
        }
        for kind in self.missing(cell):
            key, spec, function = doing[kind]
            assert key is not None
            self.watch.step(cell, kind)
            if not self._step(kind, key, spec, function):
                return
            self._note(kind, cell, self.rows[key].seconds)

    def seconds_left(self, left: Iterable[Cell]) -> float | None:
        """What the steps that are left will take, going by those that ended; None where none of their kind did."""
        shared: set[str] = set()
        total = 0.0
        for cell in left:
            for kind in self.missing(cell):
                if kind == "dense" and cell.dense_key in shared:
                    continue
                shared.add(cell.dense_key)
                guess = self._guess(kind, cell)
                if guess is None:
                    return None
                total += guess
        return total

    def note_known(self, grid: Iterable[Cell]) -> None:
        """Learn from the steps that ended in earlier runs how long each kind takes."""
        for cell in grid:
            for kind, key in zip(KINDS, _keys(cell), strict=True):
                if key is not None and self._done(key):
                    self._note(kind, cell, self.rows[key].seconds)

    def _guess(self, kind: str, cell: Cell) -> float | None:
        kin = (kind, *_kin(cell))
        alike = next((self.took[kin[:n]] for n in (5, 3, 1) if kin[:n] in self.took), None)
        return statistics.fmean(alike) if alike else None

    def _note(self, kind: str, cell: Cell, seconds: float) -> None:
        kin = (kind, *_kin(cell))
        for n in (1, 3, 5):
            self.took.setdefault(kin[:n], []).append(seconds)

    def _done(self, key: str | None) -> bool:
        row = self.rows.get(key or "")
        return row is not None and row.status == "done"

    def _again(self, key: str | None) -> bool:
        return self.retry_failed and key not in self.tried

    def _step(self, kind: str, key: str, spec: dict[str, Any], function: Callable[[], dict[str, Any]]) -> bool:
        """Run a step and keep how it ended; whether it succeeded."""
        self.tried.add(key)
        self.ran += 1
        deaths = self.store.begin(key)
        start = time.monotonic()
        if deaths >= _DEATHS and not self.retry_failed:
            reason = (
                f"edgegnn was ended {deaths} times in the middle of it (out of memory?); --retry-failed tries again"
            )
            row = Row("failed", reason, {}, 0.0)
        else:
            try:
                with _turn(self.study, kind, self.watch.status):
                    result = function()
                json.dumps(result, allow_nan=False)  # what can't be kept fails here
                row = Row("done", "", result, 0.0)
            except KeyboardInterrupt:
                self.store.forget(key)
                raise
            except Exception as error:
                if disk_is_full(error) or _no_room(self.study.files):
                    self.store.forget(key)
                    raise StudyError(
                        f"the disk with {self.study.files} is full: make room, then run the same command again"
                    ) from error
                row = Row("failed", _reason(kind, error), {}, 0.0)
        row = Row(row.status, row.reason, row.result, round(time.monotonic() - start, 3))
        self.store.end(key, kind, spec, row)
        self.rows[key] = row
        return row.status == "done"


def _kin(cell: Cell) -> tuple[str, str, str, str]:
    return cell.dense["model"], cell.dense["data"], cell.prune or "", cell.quant


def _reason(kind: str, error: Exception) -> str:
    what = {"dense": "training", "compress": "compressing", "timing": "measuring"}[kind]
    if isinstance(error, EdgeGNNError):
        return f"{what}: {' '.join(str(error).split())}"
    return f"{what}: unexpected {type(error).__name__}: {first_line(error)}"


def _no_room(folder: Path) -> bool:
    # Libraries report a full disk in words of their own.
    try:
        return shutil.disk_usage(folder).free < 1_000_000
    except OSError:
        return False


@contextlib.contextmanager
def _alone(study: Study) -> Iterator[None]:
    """Only one run of a study at a time; the lock goes with the process, however it ends.

    Raises:
        StudyError: another one runs, or its folder can't be written.
    """
    import fcntl

    try:
        study.files.mkdir(parents=True, exist_ok=True)
        lock = (study.files / ".lock").open("w")
    except OSError as error:
        raise StudyError(f"can't write {study.files}: {error.strerror}") from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise StudyError(f"this study runs already ({study.files} is locked): wait for it") from error
        yield


@contextlib.contextmanager
def _turn(study: Study, kind: str, status: Callable[[str], None]) -> Iterator[None]:
    """Train beside other studies on this machine, but measure on it alone."""
    import fcntl

    from edgegnn.profile import load_target

    if kind == "timing" and load_target(study.target).transport == "ssh":
        yield  # the device measures, not this machine
        return
    with _machine_lock().open("w") as lock:
        how = fcntl.LOCK_EX if kind == "timing" else fcntl.LOCK_SH
        try:
            fcntl.flock(lock, how | fcntl.LOCK_NB)
        except BlockingIOError:
            status("waiting for another study on this machine")
            fcntl.flock(lock, how)
        yield


def _machine_lock() -> Path:
    import platformdirs

    return platformdirs.user_cache_path("edgegnn", ensure_exists=True) / "study.lock"


def _clean(folder: Path) -> None:
    """Remove what a killed run left half-written (`edgegnn.files.replacing`)."""
    for path in [*folder.glob(".*.tmp"), *folder.glob(".*.old")]:
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
