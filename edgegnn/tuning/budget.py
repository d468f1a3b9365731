"""The budget: what has been used of it, what is left, and what a candidate will take."""

from __future__ import annotations

import time
from collections.abc import Iterable

from edgegnn.tuning.space import Candidate
from edgegnn.tuning.store import Record

__all__ = ["Clock", "Costs"]

_SLACK = 1.25  # trainings on a machine that others use take this much longer now and then


class Clock:
    """Seconds of a budget.

    Args:
        budget: all of it.

    Attributes:
        before: used by earlier runs.
    """

    def __init__(self, budget: float) -> None:
        self.budget, self.before, self._start = budget, 0.0, time.monotonic()

    @property
    def spent(self) -> float:
        """What is used, earlier runs included."""
        return self.before + time.monotonic() - self._start

    @property
    def left(self) -> float:
        """What isn't."""
        return self.budget - self.spent


class Costs:
    """How long things take on this machine, going by the candidates that came to an end.

    Args:
        records: of earlier candidates.
    """

    def __init__(self, records: Iterable[Record] = ()) -> None:
        self._epoch: dict[str, float] = {}
        self.rest = 0.0
        for record in records:
            self.note(record)

    def note(self, record: Record) -> None:
        """Learn from a candidate: "epoch_seconds" by kind of training, "rest_seconds" of everything else."""
        for kind, seconds in record.get("epoch_seconds", {}).items():
            self._epoch[kind] = max(seconds, 0.5 * self._epoch.get(kind, 0.0))
        self.rest = max(record.get("rest_seconds", 0.0), 0.8 * self.rest)

    def seconds(self, candidate: Candidate, epochs: int) -> float:
        """What a candidate will take; 0 where nothing like it is known."""
        kinds = [f"quantize {candidate.quant}"] if candidate.quant_trains else []
        kinds += [f"prune {candidate.prune}"] if candidate.prune is not None else []
        most = max(self._epoch.values(), default=0.0)
        return _SLACK * (sum(self._epoch.get(kind, most) for kind in kinds) * epochs + self.rest)
