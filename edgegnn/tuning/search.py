"""`edgegnn tune`: search within a budget, keep every candidate, write the best one and the front."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from edgegnn import api
from edgegnn.checkpoint import Checkpoint
from edgegnn.compression.compress import check_compressible
from edgegnn.compression.model_source import DataSource, ModelSource, check_fits, finetune_config, open_model
from edgegnn.devices import load_target
from edgegnn.errors import EdgeGNNError, TuneError, UsageError
from edgegnn.manifest import typed_manifest
from edgegnn.runtime import read_manifest
from edgegnn.runtime.metrics import LOWER_IS_BETTER, metric_text
from edgegnn.tasks import Task, evaluate
from edgegnn.tasks.catalog import check_labels
from edgegnn.tuning.accuracy_drop import Judge
from edgegnn.tuning.budget import Clock, Costs
from edgegnn.tuning.candidate import Job, OutOfTime, attempt, measure
from edgegnn.tuning.choose import best, figure, finalists, front, known, next_fixed, value_of
from edgegnn.tuning.report import contents, nothing_found
from edgegnn.tuning.request import c_form_limits, check_request
from edgegnn.tuning.space import Candidate, commands, space_of
from edgegnn.tuning.store import ARTIFACT, CANDIDATES, CHECKPOINT, RECIPE, Memory, Record, open_memory
from edgegnn.utils.files import replacing

if TYPE_CHECKING:
    from edgegnn.training import EpochLog

__all__ = ["Tuned", "Watch", "tune"]

_Shown = tuple[str, list[str]]  # the model file, and the options that say how to open it

_POINT = 0.01
_SHORT = 3  # a short training has a third of the epochs
_FULL_SHARE = 0.04  # of the budget, for the epochs of one full training at most
_FEWEST = 3  # epochs
_FINALISTS = 4  # that are measured in the end
_MEASURE = 12.0  # seconds of a short measurement, before one is known
_DEATHS = 2  # a candidate that ended the whole process this often isn't tried again
_REPEATS = 40  # samples in a row that are known already: nothing new is left


@dataclasses.dataclass(frozen=True)
class Tuned:
    """What a search found.

    Attributes:
        folder: where everything is.
        front: the content of front.json.
        winner: its record.
        artifact: the winner's artifact.
        checkpoint: its checkpoint; None where nothing was trained.
    """

    folder: Path
    front: dict[str, Any]
    winner: Record
    artifact: Path
    checkpoint: Path | None


class Watch(Protocol):
    """Told what goes on."""

    def begin(self, clock: Clock, metric: str, records: list[Record]) -> None:
        """The search begins, or goes on from these candidates."""

    def candidate(self, number: int, label: str) -> None:
        """A candidate begins."""

    def epoch(self, log: EpochLog) -> None:
        """An epoch of training ended."""

    def status(self, text: str) -> None:
        """What is being done now."""

    def ended(self, record: Record, winner: Record | None) -> None:
        """A candidate ended; the best so far."""


def tune(
    model: str | Path | Checkpoint,
    *,
    target: str = "local",
    max_nodes: int | None = None,
    max_edges: int | None = None,
    minimize: str = "size",
    max_drop: float | None = None,
    budget: float = 15.0,
    trials: int | None = None,
    output: str | Path = "tuned",
    seed: int = 0,
    force: bool = False,
    watch: Watch | None = None,
    shown_source: list[str] | None = None,
    data: str | None = None,
    task: str | None = None,
    split: str | None = None,
    split_seed: int = 0,
    data_root: Path | None = None,
    inputs: dict[str, str] | None = None,
    transforms: Sequence[str] = (),
    factory: str | None = None,
    factory_args: dict[str, Any] | None = None,
    allow_import: bool = False,
    unsafe_pickle: bool = False,
) -> Tuned:
    """Search for the smallest, fastest or most frugal model within an accuracy drop.

    Args:
        model: a float checkpoint, a bare state_dict (with `factory`), or a loaded `Checkpoint`, which is not changed.
        target: a device of `edgegnn targets`, or "local".
        max_nodes: the most nodes of a graph, for a device that takes the C form (a microcontroller).
        max_edges: the most edges of a graph there.
        minimize: "size" (bytes of the model file), "latency" (p50) or "energy" (gross, of an inference); on a
            microcontroller "size" (bytes of flash), "ram" (bytes) or "instructions" (of an inference).
        max_drop: how much worse than the float model on validation: in points of a metric in percent, else in the
            metric's unit; None: 1 point.
        budget: minutes.
        trials: end after this many candidates, those of earlier runs included; None: when the budget does.
        output: folder of everything it makes. A search that is there is gone on with.
        seed: of the sampler and of all trainings.
        force: begin anew.
        watch: told what goes on.
        shown_source: the arguments below as options of the command line, for the command that reproduces the winner.
        data: data set or data file; None for the checkpoint's own.
        task: "link-prediction"; None for the checkpoint's own, or what the labels of `data` are for.
        split: which split of `data`.
        split_seed: seed of a drawn split of `data`.
        data_root: folder of the data sets.
        inputs: of the model's forward, name -> role or the attribute of `data` that it is read from; None: told from
            the data.
        transforms: what prepares each graph of `data` first (`edgegnn.tasks.user_transforms`).
        factory: "package.module:function" that builds the module.
        factory_args: its arguments.
        allow_import: allow the import of a factory that the file names.
        unsafe_pickle: open pickled modules too, which can run any code.

    Returns:
        What was found: the winner, the front, and where they are.

    Raises:
        UsageError: unknown names, values out of range, a folder with something else in it.
        CheckpointError, DataError, QuantizeError, PruneError: the model can't be opened, or not be compressed.
        TargetError: unknown device.
        TuneError: the search can't be gone on with, or found nothing within the drop; front.json says what it found.
    """
    check_request(minimize, max_drop, budget, trials)
    source = ModelSource(factory, factory_args, allow_import, unsafe_pickle)
    data_source = DataSource(data, task, split, split_seed, data_root, inputs or {}, transforms=tuple(transforms))
    check_labels(task, "a search compares accuracies", "name a task whose labels the data have")
    clock = Clock(60 * budget)
    device = load_target(target)
    limits = c_form_limits(device, minimize, max_nodes, max_edges)
    checkpoint, work, _ = open_model(model, source, data_source)
    check_compressible(checkpoint)
    check_fits(checkpoint, work)
    judge = Judge(checkpoint.model, work)  # type: ignore[arg-type]
    allowed = _allowed(max_drop, judge)
    space = space_of(checkpoint.model, work)  # type: ignore[arg-type]
    small = device.transport == "microcontroller"
    figured = "flash" if small and minimize == "size" else minimize
    job = Job(checkpoint, data_source, space, judge, device, figured, allowed, seed, limits)
    settings = {
        "model": _checksum(model),
        "data": work.spec.to_dict(),
        "--target": device.name,
        "--minimize": minimize,
        "--max-accuracy-drop": allowed,
        "--seed": seed,
        **({} if limits is None else {"--max-nodes": limits.nodes, "--max-edges": limits.edges}),
        "choice of candidates": [list(space.recipes), [layer.name for layer in space.layers]],
    }
    with open_memory(Path(output), space, settings, seed=seed, force=force) as memory:
        shown = ("model.pt" if isinstance(model, Checkpoint) else str(model), shown_source or [])
        clock.before = memory.spent
        return _Search(job, memory, work, clock, watch or _Silent(), shown, trials).run()


class _Search:
    """A search in progress."""

    def __init__(
        self, job: Job, memory: Memory, task: Task, clock: Clock, watch: Watch, shown: _Shown, trials: int | None
    ) -> None:
        self.job, self.memory, self.task, self.clock, self.watch, self.shown = job, memory, task, clock, watch, shown
        self.trials = trials
        self.costs = Costs(memory.records)
        # What the end takes: the winner written, the finalists measured.
        self.reserve = min(0.1 * clock.budget, 10.0 + _FINALISTS * _MEASURE)

    def run(self) -> Tuned:
        """Search until the budget ends, nothing new is left, or Ctrl-C; then finish."""
        self.watch.begin(self.clock, self.job.judge.metric, self.memory.records)
        interrupted = False
        try:
            if self.memory.get("epochs") is None:
                self.memory.keep("epochs", self._plan_epochs())
            self._search()
        except (KeyboardInterrupt, OutOfTime) as error:
            interrupted = isinstance(error, KeyboardInterrupt)
        finally:
            self.memory.keep("spent", round(self.clock.spent, 1))
        return self._finish(interrupted)

    # Candidates ------------------------------------------------------------

    def _search(self) -> None:
        job, repeats = self.job, 0
        nearly = job.judge.nearly(job.allowed)
        while repeats < _REPEATS and self.clock.left > self.reserve:
            records = self.memory.records
            if self.trials is not None and len(records) >= self.trials:
                return
            used = self.clock.spent / self.clock.budget
            fixed = next_fixed(records, job.space, job.minimize, nearly=nearly, used=used, fits=self._fits)
            trial, candidate = self.memory.begin(fixed)
            try:
                same = known(records).get(candidate)
                if same is not None:
                    repeats += 1
                    self.memory.repeat(trial, value_of(same, job.minimize, job.allowed))
                    continue
                if not self._fits(candidate):
                    repeats += 1
                    self.memory.forget(trial)
                    continue
                repeats = 0
                record = self._candidate(trial.number, candidate)
            except (KeyboardInterrupt, OutOfTime, EdgeGNNError):
                self.memory.forget(trial)
                raise
            self.memory.end(trial, record, value_of(record, job.minimize, job.allowed))
            self.memory.keep("spent", round(self.clock.spent, 1))
            self._tidy()
            self.watch.ended(record, best(self.memory.records, job.minimize))

    def _candidate(self, number: int, candidate: Candidate) -> Record:
        label = candidate.label(self.job.space)
        epochs = self._epochs(candidate)
        facts: Record = {
            "number": number,
            "label": label,
            "preset": candidate.preset,
            "settings": candidate.to_dict(),
            "epochs": epochs if candidate.trains else 0,
        }
        self.watch.candidate(number, label + ("" if candidate.full else ", short"))
        if self.memory.deaths(candidate) >= _DEATHS:
            reason = f"edgegnn was ended {_DEATHS} times in the middle of it (out of memory?)"
            return facts | {"status": "failed", "reason": reason, "seconds": 0.0}
        folder = self._folder(number)
        record = facts | attempt(
            self.job,
            candidate,
            folder,
            epochs=epochs,
            clock=self.clock,
            reserve=self.reserve + self.costs.rest,
            show=self.watch.epoch,
            status=self.watch.status,
        )
        if self.job.minimize != "size" and record.get("within"):
            start = time.monotonic()
            self.watch.status("measuring")
            record |= measure(self.job, folder, timeout=self.clock.left, status=self.watch.status)
            record["rest_seconds"] += time.monotonic() - start
            if candidate.dense and figure(record, self.job.minimize) is None:  # nothing else will be measured either
                why = record.get("measure_reason") or record.get("energy_reason")
                cure = "" if self.job.emulated else "; or choose --minimize size"
                raise TuneError(f"{self.job.minimize} can't be measured on {self.job.target.name}: {why}{cure}")
        self.costs.note(record)
        return record

    def _fits(self, candidate: Candidate) -> bool:
        return self.costs.seconds(candidate, self._epochs(candidate)) + self.reserve < self.clock.left

    def _epochs(self, candidate: Candidate) -> int:
        found: int = self.memory.get("epochs")["full" if candidate.full else "short"]
        return found

    def _plan_epochs(self) -> dict[str, int]:
        """Epochs of full and of short trainings: the default, or fewer where that leaves room for few trainings."""
        job = self.job
        default = finetune_config(job.checkpoint, self.task, {}).epochs
        trained: dict[str, Any] = (
            {"quant": "dq-int8"} if "dq" in job.space.methods else {"prune": "global", "sparsity": 0.5}
        )
        self.watch.status("how long does an epoch take?")
        seconds = 0.0
        try:
            small = api.compress(job.checkpoint, **trained, settings={"epochs": 2}, **job.source.options())
            seconds = small.checkpoint.history[-1]["seconds"] / 2
        except EdgeGNNError:
            pass  # the candidates will say why
        most = int(_FULL_SHARE * self.clock.budget / seconds) if seconds else default
        full = max(_FEWEST, min(default, most))
        return {"full": full, "short": max(_FEWEST, full // _SHORT), "default": default}

    def _folder(self, number: int) -> Path:
        return self.memory.folder / CANDIDATES / str(number)

    def _tidy(self) -> None:
        """Keep the files of what is on the front, and of what may still win."""
        records, minimize = self.memory.records, self.job.minimize
        keep = {r["number"] for r in (*front(records, minimize), *finalists(records, minimize, _FINALISTS))}
        for path in (self.memory.folder / CANDIDATES).iterdir():
            if path.name not in map(str, keep):
                shutil.rmtree(path, ignore_errors=True)

    # The end ------------------------------------------------------------

    def _finish(self, interrupted: bool) -> Tuned:
        if not interrupted:
            with contextlib.suppress(KeyboardInterrupt):
                self._measure_finalists()
        records = self.memory.records
        winner = best(records, self.job.minimize)
        if winner is not None and self.job.minimize in ("size", "flash") and winner["preset"] == "none":
            winner = None  # the model as it is
        content = self._content(winner, interrupted)
        if winner is not None:
            self._install(winner, content)
        self.memory.write(content)
        if winner is None:
            raise TuneError(nothing_found(content, self.memory.folder))
        folder = self.memory.folder
        trained = (folder / CHECKPOINT).exists()
        return Tuned(folder, content, winner, folder / ARTIFACT, folder / CHECKPOINT if trained else None)

    def _measure_finalists(self) -> None:
        """Measure what may win, or shares the front with it, one after the other."""
        minimize, took = self.job.minimize, _MEASURE
        for record in finalists(self.memory.records, minimize, _FINALISTS):
            if self.clock.left < 1.2 * took:
                return
            if self.job.emulated or (minimize == "size" and "latency_ms" in record):
                continue  # measured already
            start = time.monotonic()
            self.watch.status(f"measuring {record['label']}")
            facts = measure(self.job, self._folder(record["number"]), timeout=self.clock.left, status=self.watch.status)
            if "latency_ms" in facts or minimize == "size":
                self.memory.measured(record["number"], facts)
            took = max(took, time.monotonic() - start)

    def _content(self, winner: Record | None, interrupted: bool) -> dict[str, Any]:
        job, (model, options) = self.job, self.shown
        made: dict[str, Any] = {"command": None, "recipe": None, "test": None}
        if winner is not None:
            candidate, epochs = Candidate.from_dict(winner["settings"]), self.memory.get("epochs")
            made["command"], made["recipe"] = commands(
                candidate,
                job.space,
                model=model,
                source=options,
                where=self._where(),
                epochs=winner["epochs"] if winner["epochs"] != epochs["default"] else None,
                seed=job.seed,
                recipe_file=self.memory.folder / RECIPE,
            )
            metric = typed_manifest(read_manifest(self._folder(winner["number"]) / ARTIFACT).raw).metric
            assert metric is not None  # a search has labels
            dense = evaluate(job.checkpoint.model, self.task, "test")  # type: ignore[arg-type]
            made["test"] = {"float": dense, "winner": metric.artifact, "n": metric.n, "caveat": self.task.caveat}
        return contents(
            job,
            self.task.spec,
            self.memory.records,
            winner,
            clock=self.clock,
            interrupted=interrupted,
            epochs=self.memory.get("epochs") or {},
            **made,
        )

    def _where(self) -> list[str]:
        """Options of an export that name the device, and the largest graph of a C form."""
        target, limits = self.job.target.name, self.job.limits
        found = [] if target == "local" else ["--target", target]
        if limits is not None:
            found += ["--max-nodes", str(limits.nodes), "--max-edges", str(limits.edges)]
        return found

    def _install(self, winner: Record, content: dict[str, Any]) -> None:
        """Put the winner where the user looks for it."""
        folder, source = self.memory.folder, self._folder(winner["number"])
        with replacing(folder / ARTIFACT, force=True, error=TuneError, folder=True) as temporary:
            shutil.copytree(source / ARTIFACT, temporary, dirs_exist_ok=True)
        if (source / CHECKPOINT).exists():
            with replacing(folder / CHECKPOINT, force=True, error=TuneError) as temporary:
                shutil.copyfile(source / CHECKPOINT, temporary)
        else:
            (folder / CHECKPOINT).unlink(missing_ok=True)
        with replacing(folder / RECIPE, force=True, error=TuneError) as temporary:
            shutil.copyfile(source / RECIPE, temporary)


class _Silent:
    """A watch that says nothing."""

    def begin(self, clock: Clock, metric: str, records: list[Record]) -> None: ...

    def candidate(self, number: int, label: str) -> None: ...

    def epoch(self, log: EpochLog) -> None: ...

    def status(self, text: str) -> None: ...

    def ended(self, record: Record, winner: Record | None) -> None: ...


def _allowed(max_drop: float | None, judge: Judge) -> float:
    if judge.metric not in LOWER_IS_BETTER:
        return _POINT * (1.0 if max_drop is None else max_drop)
    if max_drop is None:
        raise UsageError(
            f"the metric is {judge.metric}, in the units of the data: say with --max-accuracy-drop how much it may "
            f"rise "
            f"(it is {metric_text(judge.metric, judge.val)} on validation)"
        )
    return max_drop


def _checksum(model: str | Path | Checkpoint) -> str:
    """Checksum of a model file, or of the parameters of a loaded model."""
    if not isinstance(model, Checkpoint):
        return hashlib.sha256(Path(model).read_bytes()).hexdigest()
    digest = hashlib.sha256()
    for name, value in model.model.state_dict().items():
        digest.update(name.encode())
        digest.update(value.detach().cpu().numpy().tobytes())
    return digest.hexdigest()
