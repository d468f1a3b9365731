"""Turns on this machine: trainings run beside each other, but what measures runs alone.

Studies and searches keep to it, through the lock of one file; the lock goes with the process, however that ends.
"""

from __future__ import annotations

import contextlib
import math
import os
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from edgegnn.utils.locks import hold

__all__ = ["lock_path", "settle", "turn"]

_LOOK_AGAIN = 0.2  # seconds
_CALM = 0.5  # runnable processes in the last minute


def lock_path() -> Path:
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
        path: the lock, `lock_path()` of the machine that does the work.
        measuring: the target that is measured, alone unless it is another machine; None: train, beside others.
        status: told when there is something to wait for.
        seconds: to wait at most.

    Raises:
        TimeoutError: others were at work all the time.
        TargetError: an unknown target.
        OSError: the file can't be written.
    """
    if measuring is not None and _elsewhere(measuring):
        yield
        return
    with contextlib.ExitStack() as held:
        try:
            waiting = partial(status, "waiting for others at work on this machine")
            held.enter_context(hold(path, shared=measuring is None, seconds=seconds, waiting=waiting))
        except TimeoutError:
            raise TimeoutError("other trainings or measurements were at work on this machine") from None
        yield


def settle(target: str, seconds: float, status: Callable[[str], None] = lambda _: None) -> None:
    """Wait until the work of the last minute has left the load average, for at most the given seconds.

    What is measured right after a training would be marked as measured on a busy machine, and on a hot one it is.

    Args:
        target: that is to be measured; for another machine there is nothing to wait for.
        seconds: to wait at most.
        status: told when there is something to wait for.
    """
    if _elsewhere(target):
        return
    end, told = time.monotonic() + seconds, False
    while time.monotonic() < end and os.getloadavg()[0] > _CALM:
        if not told:
            status("waiting for the machine to settle")
            told = True
        time.sleep(_LOOK_AGAIN)


def _elsewhere(target: str) -> bool:
    from edgegnn.devices import load_target

    return load_target(target).transport == "ssh"
