"""The store of a study: one SQLite file, a row for every step that ended.

WAL mode, and one transaction for each step: whatever ends the process, the rows of steps that ended stay.
"""

from __future__ import annotations

import contextlib
import errno
import json
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import edgegnn
from edgegnn.errors import StudyError

__all__ = ["FORMAT", "Row", "Store", "disk_is_full", "open_store"]

FORMAT = 1
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
    edgegnn TEXT NOT NULL    -- version
);
CREATE TABLE started (key TEXT PRIMARY KEY, times INTEGER NOT NULL);  -- steps that have not ended
PRAGMA application_id = {_APPLICATION};
PRAGMA user_version = {FORMAT};
COMMIT;
"""


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
            found = self._database.execute("SELECT key, status, reason, result, seconds FROM step").fetchall()
        try:
            return {key: Row(status, reason, json.loads(result), took) for key, status, reason, result, took in found}
        except ValueError as error:
            raise StudyError(f"{self.path} is damaged: {error}") from error

    def begin(self, key: str) -> int:
        """Note that a step starts; how often it was started before without coming to an end.

        Raises:
            StudyError: it can't be written.
        """
        with self._transaction():
            found = self._database.execute("SELECT times FROM started WHERE key = ?", (key,)).fetchone()
            times = int(found[0]) if found else 0
            self._database.execute("INSERT OR REPLACE INTO started VALUES (?, ?)", (key, times + 1))
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
            row.seconds,
            datetime.now(timezone.utc).isoformat(timespec="seconds"),
            edgegnn.__version__,
        )
        with self._transaction():
            self._database.execute("INSERT OR REPLACE INTO step VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", values)
            self._database.execute("DELETE FROM started WHERE key = ?", (key,))

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        with self._explained("write"), self._database:
            self._database.execute("BEGIN IMMEDIATE")
            yield

    @contextlib.contextmanager
    def _explained(self, doing: str) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            hint = ": make room, then run the same command again" if "full" in str(error) else ""
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
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # A path with `mode` would need quoting; connecting creates the file, which `create` allows or was checked.
        database = sqlite3.connect(path, timeout=30, isolation_level=None)
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


def disk_is_full(error: BaseException | None) -> bool:
    """Whether a full disk is behind an error."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            return True
        error = error.__cause__ or error.__context__
    return False


def _check(path: Path, database: sqlite3.Connection, create: bool) -> None:
    application, version = (database.execute(f"PRAGMA {p}").fetchone()[0] for p in ("application_id", "user_version"))
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
        # A full disk cut the first transaction short, or an old file was copied: WAL is a property of the file.
        database.execute("PRAGMA journal_mode = WAL")
