"""The store of a study: one SQLite file, a row for every step that ended.

WAL mode, and one transaction for each step: whatever ends the process, the rows of steps that ended stay. Every row
has a checksum, since SQLite has none: a flipped bit is seen before anything is read from it.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import msgspec

import edgegnn
from edgegnn.errors import StudyError
from edgegnn.runtime.checksum import json_sha256
from edgegnn.utils.databases import check_pages
from edgegnn.utils.files import check_plain

__all__ = ["FORMAT", "Row", "Store", "open_store"]

FORMAT = 2
_APPLICATION = 0x6567_7374  # "egst": what SQLite calls the application's id
_SCHEMA = f"""
BEGIN IMMEDIATE;
CREATE TABLE step (
    key TEXT PRIMARY KEY,    -- checksum of what determines the result
    kind TEXT NOT NULL,      -- dense, compress or timing
    spec TEXT NOT NULL,      -- JSON: what was asked
    status TEXT NOT NULL,    -- done or failed
    reason TEXT NOT NULL,    -- why it failed, or ''
    result TEXT NOT NULL,    -- JSON
    seconds REAL NOT NULL,   -- that it took
    created TEXT NOT NULL,   -- when it ended, ISO 8601 in UTC
    edgegnn TEXT NOT NULL,   -- version
    checksum TEXT NOT NULL   -- of all other columns
);
CREATE TABLE started (  -- steps that have not ended
    key TEXT PRIMARY KEY,
    times INTEGER NOT NULL,
    checksum TEXT NOT NULL
);
PRAGMA application_id = {_APPLICATION};
PRAGMA user_version = {FORMAT};
COMMIT;
"""
# Stores of format 1 have no checksums.
_UPGRADE = f"""
BEGIN IMMEDIATE;
ALTER TABLE step ADD COLUMN checksum TEXT NOT NULL DEFAULT '';
ALTER TABLE started ADD COLUMN checksum TEXT NOT NULL DEFAULT '';
UPDATE step SET checksum = row_checksum(key, kind, spec, status, reason, result, seconds, created, edgegnn);
UPDATE started SET checksum = row_checksum(key, times);
PRAGMA user_version = {FORMAT};
COMMIT;
"""


_COLUMNS = 10  # of a step


@dataclass(frozen=True)
class Row:
    """A step that ended.

    Attributes:
        status: "done" or "failed".
        reason: why it failed.
        result: what it gave; {} when it failed.
        seconds: that it took.
    """

    status: str
    reason: str
    result: dict[str, Any]
    seconds: float


class Store:
    """An open store; use `open_store`."""

    def __init__(self, path: Path, database: sqlite3.Connection) -> None:
        self.path, self._database = path, database

    def rows(self) -> dict[str, Row]:
        """All steps that ended, by key.

        Raises:
            StudyError: the file is damaged.
        """
        with self._explained("read"):
            found = self._database.execute("SELECT * FROM step").fetchall()
        rows = {}
        for values in found:
            key, _, _, status, reason, result, seconds = values[:7]
            if len(values) == _COLUMNS:
                self._check_row(values)
            try:
                rows[key] = Row(status, reason, msgspec.json.decode(result, type=dict[str, Any]), seconds)
            except (msgspec.MsgspecError, ValueError, TypeError, RecursionError) as error:
                raise StudyError(f"{self.path} is damaged: {error}") from error
        return rows

    def begin(self, key: str) -> int:
        """Note that a step starts; how often it was started before without coming to an end.

        Raises:
            StudyError: it can't be written.
        """
        with self._transaction():
            found = self._database.execute("SELECT * FROM started WHERE key = ?", (key,)).fetchone()
            if found is not None:
                self._check_row(found)
            times = int(found[1]) if found else 0
            values = key, times + 1
            self._database.execute("INSERT OR REPLACE INTO started VALUES (?, ?, ?)", (*values, _checksum(*values)))
        return times

    def forget(self, key: str) -> None:
        """A step that was stopped on purpose doesn't count as one that never came to an end.

        Raises:
            StudyError: it can't be written.
        """
        with self._transaction():
            self._database.execute("DELETE FROM started WHERE key = ?", (key,))

    def end(self, key: str, kind: str, spec: dict[str, Any], row: Row) -> None:
        """Keep how a step ended, in one transaction.

        Raises:
            StudyError: it can't be written.
        """
        values = (
            key,
            kind,
            json.dumps(spec, sort_keys=True),
            row.status,
            row.reason,
            json.dumps(row.result, allow_nan=False),
            float(row.seconds),
            datetime.now(timezone.utc).isoformat(timespec="seconds"),
            edgegnn.__version__,
        )
        with self._transaction():
            self._database.execute(
                f"INSERT OR REPLACE INTO step VALUES (?{', ?' * (_COLUMNS - 1)})", (*values, _checksum(*values))
            )
            self._database.execute("DELETE FROM started WHERE key = ?", (key,))

    def _check_row(self, values: tuple[Any, ...]) -> None:
        if values[-1] != _checksum(*values[:-1]):
            raise StudyError(
                f"the study's store {self.path} is damaged: a row has been changed (its checksum differs); take a copy "
                "from before, or move it away and run the study again"
            )

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        with self._explained("write"), self._database:
            self._database.execute("BEGIN IMMEDIATE")
            yield

    @contextlib.contextmanager
    def _explained(self, doing: str) -> Iterator[None]:
        try:
            yield
        except UnicodeDecodeError as error:
            raise StudyError(f"the study's store {self.path} is damaged: {error}") from error
        except sqlite3.Error as error:
            refused = "full" in str(error) or "I/O" in str(error)  # a limit on files is an I/O error to SQLite
            hint = ": make room, then run the same command again" if refused else ""
            raise StudyError(f"can't {doing} the study's store {self.path}: {error}{hint}") from error


@contextlib.contextmanager
def open_store(path: Path, *, create: bool) -> Iterator[Store]:
    """Open a study's store.

    Args:
        path: the file.
        create: make it when it isn't there.

    Raises:
        StudyError: there is none, it is something else, damaged, newer, or can't be opened.
    """
    if not create and not path.exists():
        raise StudyError(f"there is no store {path} yet: `edgegnn study run` makes it")
    check_plain(path, StudyError)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # A path with `mode` would need quoting; connecting creates the file, which `create` allows or was checked.
        database = sqlite3.connect(path, timeout=30, isolation_level=None)
        database.create_function("row_checksum", -1, _checksum, deterministic=True)
    except (OSError, sqlite3.Error) as error:
        raise StudyError(f"can't open the study's store {path}: {error}") from error
    try:
        try:
            _check(path, database, create)
        except sqlite3.DatabaseError as error:
            why = "it is damaged, or no store of a study" if "not a database" in str(error) else str(error)
            raise StudyError(f"can't open the study's store {path}: {why}") from error
        yield Store(path, database)
    finally:
        database.close()


def _checksum(*values: Any) -> str:
    return json_sha256([repr(value) for value in values])


def _check(path: Path, database: sqlite3.Connection, create: bool) -> None:
    application, version = (database.execute(f"PRAGMA {p}").fetchone()[0] for p in ("application_id", "user_version"))
    check_pages(database)
    empty = database.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] == 0
    if empty and application == 0:
        if not create:
            raise StudyError(f"{path} is empty: `edgegnn study run` fills it")
        database.execute("PRAGMA journal_mode = WAL")
        database.executescript(_SCHEMA)
    elif application != _APPLICATION:
        raise StudyError(f"{path} is another program's database, not a study's: name another store in study.toml")
    elif version > FORMAT:
        raise StudyError(f"{path} was made by a newer edgegnn (format {version}, this one knows {FORMAT}): update")
    elif create:
        if version < FORMAT:
            database.executescript(_UPGRADE)
        # A full disk cut the first transaction short, or an old file was copied: WAL is a property of the file.
        database.execute("PRAGMA journal_mode = WAL")
