"""Locks of files, between processes of one machine; a lock goes with its process, however that ends."""

from __future__ import annotations

import contextlib
import math
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Lock", "hold"]

_LOOK_AGAIN = 0.2  # seconds


@dataclass(frozen=True)
class Lock:
    """A lock that is held.

    Attributes:
        file: descriptor of the locked file.
    """

    file: int

    def become(self, *, shared: bool, seconds: float = math.inf, waiting: Callable[[], None] = lambda: None) -> None:
        """Take the lock in the other way, and give up the way in which it is held.

        Args:
            shared: beside others that share it; else alone.
            seconds: to wait at most; 0 to look once.
            waiting: called once, when another process holds it.

        Raises:
            TimeoutError: others held it all the time.
        """
        import fcntl  # not on Windows, where nothing is measured or compiled at first use

        how = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
        end, told = time.monotonic() + seconds, False
        while True:
            try:
                fcntl.flock(self.file, how | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                if time.monotonic() >= end:
                    raise TimeoutError("others held the lock") from None
            if not told:
                waiting()
                told = True
            time.sleep(min(_LOOK_AGAIN, max(0.0, end - time.monotonic())))


@contextlib.contextmanager
def hold(
    path: Path, *, shared: bool = False, seconds: float = math.inf, waiting: Callable[[], None] = lambda: None
) -> Iterator[Lock]:
    """Hold the lock of a file, which is made in a folder that exists.

    Args:
        path: the file.
        shared: beside others that share it; else alone.
        seconds: to wait at most; 0 to look once.
        waiting: called once, when another process holds it.

    Raises:
        TimeoutError: others held it all the time.
        OSError: the file can't be made.
    """
    lock = Lock(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    try:
        lock.become(shared=shared, seconds=seconds, waiting=waiting)
        yield lock
    finally:
        os.close(lock.file)
