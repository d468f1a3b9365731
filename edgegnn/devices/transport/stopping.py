"""Wait for lines that arrive, until a deadline or until the user stops."""

from __future__ import annotations

import queue
import threading
import time
from typing import Any

from edgegnn.errors import TargetError

__all__ = ["Stopped", "take"]


class Stopped(TargetError):
    """The measurement was given up because the user or another part of the program said so."""


def take(lines: queue.Queue[Any], deadline: float, stop: threading.Event | None) -> Any:
    """The next entry of a queue.

    Raises:
        queue.Empty: there is none at the deadline (monotonic seconds).
        Stopped: `stop` was set.
    """
    while True:
        left = max(0.01, deadline - time.monotonic())
        if stop is None:
            return lines.get(timeout=left)
        if stop.is_set():
            raise Stopped("stopped")
        try:
            return lines.get(timeout=min(left, 0.5))
        except queue.Empty:
            if time.monotonic() >= deadline:
                raise
