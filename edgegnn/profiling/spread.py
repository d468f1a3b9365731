"""How much p50 differs from run to run: of processes in a record, of the machine's other records, or as assumed."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgegnn.errors import DataError
from edgegnn.profiling.record import ProfileRecord, read_record

__all__ = ["MIN_RUNS", "Spread", "machine_spread", "spread_between"]

MIN_RUNS = 3  # processes whose p50 tell a spread
# Two measurements of the same artifact differ by 5 % in the median (benchmarks/results/repeatability.json). Where
# differences are normal, one measurement then has a standard deviation of 5 / 0.6745 / sqrt(2) percent.
ASSUMED = 0.052
_MOST = 200  # records of a folder that are looked at
# Quantiles of Student's t for 95 %, by degrees of freedom from 1 on; the last one serves for more.
_STUDENT = (12.7, 4.30, 3.18, 2.78, 2.57, 2.45, 2.36, 2.31, 2.26, 2.23, 2.20, 2.18, 2.16, 2.14, 2.13)


@dataclass(frozen=True)
class Spread:
    """Of p50 from run to run.

    Attributes:
        relative: standard deviation of one run, as a share of p50.
        freedom: degrees of freedom that it was told by; 0: it is assumed.
        words: where it comes from.
    """

    relative: float
    freedom: int
    words: str

    def half(self, *runs: int) -> float:
        """Half the 95 % interval of a change in percent, of records that hold the p50 of so many runs."""
        quantile = _STUDENT[min(self.freedom, len(_STUDENT)) - 1] if self.freedom else 1.96
        return 100.0 * quantile * self.relative * math.sqrt(sum(1.0 / n for n in runs))


def spread_between(old: ProfileRecord, new: ProfileRecord, machine: Spread | None = None) -> Spread:
    """From the processes of the two records; else the machine's; else as assumed.

    Args:
        old: the older record.
        new: the newer one.
        machine: see `machine_spread`.
    """
    found = _pooled([old, new])
    if found is not None:
        variance, freedom = found
        counts = [len(r.latency_ms.repeats) for r in (old, new) if _told(r)]
        return Spread(math.sqrt(variance), freedom, f"of {' and '.join(map(str, counts))} processes")
    if machine is not None:
        return machine
    return Spread(ASSUMED, 0, "assumed, since neither record has three runs or more: --repeat 5 measures it")


def machine_spread(folders: Iterable[Path], like: ProfileRecord) -> Spread | None:
    """What other records of the same machine tell, measured with as many threads and `--repeat`.

    Args:
        folders: where they lie.
        like: a record of the machine.
    """
    found = []
    for folder in dict.fromkeys(path.resolve() for path in folders):
        for path in sorted(folder.glob("*.json"))[:_MOST]:
            try:
                record = read_record(path)
            except DataError:
                continue  # another file
            if _machine(record) == _machine(like) and _told(record):
                found.append(record)
    pooled = _pooled(found)
    if pooled is None:
        return None
    variance, freedom = pooled
    records = f"{len(found)} record{'s' * (len(found) > 1)}"
    return Spread(math.sqrt(variance), freedom, f"of this machine, by {records} with --repeat")


def _told(record: ProfileRecord) -> bool:
    """Whether a record holds enough processes to tell a spread."""
    return len(record.latency_ms.repeats) >= MIN_RUNS and min(record.latency_ms.repeats) > 0


def _machine(record: ProfileRecord) -> tuple[str, str, str, int, int]:
    device = record.device
    return record.target, device.model, record.how.processor, device.cores, record.latency_ms.threads


def _pooled(records: Sequence[ProfileRecord]) -> tuple[float, int] | None:
    """Variance of the logarithms of p50 inside the records, and its degrees of freedom; None where no record tells."""
    runs = [np.log(r.latency_ms.repeats) for r in records if _told(r)]
    freedom = sum(len(one) - 1 for one in runs)
    if not freedom:
        return None
    return sum(float(np.var(one, ddof=1)) * (len(one) - 1) for one in runs) / freedom, freedom
