"""Power sensors: sampled in a thread while a window runs, and summed up to joules."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable

from edgegnn.runtime.energy.windows import Reading, ReadingError

__all__ = ["SampledReader"]

# A bus that fails now and then costs a sample, one that fails more often the number.
_MAX_FAILED = 0.1
_MAX_WATTS = 1e5


class SampledReader:
    """Energy of a power sensor: the mean power (trapezoids between samples) times the length of the window.

    The samples are taken in a thread: an inference runs outside Python, and leaves it turns enough.

    Args:
        watts: reads the sensor; `ReadingError` when it can't.
        source: what is read.
        scope: which part of the machine.
        interval: seconds between samples.
    """

    kind = "measured"

    def __init__(self, watts: Callable[[], float], *, source: str, scope: str, interval: float) -> None:
        self.source, self.scope = source, scope
        self._watts, self._interval = watts, interval
        self._samples: list[tuple[float, float]] = []
        self._failures: list[str] = []
        self._thread: threading.Thread | None = None
        self._stop = threading.Event()
        self._begin = 0.0
        self._count, self._seconds = 0, 0.0  # of all windows
        self._seen: set[float] = set()
        self._windows = 0

    @property
    def rate(self) -> float:
        """Samples per second: those taken, or before there are any those planned."""
        return self._count / self._seconds if self._seconds else 1 / self._interval

    def start(self) -> None:
        """Begin a window."""
        self.close()
        self._samples, self._failures = [], []
        self._stop = threading.Event()
        self._sample()
        self._thread = threading.Thread(target=self._run, args=(self._stop,), daemon=True)
        self._thread.start()
        self._begin = time.perf_counter()

    def stop(self) -> Reading:
        """End the window."""
        seconds = time.perf_counter() - self._begin
        self.close()
        self._sample()
        if not self._samples or len(self._failures) > 1 + _MAX_FAILED * len(self._samples):
            raise ReadingError(f"{self.source}: {self._failures[-1]}")
        self._count += len(self._samples)
        self._seconds += self._samples[-1][0] - self._samples[0][0]
        self._windows += 1
        self._seen.update(watts for _, watts in self._samples)
        if self._windows > 1 and len(self._seen) == 1:
            raise ReadingError(f"{self.source} stands still at {self._samples[0][1]:g} W, idle and under load")
        return Reading(_mean(self._samples) * seconds, float(len(self._samples)))

    def close(self) -> None:
        """End the thread."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def _run(self, stop: threading.Event) -> None:
        due = time.perf_counter() + self._interval
        while not stop.wait(max(0.0, due - time.perf_counter())):
            self._sample()
            due = max(due + self._interval, time.perf_counter())

    def _sample(self) -> None:
        begin = time.perf_counter()
        try:
            watts = self._watts()
            if not (math.isfinite(watts) and 0 <= watts < _MAX_WATTS):
                raise ReadingError(f"{watts:g} W is no power")
        except ReadingError as error:
            self._failures.append(str(error))
        else:
            self._samples.append(((begin + time.perf_counter()) / 2, watts))


def _mean(samples: list[tuple[float, float]]) -> float:
    """Mean power, watts, of samples (seconds, watts) in the order of time."""
    span = samples[-1][0] - samples[0][0]
    if span <= 0:
        return samples[-1][1]
    area = 0.0
    for i in range(1, len(samples)):
        (t0, w0), (t1, w1) = samples[i - 1], samples[i]
        area += (t1 - t0) * (w0 + w1) / 2
    return area / span
