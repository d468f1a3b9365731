"""Several artifacts on several targets: devices side by side, one artifact after the other on each."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgegnn.devices.target import Target
from edgegnn.errors import EdgeGNNError, first_line
from edgegnn.profiling.measure import profile
from edgegnn.profiling.record import ProfileRecord

__all__ = ["Pair", "profile_all"]

Progress = Callable[[str, str], None]


@dataclass(frozen=True)
class Pair:
    """One artifact on one target: the record, or why there is none.

    Attributes:
        artifact: its path as it was given.
        target: the target's name.
        record: what was measured; None after a failure.
        error: why not; None after a success.
    """

    artifact: str
    target: str
    record: ProfileRecord | None
    error: EdgeGNNError | None

    def to_dict(self) -> dict[str, Any]:
        """The record, or `artifact`, `target` and `error`."""
        if self.record is not None:
            return self.record.to_dict()
        return {"target": self.target, "artifact": self.artifact, "error": str(self.error)}


def profile_all(
    artifacts: Sequence[Path | str],
    targets: Sequence[Target],
    *,
    progress: Progress = lambda target, text: None,
    **options: Any,
) -> list[Pair]:
    """Measure every artifact on every target. A pair that fails stops no other; records are written as they are made.

    Args:
        artifacts: folders or zips.
        targets: different ones.
        progress: told the target's name and in a few words what is being done there.
        options: of `profile`.

    Returns:
        One entry a pair: all targets of the first artifact, then those of the second.
    """
    stop = threading.Event()

    def work(target: Target) -> list[Pair]:
        found = []
        for i, artifact in enumerate(artifacts):
            place = f"{Path(artifact).name} ({i + 1} of {len(artifacts)}): " if len(artifacts) > 1 else ""

            def tell(text: str, place: str = place) -> None:
                progress(target.name, place + text)

            found.append(_measure(artifact, target, tell, stop, options))
            if stop.is_set():
                break
        progress(target.name, "done")
        return found

    with ThreadPoolExecutor(max_workers=max(1, len(targets))) as pool:
        jobs = [pool.submit(work, target) for target in targets]
        try:
            wait(jobs)
        except BaseException:  # Ctrl-C: the threads end their devices' work, and then this ends
            stop.set()
            raise
    columns = [job.result() for job in jobs]
    return [column[row] for row in range(len(artifacts)) for column in columns]


def _measure(
    artifact: Path | str, target: Target, tell: Callable[[str], None], stop: threading.Event, options: dict[str, Any]
) -> Pair:
    try:
        record = profile(artifact, target=target, progress=tell, stop=stop, **options)
    except EdgeGNNError as error:
        return Pair(str(artifact), target.name, None, error)
    except Exception as error:  # a bug shows in its pair, and costs no other
        wrapped = EdgeGNNError(f"unexpected {type(error).__name__}: {first_line(error)}")
        wrapped.__cause__ = error
        return Pair(str(artifact), target.name, None, wrapped)
    return Pair(str(artifact), target.name, record, None)
