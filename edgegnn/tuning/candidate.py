"""One candidate, from the float model to a measured artifact, through the public functions of edgegnn."""

from __future__ import annotations

import dataclasses
import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from edgegnn import api
from edgegnn.checkpoint import Checkpoint
from edgegnn.devices import Target
from edgegnn.errors import EdgeGNNError, TooLargeError, first_line
from edgegnn.plain_c.values import Limits
from edgegnn.profiling import machine_lock
from edgegnn.runtime.metrics import metric_text
from edgegnn.tuning.accuracy_drop import Judge
from edgegnn.tuning.budget import Clock
from edgegnn.tuning.space import Candidate, Space
from edgegnn.tuning.store import ARTIFACT, CHECKPOINT, RECIPE, Record

if TYPE_CHECKING:
    from edgegnn.compression.model_source import DataSource
    from edgegnn.training import EpochLog

__all__ = ["Job", "OutOfTime", "attempt", "measure"]


@dataclasses.dataclass(frozen=True)
class Job:
    """What every candidate of a search starts from.

    Attributes:
        checkpoint: the float model.
        source: its data.
        space: what can be chosen.
        judge: the validation split.
        target: the device.
        minimize: a field of `edgegnn.tuning.choose.figure`.
        allowed: the drop that is allowed, in the metric's unit (a share, not points).
        seed: of all trainings.
        limits: the largest graph of the candidates' C forms; None for a device that takes none.
    """

    checkpoint: Checkpoint
    source: DataSource
    space: Space
    judge: Judge
    target: Target
    minimize: str
    allowed: float
    seed: int
    limits: Limits | None = None

    @property
    def emulated(self) -> bool:
        """Whether the device is a microcontroller: candidates are weighed, not timed."""
        return self.target.transport == "microcontroller"


class OutOfTime(Exception):
    """The budget ends before this can."""


class _Hopeless(Exception):
    """Half of the training is done and the model is far from good enough."""


class _Epochs:
    """Looks at every epoch: shows it, and ends a training that can't end in time or can't become good enough."""

    def __init__(self, job: Job, clock: Clock, reserve: float, show: Callable[[EpochLog], None]) -> None:
        self._job, self._clock, self._reserve, self._show = job, clock, reserve, show
        self._best = float("inf")

    def __call__(self, log: EpochLog) -> None:
        self._show(log)
        if self._clock.left - log.seconds < self._reserve:
            raise OutOfTime
        drop = self._job.judge.drop(log.val_metric)
        self._best = drop if log.epoch == 1 else min(drop, self._best)
        half = log.val_metric is not None and log.epoch < log.epochs <= 2 * log.epoch
        if half and self._best > self._job.judge.hopeless(self._job.allowed):
            value = metric_text(log.metric, log.val_metric)
            raise _Hopeless(f"given up after {log.epoch} of {log.epochs} epochs: validation {value}")


def attempt(
    job: Job,
    candidate: Candidate,
    folder: Path,
    *,
    epochs: int | None,
    clock: Clock,
    reserve: float,
    show: Callable[[EpochLog], None],
    status: Callable[[str], None],
) -> Record:
    """Make a candidate and judge it.

    Args:
        job: what it starts from.
        candidate: what to do.
        folder: where its artifact and its checkpoint go.
        epochs: of each training; None for the default.
        clock: the budget.
        reserve: seconds of it that must be left when a training ends.
        show: called after each epoch.
        status: told in a few words what is being done.

    Returns:
        "status": "done"; "lost" (given up in mid-training: too far from good enough) or "failed", both with "reason";
        then, where known, "over" (how much too large for the device, as a share of its memory), "val", "drop",
        "drop_error", "agreement", "within", "bytes" (of the model file),
        "checkpoint_bytes", "seconds", "epoch_seconds", "rest_seconds".

    Raises:
        OutOfTime: the budget doesn't reach.
    """
    start = time.monotonic()
    record: Record = {}
    try:
        with machine_lock.turn(machine_lock.lock_path(), status=status, seconds=clock.left - reserve):
            record = _made(job, candidate, folder, epochs, _Epochs(job, clock, reserve, show), status)
        record |= {"status": "done", "reason": ""}
    except _Hopeless as error:
        record = {"status": "lost", "reason": str(error)}
    except TooLargeError as error:
        record = {"status": "failed", "reason": f"too large: {error.short}", "over": round(error.over, 4)}
    except EdgeGNNError as error:
        record = {"status": "failed", "reason": " ".join(str(error).split())}
    except OutOfTime:
        raise
    except TimeoutError:
        raise OutOfTime from None
    except Exception as error:  # a model of the user's, of which a pruner or an exporter knows nothing
        record = {"status": "failed", "reason": f"unexpected {type(error).__name__}: {first_line(error)}"}
    finally:
        if record.get("status") != "done":
            shutil.rmtree(folder, ignore_errors=True)
    seconds = time.monotonic() - start
    trained = record.pop("trained_seconds", 0.0)
    if record["status"] == "done":
        record["rest_seconds"] = round(seconds - trained, 3)
    return record | {"seconds": round(seconds, 3)}


def measure(job: Job, folder: Path, *, timeout: float, status: Callable[[str], None]) -> Record:
    """Measure a candidate's artifact on the target, with the short windows of `edgegnn profile --quick`.

    On an emulated microcontroller it is weighed: "footprint" {flash, ram (bytes), instructions (median of an
    inference)}, "device", and none of the following.

    Returns:
        "latency_ms" {p50, p90, p99, threads}, "energy_j" {gross, net, kind, source} or None with "energy_reason",
        "emulated", "device", "load_average", "native_kernels", "without_kernels"; of a
        measurement that failed "measure_reason".
    """
    from edgegnn.profiling import profile
    from edgegnn.profiling.footprint import footprint

    if job.emulated:
        try:
            weighed = footprint(folder / ARTIFACT, target=job.target, out=None, progress=status)
        except EdgeGNNError as error:
            return {"measure_reason": " ".join(str(error).split())}
        needs = {"flash": weighed.needs.flash, "ram": weighed.needs.ram}
        return {"footprint": {**needs, "instructions": weighed.instructions.median}, "device": weighed.cpu}
    try:
        with machine_lock.turn(machine_lock.lock_path(), measuring=job.target.name, status=status, seconds=timeout):
            found = profile(
                folder / ARTIFACT, target=job.target, quick=True, out=None, progress=status, timeout=max(timeout, 1.0)
            )
    except (EdgeGNNError, OSError) as error:  # also: no turn in time, no lock that can be written
        return {"measure_reason": " ".join(str(error).split())}
    latency, energy = found.latency_ms, found.energy_j
    return {
        "latency_ms": {"p50": latency.p50, "p90": latency.p90, "p99": latency.p99, "threads": latency.threads},
        "energy_j": None
        if energy is None
        else {"gross": energy.gross, "net": energy.net, "kind": energy.kind, "source": energy.source},
        "energy_reason": found.energy_reason,
        "emulated": found.emulated,
        "device": found.device.model,
        "load_average": found.device.load_average,
        "native_kernels": found.native_kernels,
        "without_kernels": found.without_kernels,
    }


# ---------------------------------------------------------------------------------------------------------------------


def _made(
    job: Job,
    candidate: Candidate,
    folder: Path,
    epochs: int | None,
    progress: _Epochs,
    status: Callable[[str], None],
) -> Record:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    quant = str(folder / RECIPE)
    (folder / RECIPE).write_text(json.dumps(candidate.recipe(job.space).to_dict(), indent=1) + "\n", encoding="utf-8")
    settings = {"epochs": epochs, "seed": job.seed}
    checkpoint = job.checkpoint
    record: Record = {"checkpoint_bytes": None}
    trained = 0.0
    if candidate.trains:
        status("training")
        small = api.compress(
            checkpoint,
            prune=candidate.prune,
            sparsity=candidate.sparsity,
            quant=quant if candidate.quant_trains else None,
            schedule=candidate.schedule,
            output=folder / CHECKPOINT,
            settings=settings,
            progress=progress,
            status=status,
            **job.source.options(),
        )
        steps = small.checkpoint.history[len(checkpoint.history) :]
        trained = sum(step["seconds"] for step in steps)
        names = {"prune": candidate.prune, "quantize": candidate.quant}
        checkpoint = small.checkpoint
        record["checkpoint_bytes"] = small.row["bytes"]
        record["epoch_seconds"] = {
            f"{step['step']} {names[step['step']]}": step["seconds"] / step["settings"]["epochs"] for step in steps
        }
        drop = job.judge.drop(small.row["val"])
        if drop > job.allowed + job.judge.nearly(job.allowed):
            value = metric_text(job.judge.metric, small.row["val"])
            raise _Hopeless(f"not exported: validation {value} after training")
    exported = api.export(
        checkpoint,
        quant=None if candidate.quant_trains else quant,
        output=folder / ARTIFACT,
        targets=[job.target.name] if job.target.name != "local" else (),
        max_nodes=job.limits.nodes if job.limits is not None else None,
        max_edges=job.limits.edges if job.limits is not None else None,
        command="edgegnn tune",
        status=status,
        **job.source.options(),
    )
    status("judging")
    verdict = job.judge.exported(exported)
    return {
        **record,
        "val": verdict.val,
        "drop": verdict.drop,
        "drop_error": verdict.error,
        "agreement": verdict.agreement,
        "within": verdict.excess(job.allowed) <= 0,
        "excess": verdict.excess(job.allowed),
        "bytes": exported.manifest.sizes.model_file,
        "trained_seconds": trained,
    }
