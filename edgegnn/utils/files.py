"""Writing files and folders all or nothing; reading copies of files that are elsewhere."""

from __future__ import annotations

import contextlib
import shutil
import sys
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from edgegnn.errors import EdgeGNNError, UsageError, first_line

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

__all__ = ["at_hand", "check_free", "locked", "read_toml", "replacing", "size", "stand_in"]

_copies: dict[str, Path] = {}


@contextlib.contextmanager
def stand_in(copies: Mapping[str, Path]) -> Iterator[None]:
    """Read copies of a user's files in their place, where their paths are those of another machine.

    Args:
        copies: path that a study or a checkpoint names -> the copy.
    """
    before = dict(_copies)
    _copies.update(copies)
    try:
        yield
    finally:
        _copies.clear()
        _copies.update(before)


def at_hand(path: str) -> Path:
    """Where to read a user's file: at its path, or at that of its copy (`stand_in`)."""
    return _copies.get(path, Path(path))


@contextlib.contextmanager
def replacing(path: Path, *, force: bool, error: type[EdgeGNNError], folder: bool = False) -> Iterator[Path]:
    """Give a temporary neighbour of `path` to write to; it takes the name `path` when the block ends without an error.

    Whatever ends the block otherwise (Ctrl-C included) leaves `path` as it was, and no temporary file.

    Args:
        path: the file or folder to make.
        force: replace what is there.
        error: raised when the disk refuses (read-only, full, no such folder).
        folder: make a folder instead of a file.

    Raises:
        UsageError: `path` exists and not `force`.
    """
    check_free(path, force=force)
    if path.is_dir() and not folder:
        raise UsageError(f"{path} is a folder: choose another place with -o")
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if folder:
                temporary.mkdir()
            yield temporary
            _take_place(temporary, path)
        except (OSError, RuntimeError) as cause:
            # torch.save reports a full disk or a missing folder as RuntimeError.
            if isinstance(cause, RuntimeError) and "file" not in str(cause).lower():
                raise
            raise error(f"can't write {path}: {first_line(cause)}") from cause
    finally:
        _remove(temporary)


def check_free(path: Path, *, force: bool) -> None:
    """Refuse to overwrite.

    Raises:
        UsageError: `path` exists and not `force`.
    """
    if (path.exists() or path.is_symlink()) and not force:
        raise UsageError(f"{path} exists: choose another place with -o, or replace it with --force")


def _take_place(temporary: Path, path: Path) -> None:
    if not path.is_dir() or path.is_symlink():
        temporary.replace(path)
        return
    old = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.old")
    path.replace(old)
    try:
        temporary.replace(path)
    except BaseException:
        old.replace(path)
        raise
    _remove(old)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            path.unlink()


def size(count: float) -> str:
    """Bytes in units people read (powers of 1000)."""
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"


def read_toml(path: Path, error: type[EdgeGNNError]) -> tuple[str, dict[str, Any]]:
    """The text of a TOML file, and its values.

    Raises:
        error: it can't be read, or is no TOML.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as failed:
        raise error(f"can't read {path}: {getattr(failed, 'strerror', None) or failed}") from failed
    try:
        return text, tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as failed:
        raise error(f"{path}: no valid TOML: {failed}") from failed


@contextlib.contextmanager
def locked(path: Path, busy: str, *, error: type[EdgeGNNError]) -> Iterator[None]:
    """Hold the lock of a file, which is made with its folder; it goes with the process, however that ends.

    Raises:
        error: another process holds it (`busy` says so), or it can't be made.
    """
    import fcntl

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = path.open("w")
    except OSError as failed:
        raise error(f"can't write {path.parent}: {failed.strerror}") from failed
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as failed:
            raise error(busy) from failed
        yield
