"""The memory of a search: optuna's SQLite file in the output folder, a trial for every candidate.

A candidate's result is an attribute of its trial, so whatever ends the process costs the running trial. The study keeps
what the search was asked, and refuses to go on with something else. What is kept has a checksum, since SQLite has none.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgegnn.errors import TuneError, UsageError, first_line
from edgegnn.runtime.checksum import json_sha256
from edgegnn.tuning.space import Candidate, Space, suggest
from edgegnn.utils.databases import check_pages
from edgegnn.utils.files import check_plain, locked, replacing

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial, Trial

__all__ = ["FILES", "Memory", "Record", "open_memory"]

Record = dict[str, Any]

STUDY, CANDIDATES, ARTIFACT, CHECKPOINT, FRONT, RECIPE = FILES = (
    "study.db",
    "candidates",
    "artifact",
    "model.pt",
    "front.json",
    "recipe.json",
)
_NAME = "edgegnn-tune-1"
_LOCK = ".lock"
_FAILED = 1e6  # what optuna is told of a candidate that failed: worse than any other


class Memory:
    """An open study; use `open_memory`."""

    def __init__(self, study: Study, folder: Path, space: Space) -> None:
        self._study, self.folder, self.space = study, folder, space

    @property
    def records(self) -> list[Record]:
        """What is known of every candidate that came to an end, oldest first."""
        later = self.get("measured", {})
        found = [_open_seal(t.user_attrs["record"], _about(t)) for t in self._study.trials if "record" in t.user_attrs]
        return [record | later.get(str(record["number"]), {}) for record in found]

    def deaths(self, candidate: Candidate) -> int:
        """How often the whole process ended in the middle of a candidate. Ctrl-C doesn't count."""
        from optuna.trial import TrialState

        asked = candidate.to_dict()
        ended = self._study.get_trials(deepcopy=False, states=(TrialState.FAIL,))
        died = [t for t in ended if "asked" in t.user_attrs and "stopped" not in t.user_attrs]
        return sum(_open_seal(t.user_attrs["asked"], [t.number, "asked"]) == asked for t in died)

    @property
    def spent(self) -> float:
        """Seconds of the budget that earlier runs, and this one so far, have used."""
        return float(self.get("spent", 0.0))

    def get(self, key: str, default: Any = None) -> Any:
        """Something that was kept with `keep`."""
        return _kept(self._study, key, default)

    def keep(self, key: str, value: Any) -> None:
        """Keep a JSON-able value.

        Raises:
            TuneError: it can't be written.
        """
        with _explained(self.folder):
            self._study.set_user_attr(key, _seal(value, key))

    def begin(self, fixed: Candidate | None) -> tuple[Trial, Candidate]:
        """A trial for this candidate, or for one that optuna chooses.

        Raises:
            TuneError: it can't be written.
        """
        with _explained(self.folder):
            if fixed is not None:
                self._study.enqueue_trial(fixed.params(self.space), user_attrs={"full": fixed.full})
            trial = self._study.ask()
            chosen = suggest(trial, self.space)
            chosen = dataclasses.replace(chosen, full=trial.user_attrs.get("full", chosen.full))
            trial.set_user_attr("asked", _seal(chosen.to_dict(), [trial.number, "asked"]))
            return trial, chosen

    def measured(self, number: int, facts: Record) -> None:
        """Keep what a later measurement of a candidate gave.

        Raises:
            TuneError: it can't be written.
        """
        self.keep("measured", self.get("measured", {}) | {str(number): facts})

    def repeat(self, trial: Trial, value: float | None) -> None:
        """A trial asks for what is known already.

        Raises:
            TuneError: it can't be written.
        """
        with _explained(self.folder):
            self._study.tell(trial, _FAILED if value is None else value)

    def end(self, trial: Trial, record: Record, value: float | None) -> None:
        """Keep how a candidate ended.

        Args:
            trial: of `begin`.
            record: what is known of it.
            value: what is minimized, lower is better; None where it failed.

        Raises:
            TuneError: it can't be written.
        """
        with _explained(self.folder):
            trial.set_user_attr("record", _seal(record, _about(trial)))
            self._study.tell(trial, _FAILED if value is None else value)

    def forget(self, trial: Trial) -> None:
        """A trial that was stopped on purpose: it is as if it had not been.

        Raises:
            TuneError: it can't be written.
        """
        from optuna.trial import TrialState

        with _explained(self.folder):
            trial.set_user_attr("stopped", True)
            self._study.tell(trial, state=TrialState.FAIL)

    def write(self, front: dict[str, Any]) -> None:
        """Write front.json.

        Raises:
            TuneError: it can't be written.
        """
        with replacing(self.folder / FRONT, force=True, error=TuneError) as temporary:
            temporary.write_text(json.dumps(front, indent=1, allow_nan=False) + "\n", encoding="utf-8")


@contextlib.contextmanager
def open_memory(folder: Path, space: Space, settings: dict[str, Any], *, seed: int, force: bool) -> Iterator[Memory]:
    """Open the study of a folder, or begin one.

    Args:
        folder: the output folder.
        space: what can be chosen.
        settings: what was asked; a study that was asked something else isn't gone on with.
        seed: of the sampler.
        force: begin anew.

    Raises:
        UsageError: the folder is another one's.
        TuneError: the study is damaged, another one's, in use, or can't be written.
    """
    _check_folder(folder)
    busy = f"a search runs already in {folder}: wait for it, or choose another folder"
    with locked(folder / _LOCK, busy, error=TuneError):
        if force:
            _remove(folder)
        study, dispose = _open(folder / STUDY, seed)
        try:
            with _explained(folder):
                _check_settings(study, settings, folder)
                _tidy(study, folder)
            yield Memory(study, folder, space)
        finally:
            dispose()


def _check_folder(folder: Path) -> None:
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder} is a file: choose another folder with -o")
    if folder.is_dir() and not (folder / STUDY).exists() and any(p.name != _LOCK for p in folder.iterdir()):
        raise UsageError(f"{folder} has files of something else in it: choose another folder with -o")


def _open(path: Path, seed: int) -> tuple[Study, Any]:
    import optuna
    from optuna.exceptions import OptunaError
    from sqlalchemy.exc import SQLAlchemyError

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    check_plain(path, TuneError)
    try:
        if path.exists():
            with contextlib.closing(sqlite3.connect(path)) as database:
                check_pages(database)
        storage = optuna.storages.RDBStorage(f"sqlite:///{path.resolve()}")
    except (sqlite3.Error, SQLAlchemyError, OptunaError, RuntimeError, OSError, ValueError) as error:
        raise _damaged(path, error) from error
    try:
        study = optuna.create_study(storage=storage, study_name=_NAME, load_if_exists=True)
        _read_all(study)
        # Another seed for another run: going on with the same would ask the same again.
        study.sampler = optuna.samplers.TPESampler(seed=seed + len(study.trials), n_startup_trials=8)
    except TuneError:
        storage.engine.dispose()
        raise
    except Exception as error:  # optuna takes what the file holds for what it wrote
        storage.engine.dispose()
        raise _damaged(path, error) from error
    return study, storage.engine.dispose


def _read_all(study: Study) -> None:
    """Read all that is kept, so that damage is seen before anything is done."""
    for key in study.user_attrs:
        _kept(study, key, None)
    for trial in study.trials:
        for key, value in trial.user_attrs.items():
            if key in ("record", "asked"):
                _open_seal(value, _about(trial) if key == "record" else [trial.number, "asked"])


def _about(trial: Trial | FrozenTrial) -> list[Any]:
    """What a record belongs to."""
    return [trial.number, trial.params]


def _seal(value: Any, about: Any) -> Record:
    """A value with a checksum of it and of what it belongs to."""
    return {"value": value, "sha256": json_sha256([about, value])}


def _open_seal(sealed: Any, about: Any) -> Any:
    if not isinstance(sealed, dict) or sealed.get("sha256") != json_sha256([about, sealed.get("value")]):
        raise TuneError(
            f"{STUDY}, the memory of the search, is damaged, or of an older edgegnn (a checksum differs): "
            "--force starts anew"
        )
    return sealed["value"]


def _kept(study: Study, key: str, default: Any) -> Any:
    return _open_seal(study.user_attrs[key], key) if key in study.user_attrs else default


def _damaged(path: Path, error: Exception) -> TuneError:
    return TuneError(f"can't read {path}, the memory of the search: {_why(error)}: --force starts anew")


def _why(error: BaseException) -> str:
    """What the database says, below what is said by those who use it."""
    while getattr(error, "orig", None) is None and error.__cause__ is not None:
        error = error.__cause__
    return first_line(getattr(error, "orig", None) or error)


def _check_settings(study: Study, settings: dict[str, Any], folder: Path) -> None:
    known = _kept(study, "settings", None)
    if known is None:
        study.set_user_attr("settings", _seal(settings, "settings"))
        return
    other = [key for key in settings if known.get(key) != settings[key]]
    if other:
        raise TuneError(
            f"{folder} has a search with another {' and another '.join(other)}: choose another folder with -o, or "
            "--force to start anew"
        )


def _tidy(study: Study, folder: Path) -> None:
    """Close trials that a killed run left open, and remove what it left half-written."""
    from optuna.trial import TrialState

    while study.get_trials(states=(TrialState.WAITING,)):
        study.tell(study.ask(), state=TrialState.FAIL)
    for trial in study.get_trials(states=(TrialState.RUNNING,)):
        study.tell(trial.number, state=TrialState.FAIL)
    for path in [*folder.glob(".*.tmp"), *folder.glob(".*.old"), *(folder / CANDIDATES).glob("*/.*.tmp")]:
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def _remove(folder: Path) -> None:
    for name in (*FILES, f"{STUDY}-journal"):
        path = folder / name
        try:
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        except OSError as error:
            raise TuneError(f"can't remove {path}: {error.strerror}") from error


@contextlib.contextmanager
def _explained(folder: Path) -> Iterator[None]:
    from optuna.exceptions import OptunaError
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (SQLAlchemyError, OptunaError) as error:
        why = _why(error)
        hint = "make room, then run the same command again" if "full" in why or "I/O" in why else "--force starts anew"
        raise TuneError(f"can't use {folder / STUDY}, the memory of the search: {why}: {hint}") from error
