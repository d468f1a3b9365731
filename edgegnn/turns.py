"""Turns on this machine: trainings run beside each other, but what measures runs alone.

Studies and searches keep to it, through the lock of one file; the lock goes with the process, however that ends.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path

__all__ = ["machine_lock", "turn"]

_LOOK_AGAIN = 0.2  # seconds


def machine_lock() -> Path:
    """The file that is locked exclusively while this machine measures, and shared while it trains."""
    import platformdirs

    return platformdirs.user_cache_path("edgegnn", ensure_exists=True) / "study.lock"


@contextlib.contextmanager
def turn(
    path: Path,
    *,
    measuring: str | None = None,
    status: Callable[[str], None] = lambda _: None,
    seconds: float = math.inf,
) -> Iterator[None]:
    """Wait for one's turn, and hold it.

    Args:
        path: the lock, `machine_lock()` of the machine that does the work.
        measuring: the target that is measured, alone unless it is another machine; None: train, beside others.
        status: told when there is something to wait for.
        seconds: to wait at most.

    Raises:
        TimeoutError: others were at work all the time.
        TargetError: an unknown target.
        OSError: the file can't be written.
    """
    import fcntl

    from edgegnn.profile import load_target

    if measuring is not None and load_target(measuring).transport == "ssh":
        yield
        return
    how = fcntl.LOCK_SH if measuring is None else fcntl.LOCK_EX
    end = time.monotonic() + seconds
    with path.open("w") as lock:
        told = False
        while True:
            try:
                fcntl.flock(lock, how | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= end:
                    raise TimeoutError("other trainings or measurements were at work on this machine") from None
            if not told:
                status("waiting for others at work on this machine")
                told = True
            time.sleep(_LOOK_AGAIN)
        yield
