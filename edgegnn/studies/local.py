"""Doing the steps of a study on this machine: in this process, or in several beside it.

While anything is measured on this machine, no other study trains or measures on it.
"""

from __future__ import annotations

import contextlib
import json
import math
import multiprocessing
import os
import shutil
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing import connection
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, Protocol

from edgegnn.errors import EdgeGNNError, first_line
from edgegnn.profiling import machine_lock
from edgegnn.studies import steps
from edgegnn.studies.config import Study
from edgegnn.studies.plan import Step
from edgegnn.utils.files import disk_is_full

if TYPE_CHECKING:
    from edgegnn.training import EpochLog

__all__ = ["Ended", "Executor", "Here", "Processes", "attempt", "perform"]

# A step whose process ended in the middle of it this often is given up.
DEATHS = 2
_PATIENCE = 5.0  # seconds for a process to end by itself


@dataclass(frozen=True)
class Ended:
    """How a step ended.

    Attributes:
        result: what it gave; {} when it failed.
        reason: why it failed; "" when it didn't.
        seconds: that it took.
        disk_full: it failed because there is no room on the disk.
    """

    result: dict[str, Any]
    reason: str
    seconds: float
    disk_full: bool = False


class Executor(Protocol):
    """What does steps."""

    slots: int
    """How many steps it takes at a time."""

    @property
    def width(self) -> int:
        """How many of them it does at a time."""

    def begin(self, step: Step) -> None:
        """Take a step."""

    def wait(self, seconds: float = math.inf) -> list[tuple[Step, Ended]]:
        """Wait until some of the steps that were taken have ended, or for the given seconds."""

    def close(self) -> None:
        """End what still runs."""


class Here:
    """One step after the other, in this process.

    Args:
        study: whose steps.
        began: told that a step starts; how often it ended the process before.
        gave_up: told that a step is stopped on purpose.
        epoch: called after each epoch.
        status: told what is being done.
    """

    slots = width = 1

    def __init__(
        self,
        study: Study,
        began: Callable[[str], int],
        gave_up: Callable[[str], None],
        epoch: Callable[[EpochLog], None],
        status: Callable[[str], None],
    ) -> None:
        self._study, self._began, self._gave_up, self._epoch, self._status = study, began, gave_up, epoch, status
        self._step: Step | None = None

    def begin(self, step: Step) -> None:
        """See `Executor`."""
        self._step = step

    def wait(self, seconds: float = math.inf) -> list[tuple[Step, Ended]]:
        """See `Executor`."""
        step, self._step = self._step, None
        if step is None:
            return []
        deaths = self._began(step.key)
        if deaths >= DEATHS:
            return [(step, Ended({}, f"edgegnn was ended {_often(deaths)}", 0.0))]
        try:
            return [(step, perform(self._study, step, machine_lock.lock_path(), self._epoch, self._status))]
        except KeyboardInterrupt:
            self._gave_up(step.key)  # doesn't count as a step that ends the process
            raise

    def close(self) -> None:
        """See `Executor`."""


@dataclass
class _Worker:
    process: SpawnProcess
    pipe: connection.Connection
    step: Step | None = None


@dataclass
class Processes:
    """Several steps side by side, each in a process of its own, which shares the disk with this one.

    A process that ends in the middle of a step (killed because memory ran out) takes no other step along.

    Attributes:
        study: whose steps.
        slots: number of processes.
    """

    study: Study
    slots: int
    _workers: list[_Worker] = field(default_factory=list)
    _deaths: Counter[str] = field(default_factory=Counter)

    @property
    def width(self) -> int:
        """See `Executor`."""
        return self.slots

    def begin(self, step: Step) -> None:
        """See `Executor`."""
        worker = next((w for w in self._workers if w.step is None), None) or self._start()
        worker.step = step
        with contextlib.suppress(OSError):  # it died while it was idle: `wait` finds out
            worker.pipe.send(step)

    def wait(self, seconds: float = math.inf) -> list[tuple[Step, Ended]]:
        """See `Executor`."""
        ended: list[tuple[Step, Ended]] = []
        end = time.monotonic() + seconds
        while not ended:
            busy = {worker.pipe: worker for worker in self._workers if worker.step is not None}
            for pipe in connection.wait(list(busy), None if seconds == math.inf else seconds):
                worker = busy[pipe]  # type: ignore[index]
                step, worker.step = worker.step, None
                assert step is not None
                try:
                    ended.append((step, worker.pipe.recv()))
                except (EOFError, OSError):
                    ended += self._died(worker, step)
            if time.monotonic() >= end:
                break
        return ended

    def close(self) -> None:
        """See `Executor`."""
        for worker in self._workers:
            worker.process.terminate()
        for worker in self._workers:
            worker.process.join(_PATIENCE)
            worker.process.kill()
            _forget(worker)
        self._workers.clear()

    def _start(self) -> _Worker:
        ours, theirs = multiprocessing.Pipe()
        threads = max(1, (os.cpu_count() or 1) // self.slots)
        # Not forked: PyTorch's threads don't survive that.
        process = multiprocessing.get_context("spawn").Process(
            target=_serve, args=(theirs, self.study, threads, machine_lock.lock_path()), daemon=True
        )
        process.start()
        theirs.close()
        self._workers.append(_Worker(process, ours))
        return self._workers[-1]

    def _died(self, worker: _Worker, step: Step) -> list[tuple[Step, Ended]]:
        self._workers.remove(worker)
        _forget(worker)
        self._deaths[step.key] += 1
        if self._deaths[step.key] >= DEATHS:
            return [(step, Ended({}, f"its process was ended {_often(self._deaths[step.key])}", 0.0))]
        self.begin(step)
        return []


def perform(
    study: Study,
    step: Step,
    lock: Path,
    epoch: Callable[[EpochLog], None] = lambda _: None,
    status: Callable[[str], None] = lambda _: None,
) -> Ended:
    """Do a step here and now.

    Args:
        study: whose step.
        step: what to do.
        lock: held exclusively while this machine measures, shared while it trains.
        epoch: called after each epoch.
        status: told what is being done.
    """

    def do() -> dict[str, Any]:
        with machine_lock.turn(lock, measuring=study.target if step.kind == "timing" else None, status=status):
            if step.kind == "timing":
                return steps.timing(study, step.cell, status)
            train = steps.dense if step.kind == "dense" else steps.compress
            return train(study, step.cell, epoch, status)

    return attempt(step.kind, study.files, do)


def attempt(kind: str, files: Path, do: Callable[[], dict[str, Any]]) -> Ended:
    """Call a function; what it raises becomes the reason why a step failed. Ctrl-C goes through.

    Args:
        kind: of the step.
        files: the folder that it writes to.
        do: gives the step's result.
    """
    start = time.monotonic()
    full = False
    try:
        result, reason = do(), ""
        json.dumps(result, allow_nan=False)  # what can't be kept fails here
    except Exception as error:
        full = disk_is_full(error) or _no_room(files)
        result, reason = {}, _reason(kind, error)
    return Ended(result, reason, round(time.monotonic() - start, 3), full)


def _serve(pipe: connection.Connection, study: Study, threads: int, lock: Path) -> None:
    """Do the steps that come through the pipe, until it is closed or the process that started this one is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all processes of a terminal; the first one ends us
    signal.signal(signal.SIGTERM, _end)
    threading.Thread(target=_end_with_parent, daemon=True).start()

    import torch

    torch.set_num_threads(threads)
    with contextlib.suppress(EOFError, OSError):
        while True:
            pipe.send(perform(study, pipe.recv(), lock))


def _forget(worker: _Worker) -> None:
    worker.process.join()
    worker.process.close()
    worker.pipe.close()


def _end(*_: object) -> NoReturn:
    sys.exit(1)  # removes what is half-written on the way


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _often(times: int) -> str:
    return f"{times} times in the middle of it (out of memory?); --retry-failed tries again"


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
