"""Minutes of inferences without a pause: how throughput, temperature and clock develop."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from edgegnn.runtime.state import machine_state

__all__ = ["sustained"]

_POINTS, _LEAST_SECONDS = 120, 1.0


def sustained(steps: Sequence[Callable[[], object]], seconds: float) -> list[dict[str, Any]]:
    """Run for a long time, and note in each slice of it how fast that was and how warm the machine is at its end.

    Args:
        steps: one inference for each graph; they take turns.
        seconds: duration of all of it; it is divided into up to 120 slices of a second or more.

    Returns:
        `end_s` (since the start), `inferences`, `throughput_per_s`, `p50_ms`, and of `machine_state` `temperature`,
        `frequency_mhz` and `throttled`, of each slice in order.
    """
    count = max(1, min(_POINTS, int(seconds / _LEAST_SECONDS)))
    clock = time.perf_counter
    begin, number = clock(), 0
    found: list[dict[str, Any]] = []
    for point in range(count):
        start, end = clock(), begin + (point + 1) * seconds / count
        times: list[float] = []
        while not times or clock() < end:
            before = clock()
            steps[number % len(steps)]()
            times.append(clock() - before)
            number += 1
        now = clock()
        found.append(
            {
                "end_s": now - begin,
                "inferences": len(times),
                "throughput_per_s": len(times) / (now - start),
                "p50_ms": float(np.median(times)) * 1e3,
                **machine_state(),
            }
        )
    return found
