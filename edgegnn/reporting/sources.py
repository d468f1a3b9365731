"""Open what a report is made from: studies, profile records (files, or folders of them), and checkpoints."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from edgegnn.errors import DataError, StudyError, UsageError
from edgegnn.profiling.footprint import Footprint, read_footprint
from edgegnn.profiling.record import ProfileRecord, read_record
from edgegnn.studies import Outcome, Study, cells, check_outcomes, open_store, outcome, read_study
from edgegnn.utils.files import check_plain

__all__ = ["LoadedStudy", "Sources", "read_sources"]

_FOOTPRINT = "edgegnn-footprint/"
_STATE = (b"PK\x03\x04", b"\x80")  # what torch.save writes: a zip archive, or (long ago) a pickle


@dataclass(frozen=True)
class LoadedStudy:
    """A study with what its store has.

    Attributes:
        study: the file.
        outcomes: of every cell.
        records: profile records that lie beside the store, of the cells' measurements.
    """

    study: Study
    outcomes: list[Outcome]
    records: list[ProfileRecord]


@dataclass(frozen=True)
class Sources:
    """What a report is made from.

    Attributes:
        studies: see `LoadedStudy`.
        records: file and record.
        footprints: file and record, of microcontrollers.
        checkpoints: model files, not opened yet.
        passed_over: JSON files in folders that are no profile records.
    """

    studies: list[LoadedStudy] = field(default_factory=list)
    records: list[tuple[Path, ProfileRecord]] = field(default_factory=list)
    footprints: list[tuple[Path, Footprint]] = field(default_factory=list)
    checkpoints: list[Path] = field(default_factory=list)
    passed_over: list[Path] = field(default_factory=list)


def read_sources(paths: list[Path]) -> Sources:
    """Open all sources; what is named twice is read once.

    Raises:
        UsageError: no such file, or it is none of these.
        StudyError: a study or its store can't be read, or no cell of it has ended.
        DataError: a record is damaged or newer, or a folder has none.
    """
    found = Sources()
    seen: set[Path] = set()

    def new(path: Path) -> bool:
        place = path.resolve()
        known = place in seen
        seen.add(place)
        return not known

    for path in paths:
        if path.is_dir():
            _read_folder(path, found, new)
        elif not path.exists():
            raise UsageError(f"there is no {path}: name a study.toml, profile records, or a model.pt")
        elif path.suffix == ".toml":
            if new(path):
                found.studies.append(_read_study(path))
        elif path.suffix == ".json":
            if new(path):
                _read_json(path, _format(path), found)
        elif _is_checkpoint(path):
            if new(path):
                found.checkpoints.append(path)
        else:
            raise UsageError(f"{path} is no study.toml, no profile record (.json) and no checkpoint: {_hint(path)}")
    return found


def _read_folder(folder: Path, found: Sources, new: Callable[[Path], bool]) -> None:
    before = len(found.records) + len(found.footprints)
    if (folder / "manifest.json").is_file():
        raise UsageError(f"{folder} is an artifact: measure it with `edgegnn profile {folder}`, and name its record")
    known = 0
    for path in sorted(folder.rglob("*.json")):
        named = _format(path)
        if named is not None and not named.startswith(("edgegnn-profile/", _FOOTPRINT)):
            found.passed_over.append(path)
        elif new(path):
            _read_json(path, named, found)
        else:
            known += 1
    if len(found.records) + len(found.footprints) == before and not known:
        raise DataError(f"{folder} has no profile records: `edgegnn profile` writes them, or name a study.toml")


def _format(path: Path) -> str | None:
    """What a JSON file says that it is; None of one that can't be told, which is read so that its reader explains."""
    check_plain(path, UsageError)
    try:
        head = msgspec.json.decode(path.read_bytes())
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    return str(head.get("format", "")) if isinstance(head, dict) else ""


def _read_json(path: Path, named: str | None, found: Sources) -> None:
    if named is not None and named.startswith(_FOOTPRINT):
        found.footprints.append((path, read_footprint(path)))
    else:
        found.records.append((path, read_record(path)))


def _is_checkpoint(path: Path) -> bool:
    check_plain(path, UsageError)
    try:
        with path.open("rb") as file:
            head = file.read(4)
    except OSError as error:
        raise UsageError(f"can't read {path}: {error.strerror}") from error
    return path.suffix in (".pt", ".pth", ".pt2") or head.startswith(_STATE)


def _hint(path: Path) -> str:
    if path.suffix in (".db", ".sqlite"):
        return "of a study name its study.toml, not its store"
    return "see edgegnn report --help"


def _read_study(path: Path) -> LoadedStudy:
    study = read_study(path)
    grid = cells(study)
    with open_store(study.store_path, create=False) as store:
        rows = store.rows()
    outcomes = [outcome(cell, rows) for cell in grid]
    if not any(o.compress for o in outcomes):
        failed = next((o for o in outcomes if o.status == "failed"), None)
        why = f"; {failed.cell.label} failed: {failed.reason}" if failed else ""
        raise StudyError(f"{path}: no cell has ended yet: run it with `edgegnn study run {path}`{why}")
    check_outcomes(outcomes, study.store_path)
    return LoadedStudy(study, outcomes, _records(study, outcomes))


def _records(study: Study, outcomes: list[Outcome]) -> list[ProfileRecord]:
    """The records behind a study's measurements, as far as they are still there: they say how it was measured."""
    found = []
    for o in outcomes:
        if not o.timing.get("artifact"):
            continue
        # Names from a store: only below the folder of its records.
        folder = study.files / "profiles"
        path = folder / Path(str(o.timing["target"])).name / f"{Path(str(o.timing['artifact'])).name}.json"
        try:
            found.append(read_record(path))
        except DataError:
            continue  # moved or deleted: the store has the figures
    return found
