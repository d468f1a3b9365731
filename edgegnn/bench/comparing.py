"""Two bundles of results: task by task, what became faster, smaller or better."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from edgegnn.bench.files import Bundle, Row
from edgegnn.profiling import ProfileRecord

__all__ = ["Compared", "Pairing", "compare_bundles", "geometric_mean", "is_open"]


@dataclass(frozen=True)
class Pairing:
    """One task and runner in both bundles.

    Attributes:
        task: its name.
        runners: of the older and of the newer row.
        p50_ms: medians.
        ratio: older / newer median: above 1 the newer one is faster. None where the data of the two differ.
        bytes: sizes of the model.
        energy_j: of an inference; None where both don't come from the same kind of source.
        valid: whether each reaches the quality.
        notes: what is not the same.
    """

    task: str
    runners: tuple[str, str]
    p50_ms: tuple[float, float]
    ratio: float | None
    bytes: tuple[int, int]
    energy_j: tuple[float, float] | None
    valid: tuple[bool, bool]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Compared:
    """What changed between two bundles.

    Attributes:
        pairs: tasks that both have measured.
        missing: tasks of one of them only, with whose they are.
        ratio: geometric mean of the pairs' ratios, over tasks that count; None where there is none.
        notes: what holds for the whole.
    """

    pairs: tuple[Pairing, ...]
    missing: tuple[str, ...]
    ratio: float | None
    notes: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON-able values."""
        return asdict(self)


def compare_bundles(old: Bundle, new: Bundle) -> Compared:
    """Pair the rows of the same task and runner.

    Where the bundles have one runner each, these are paired whatever they are called.
    """
    alone = len(old.runners) == len(new.runners) == 1
    rows = {_key(row, alone): row for row in new.measured}
    pairs, missing = [], []
    for row in old.measured:
        other = rows.pop(_key(row, alone), None)
        if other is None:
            missing.append(f"{row.task}, {row.runner}: in the older results only")
        else:
            pairs.append(_pair(old, new, row, other))
    missing += [f"{row.task}, {row.runner}: in the newer results only" for row in rows.values()]
    counted = [p.ratio for p in pairs if p.ratio is not None and not is_open(old, p.task)]
    notes = [
        f"{name}: {a}, now {b}"
        for name, a, b in (
            ("target", old.target, new.target),
            ("device", _devices(old), _devices(new)),
            ("edgegnn", old.edgegnn, new.edgegnn),
        )
        if a != b
    ]
    quick = [name for name, bundle in (("older", old), ("newer", new)) if bundle.quick]
    notes += [f"the {name} results have short windows (--quick)" for name in quick]
    return Compared(tuple(pairs), tuple(missing), geometric_mean(counted), tuple(notes))


def geometric_mean(values: Sequence[float]) -> float | None:
    """The mean that a ratio and its inverse agree on; None of nothing."""
    return math.exp(sum(map(math.log, values)) / len(values)) if values else None


def _key(row: Row, alone: bool) -> tuple[str, str]:
    return row.task, "" if alone else row.runner


def is_open(bundle: Bundle, name: str) -> bool:
    """Whether a task is shown beside the others, and in no mean."""
    task = bundle.task(name)
    return task is not None and task.open


def _devices(bundle: Bundle) -> str:
    return ", ".join(dict.fromkeys(row.record.device.model for row in bundle.measured if row.record is not None))


def _pair(old: Bundle, new: Bundle, row: Row, other: Row) -> Pairing:
    a, b = row.record, other.record
    assert a is not None
    assert b is not None
    one, two = old.task(row.task), new.task(other.task)
    notes = []
    same_data = one is not None and two is not None and one.data.sha256 == two.data.sha256
    if not same_data:
        notes.append("the data differ: no ratio is made")
    elif one is not None and two is not None and one.model_sha256 != two.model_sha256:
        notes.append("the fp32 models were trained apart: same data and sizes, other weights")
    parts: tuple[tuple[str, Callable[[ProfileRecord], object]], ...] = (
        ("threads", lambda r: r.latency_ms.threads),
        ("emulated", lambda r: bool(r.emulated)),
    )
    notes += [f"{name}: {read(a)}, now {read(b)}" for name, read in parts if read(a) != read(b)]
    usable = same_data and not a.emulated and not b.emulated and b.latency_ms.p50 > 0 and a.latency_ms.p50 > 0
    return Pairing(
        task=row.task,
        runners=(row.runner, other.runner),
        p50_ms=(a.latency_ms.p50, b.latency_ms.p50),
        ratio=a.latency_ms.p50 / b.latency_ms.p50 if usable else None,
        bytes=(a.memory_bytes.model_file, b.memory_bytes.model_file),
        energy_j=_energy(a, b),
        valid=(row.valid, other.valid),
        notes=tuple(notes),
    )


def _energy(a: ProfileRecord, b: ProfileRecord) -> tuple[float, float] | None:
    one, two = a.energy_j, b.energy_j
    if one is None or two is None or (one.kind, one.scope) != (two.kind, two.scope):
        return None
    return one.gross, two.gross
