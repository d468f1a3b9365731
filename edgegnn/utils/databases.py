"""What all of our SQLite files share."""

from __future__ import annotations

import sqlite3

__all__ = ["check_pages"]


def check_pages(database: sqlite3.Connection) -> None:
    """Look at the structure of the whole file: no row may be lost, or be there twice.

    Raises:
        sqlite3.DatabaseError: it is damaged.
    """
    try:
        found = str(database.execute("PRAGMA integrity_check(1)").fetchone()[0])
    except UnicodeDecodeError as error:
        raise sqlite3.DatabaseError("it is damaged") from error
    if found != "ok":
        raise sqlite3.DatabaseError(f"it is damaged: {' '.join(found.split())}")
