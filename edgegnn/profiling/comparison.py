"""Two records of the same artifact: what changed, and is it more than the noise of the measurement?

The interval of p50 comes from the medians of consecutive blocks that both records hold (`latency_ms.blocks`): stretches
of neighbouring blocks are drawn again and again with replacement (a moving-block bootstrap, since slow drifts make
neighbours alike), and the medians of the draws, relative to the median of all, spread the ratio of the two p50. It
knows how unsteady each of the two measurements was while it ran, not what differs from run to run (another layout in
memory, another temperature): that spread (`edgegnn.profiling.spread`) widens the interval. Energies have an interval,
too: from window to window, and from run to run, as the times.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edgegnn.errors import DataError
from edgegnn.profiling.gate import Change, Judged, judge, refusal
from edgegnn.profiling.record import Energy, ProfileRecord
from edgegnn.profiling.spread import Spread, spread_between
from edgegnn.runtime.metrics import LOWER_IS_BETTER

__all__ = ["Change", "Comparison", "compare"]

DRAWS = 2000
CONFIDENCE = 0.95
# Fewer blocks say nothing about how steady a measurement was.
MIN_BLOCKS = 8


@dataclass(frozen=True)
class Comparison:
    """What changed from an older record to a newer one.

    Attributes:
        changes: of p50, p99, peak memory, energy (gross and net, where both come from the same source) and the metric.
        differences: what was not the same in the two measurements, so that the changes may come from that.
        reason: why p50 has no interval, or what that lacks; "" when it lacks nothing.
        judged: each limit that was asked for, and whether it held.
        runs: processes of the older and of the newer record whose p50 are known.
        spread: from run to run, and where it is known from; None where p50 has no interval.
        quick: which of the two was measured with short windows.
        estimated: whose energy is a model's.
        emulated: whose device is emulated: its times, memory and CPU use are not a measurement.
    """

    changes: list[Change]
    differences: list[str]
    reason: str
    judged: list[Judged]
    runs: tuple[int, int] = (1, 1)
    spread: Spread | None = None
    quick: tuple[bool, bool] = (False, False)
    estimated: tuple[bool, bool] = (False, False)
    emulated: tuple[bool, bool] = (False, False)

    @property
    def failed(self) -> bool:
        """A figure grew by more than its limit, and by more than noise."""
        return any(one.state == "exceeded" for one in self.judged)

    @property
    def unclear(self) -> list[Judged]:
        """Figures beyond their limit that may be noise."""
        return [one for one in self.judged if one.state == "unclear"]

    @property
    def p50(self) -> Change:
        """The change of the median latency."""
        return self.changes[0]

    @property
    def verdict(self) -> str:
        """What became of p50, in a line."""
        change = self.p50
        if change.percent is None:
            return f"p50 can't be compared: {self.reason}"
        text = f"p50 {change.percent:+.1f} %"
        if change.low is not None and change.high is not None:
            text += f" ({change.low:+.1f} to {change.high:+.1f} %, 95 % confidence)"
        if change.noise:
            text += ", within the noise of these measurements"
        return "; ".join([text, *(one.text for one in self.judged if one.state != "held")])

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON-able values."""
        changes = {change.name: {**asdict(change), "noise": change.noise} for change in self.changes}
        return {**asdict(self), "changes": changes, "failed": self.failed, "verdict": self.verdict}


def compare(
    old: ProfileRecord,
    new: ProfileRecord,
    *,
    fail_above: Mapping[str, float] | None = None,
    machine: Spread | None = None,
) -> Comparison:
    """What changed.

    Args:
        old: the record to compare with.
        new: the newer record.
        fail_above: limits by figure ("latency", "size", "memory", "energy", "instructions", "accuracy"), in percent.
        machine: spread from run to run where neither record tells it: see `machine_spread`.

    Raises:
        DataError: the records can't be judged by a limit: another device, target, processor, runtime or number of
            threads, an emulated device, or a figure that one of them doesn't have.
    """
    serious, other = _differences(old, new)
    emulated = bool(old.emulated or new.emulated)
    limits = fail_above or {}
    why = refusal(limits, serious, emulated=emulated)
    if why:
        raise DataError(f"--fail-above: {why}")
    spread = spread_between(old, new, machine)
    runs = (max(1, len(old.latency_ms.repeats)), max(1, len(new.latency_ms.repeats)))
    between = spread.half(*runs)
    percent = None if emulated else _percent(old.latency_ms.p50, new.latency_ms.p50)
    reason, low, high = "an emulated device's times are not a measurement", None, None
    if percent is not None:
        reason, low, high = _interval(old, new, between)
    elif not emulated:
        reason = "the older record has a p50 of 0"
    first = Change("p50", old.latency_ms.p50, new.latency_ms.p50, percent, low, high)
    changes = [first, *_others(old, new, emulated, between)]
    error_metric = new.metric is not None and new.metric.name in LOWER_IS_BETTER
    return Comparison(
        changes=changes,
        differences=[*serious, *other, *_load(old, new)],
        reason=reason,
        judged=judge(limits, changes, error_metric=error_metric),
        runs=runs,
        spread=None if low is None else spread,
        quick=(old.quick, new.quick),
        estimated=(_estimated(old), _estimated(new)),
        emulated=(bool(old.emulated), bool(new.emulated)),
    )


def _percent(old: float | None, new: float | None) -> float | None:
    return None if not old or new is None else 100.0 * (new - old) / old


def _interval(old: ProfileRecord, new: ProfileRecord, between: float) -> tuple[str, float | None, float | None]:
    """What the interval lacks ("": nothing), and the interval of p50's change in percent."""
    middle = 100 * (new.latency_ms.p50 / old.latency_ms.p50 - 1)
    for name, record in (("older", old), ("newer", new)):
        if len(record.latency_ms.blocks) < MIN_BLOCKS or min(record.latency_ms.blocks) <= 0:
            why = f"how steady a run was is unknown: the {name} record holds fewer than {MIN_BLOCKS} blocks of times"
            return why, middle - between, middle + between
    random = np.random.default_rng(0)  # the same two files always give the same answer
    a, b = (_relative_medians(np.asarray(r.latency_ms.blocks), random) for r in (old, new))
    ratio = new.latency_ms.p50 / old.latency_ms.p50 * b / a
    edge = 100 * (1 - CONFIDENCE) / 2
    low, high = np.percentile(100 * (ratio - 1), [edge, 100 - edge])
    low, high = middle - math.hypot(middle - low, between), middle + math.hypot(high - middle, between)
    return "", float(low), float(high)


def _relative_medians(blocks: npt.NDArray[np.float64], random: np.random.Generator) -> npt.NDArray[np.float64]:
    """Medians of resampled blocks, divided by the median of all of them."""
    n = len(blocks)
    length = max(1, round(math.sqrt(n)))
    starts = random.integers(0, n, size=(DRAWS, -(-n // length), 1))
    drawn = blocks[(starts + np.arange(length)) % n].reshape(DRAWS, -1)[:, :n]
    medians: npt.NDArray[np.float64] = np.median(drawn, axis=1) / np.median(blocks)
    return medians


def _others(old: ProfileRecord, new: ProfileRecord, emulated: bool, between: float) -> list[Change]:
    """Changes of all but p50."""
    a, b, m, n = old.energy_j, new.energy_j, old.metric, new.metric
    i, j = old.instructions, new.instructions
    same = a is not None and b is not None and (a.source, a.scope) == (b.source, b.scope)
    pairs: list[tuple[str, float | None, float | None, bool]] = [
        ("p99", old.latency_ms.p99, new.latency_ms.p99, not emulated),
        ("peak_delta", old.memory_bytes.peak_delta, new.memory_bytes.peak_delta, not emulated),
        ("gpu_peak", old.memory_bytes.gpu_peak, new.memory_bytes.gpu_peak, True),
        ("model_file", old.memory_bytes.model_file, new.memory_bytes.model_file, True),
        ("energy_gross", a.gross if a else None, b.gross if b else None, same and not emulated),
        ("energy_net", a.net if a else None, b.net if b else None, same and not emulated),
        ("instructions", i.median if i else None, j.median if j else None, True),
        ("metric", m.value if m else None, n.value if n else None, bool(m and n and m.name == n.name)),
    ]
    found = []
    for name, x, y, comparable in pairs:
        if x is not None or y is not None:
            percent = _percent(x, y) if comparable else None
            low, high = _of_windows(a, b, percent, between) if name == "energy_gross" else (None, None)
            found.append(Change(name, x, y, percent, low, high))
    return found


def _of_windows(
    old: Energy | None, new: Energy | None, percent: float | None, between: float
) -> tuple[float | None, float | None]:
    """The interval of an energy's change: its windows' range, and the spread from run to run."""
    if old is None or new is None or percent is None or min(*old.gross_range, *new.gross_range) <= 0:
        return None, None
    low = 100.0 * (new.gross_range[0] / old.gross_range[1] - 1)
    high = 100.0 * (new.gross_range[1] / old.gross_range[0] - 1)
    return percent - math.hypot(percent - low, between), percent + math.hypot(high - percent, between)


def _differences(old: ProfileRecord, new: ProfileRecord) -> tuple[list[str], list[str]]:
    """What makes a comparison of times meaningless, and what may explain a change."""
    serious = {
        "target": (old.target, new.target),
        "device": (old.device.model, new.device.model),
        "GPU": (old.device.gpu, new.device.gpu),
        "processor": (old.how.processor, new.how.processor),
        "runtime": (old.runtime, new.runtime),
        "threads": (old.latency_ms.threads, new.latency_ms.threads),
        "cores": (old.device.cores, new.device.cores),
    }
    other = {
        "artifact": (old.artifact, new.artifact),
        "recipe": (old.recipe, new.recipe),
        "edgegnn's kernels": (old.native_kernels, new.native_kernels),
        "number of graphs": (old.how.graphs, new.how.graphs),
        "spinning": (old.how.spinning, new.how.spinning),
        "quick": (old.how.quick, new.how.quick),
        "CPU governor": (old.device.governor, new.device.governor),
        "throttling": (old.device.throttled, new.device.throttled),
        "onnxruntime": (old.device.onnxruntime, new.device.onnxruntime),
        "torch": (old.device.torch, new.device.torch),
        "Python": (old.device.python, new.device.python),
        "kernel": (old.device.kernel, new.device.kernel),
        "edgegnn": (old.edgegnn, new.edgegnn),
        "energy source": (_source(old), _source(new)),
    }
    return _listed(serious), _listed(other)


def _load(old: ProfileRecord, new: ProfileRecord) -> list[str]:
    loads = [record.device.load_average or 0.0 for record in (old, new)]
    return [f"load average: {loads[0]:.1f}, now {loads[1]:.1f}: the machine was busy"] if max(loads) > 0.5 else []


def _listed(pairs: dict[str, tuple[Any, Any]]) -> list[str]:
    return [f"{name}: {_said(a)}, now {_said(b)}" for name, (a, b) in pairs.items() if a != b]


def _said(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value) or "none"


def _estimated(record: ProfileRecord) -> bool:
    return record.energy_j is not None and record.energy_j.kind == "estimated"


def _source(record: ProfileRecord) -> str:
    return "" if record.energy_j is None else record.energy_j.source
