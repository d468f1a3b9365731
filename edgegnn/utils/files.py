"""Writing files and folders all or nothing; reading copies of files that are elsewhere."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import sys
import tempfile
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from platformdirs import user_cache_path

from edgegnn.errors import EdgeGNNError, UsageError, first_line
from edgegnn.utils.locks import hold

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

__all__ = [
    "at_hand",
    "check_free",
    "check_plain",
    "check_room",
    "disk_is_full",
    "locked",
    "read_toml",
    "replacing",
    "saved",
    "size",
    "stand_in",
]

T = TypeVar("T")

_copies: dict[str, Path] = {}


@contextlib.contextmanager
def stand_in(copies: Mapping[str, Path]) -> Iterator[None]:
    """Read copies of a user's files in their place, where their paths belong to another machine.

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
    """Where to read a user's file: at its path, or at its copy's (`stand_in`)."""
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
    _check_not_there(path, force=force)
    if path.is_dir() and not folder:
        raise UsageError(f"{path} is a folder: choose another place with -o")
    if path.exists() and not path.is_file() and not path.is_dir():
        raise UsageError(f"{path} is a device, and no file: choose another place with -o")
    temporary = path.with_name(f".{path.name[:50]}.{uuid.uuid4().hex[:8]}.tmp")  # no longer than a name may be
    try:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if folder:
                temporary.mkdir()
            yield temporary
            _take_place(temporary, path)
        except OSError as cause:
            raise error(f"can't write {path}: {first_line(cause)}") from cause
    finally:
        _remove(temporary)


def saved(path: Path, write: Callable[[Path], T], *, force: bool, error: type[EdgeGNNError], folder: bool = False) -> T:
    """Write what took long to make, all or nothing. Where the disk refuses, it is kept in another place.

    Args:
        path: the file or folder to make.
        write: writes to the path that it is given; may be called again with another one.
        force: replace what is there.
        error: raised when the disk refuses `path`; it names the other place.
        folder: make a folder instead of a file.

    Returns:
        What `write` returned.

    Raises:
        UsageError: `path` exists and not `force`.
    """
    try:
        with replacing(path, force=force, error=error, folder=folder) as temporary:
            return write(temporary)
    except error as refused:
        if not isinstance(refused.__cause__, OSError):
            raise
        kept = _kept_elsewhere(path.name, write, error, folder)
        what = f"it is kept as {kept}" if kept else "no other place took it either"
        raise error(f"{refused}; {what}") from refused


def _kept_elsewhere(name: str, write: Callable[[Path], T], error: type[EdgeGNNError], folder: bool) -> Path | None:
    for place in (Path(tempfile.gettempdir()), user_cache_path("edgegnn"), Path.home()):
        spare = place / f"edgegnn-kept-{uuid.uuid4().hex[:8]}"
        try:
            with replacing(spare / name, force=False, error=error, folder=folder) as temporary:
                write(temporary)
            return spare / name
        except error:
            _remove(spare)
    return None


def check_room(path: Path, size: int) -> None:
    """Refuse early, before any training, a disk or a limit on files that a result of this size doesn't fit.

    Args:
        path: where it will be written.
        size: its bytes, at least.

    Raises:
        UsageError: there is no room.
    """
    import resource

    folder = next((parent for parent in path.absolute().parents if parent.is_dir()), None)
    free = shutil.disk_usage(folder).free if folder is not None else size
    if free < size:
        raise UsageError(f"{path} will take {size} bytes, and {free} are free there: make room, or choose another -o")
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)[0]
    if limit != resource.RLIM_INFINITY and limit < size:
        raise UsageError(f"{path} will take {size} bytes, and no file may have more than {limit} (ulimit -f): raise it")


def disk_is_full(error: BaseException | None) -> bool:
    """Whether a full disk, or a limit on the size of files, is behind an error."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            return True
        error = error.__cause__ or error.__context__
    return False


def check_free(path: Path, *, force: bool, option: str = "-o") -> None:
    """Refuse to overwrite, and a place where nothing can be written: before any work is done for it.

    Args:
        path: the file or folder.
        force: it may be replaced.
        option: that chooses another place.

    Raises:
        UsageError: `path` exists and not `force`, or there can be no such file.
    """
    _check_not_there(path, force=force, option=option)
    above = next((folder for folder in path.absolute().parents if folder.exists()), None)
    if above is not None and not (above.is_dir() and os.access(above, os.W_OK)):
        what = "can't be written" if above.is_dir() else "is a file"
        raise UsageError(f"can't write {path}: {above} {what}: choose another place with {option}")


def _check_not_there(path: Path, *, force: bool, option: str = "-o") -> None:
    try:
        there = path.exists() or path.is_symlink()
    except OSError as error:
        raise UsageError(
            f"{str(path)[:80]} can't be used: {first_line(error)}: choose another place with {option}"
        ) from error
    if there and not force:
        raise UsageError(f"{path} exists: choose another place with {option}, or replace it with --force")


def _take_place(temporary: Path, path: Path) -> None:
    if not path.is_dir() or path.is_symlink():
        temporary.replace(path)
        return
    old = path.with_name(f".{path.name[:50]}.{uuid.uuid4().hex[:8]}.old")
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


def check_plain(path: Path, error: type[EdgeGNNError]) -> None:
    """Refuse what may have no end, before it is opened: a pipe, a device. A path with nothing there is for the reader.

    Raises:
        error: it is neither a file nor a folder.
    """
    if path.exists() and not (path.is_file() or path.is_dir()):
        raise error(f"{path} is a pipe or a device, no file: save its content to a file first")


def read_toml(path: Path, error: type[EdgeGNNError]) -> tuple[str, dict[str, Any]]:
    """The text of a TOML file, and its values.

    Raises:
        error: it can't be read, or is no TOML.
    """
    check_plain(path, error)
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
    with contextlib.ExitStack() as held:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            held.enter_context(hold(path, seconds=0))
        except TimeoutError as failed:
            raise error(busy) from failed
        except OSError as failed:
            raise error(f"can't write {path.parent}: {failed.strerror}") from failed
        yield
