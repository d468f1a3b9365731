"""What figures show: an entry for each compressed model, of a study (mean over seeds) or of a profile record."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from edgegnn.errors import printable
from edgegnn.profiling.record import ProfileRecord
from edgegnn.quantize.recipe import shown_name
from edgegnn.runtime.metrics import LOWER_IS_BETTER
from edgegnn.studies import Outcome, groups
from edgegnn.tasks import catalog

__all__ = [
    "Entry",
    "Value",
    "caveats",
    "deviation",
    "lacking",
    "lower_is_better",
    "mark",
    "of_records",
    "of_study",
    "plain",
    "tell_apart",
]

# What a group of a study's cells and a record have in common, by the names of `edgegnn.studies.tables.COLUMNS`.
_NUMBERS = ("val", "test", "model_file", "p50", "p99", "energy_gross", "cpu_percent", "peak_delta")
# Two measurements of the same model differ by 5 % in the median (benchmarks/results/repeatability.json): 5 % / sqrt(2).
_ONCE = 0.035


@dataclass(frozen=True)
class Value:
    """A number over seeds.

    Attributes:
        mean: over the seeds, or the single value.
        std: standard deviation of the sample; None for one value.
        n: number of values.
        by_seed: the values, where they are of seeds.
    """

    mean: float
    std: float | None
    n: int
    by_seed: Mapping[int, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Entry:
    """A compressed model, and what was measured of it.

    Attributes:
        subject: what may be compared with each other: "GIN on Cora", or records of one metric over as many rows of the
            same data: "Cora (1,000 rows)".
        name: of the model within the subject: "global 0.5, dq-int8", or the artifact's.
        series: "dense", or the pruning method; and the recipe, where that is not "none".
        how: pruning method with its schedule or variant; "" for a dense model, and of records.
        quant: recipe.
        sparsity: share that goes; of records 0.
        metric: name of the task metric; "" where it isn't known.
        target: name of the target; "" where nothing was measured on one.
        device: CPU or board.
        values: "val" and "test" (share, or an error in the data's units; of records over the shipped graphs),
            "model_file" and "peak_delta" (bytes), "p50" and "p99"
            (ms), "energy_gross" (J), "cpu_percent", "instructions"; those that are known.
        energy: "measured" or "estimated", with source and scope; "" for none.
        energy_reason: why there is none.
        quick: short windows.
        emulated: what the device is, where it is an emulated one.
        load_average: of the busy machine before; 0 for one that had nothing else to do.
        seeds: that there should be a value for.
        artifact: of a record its artifact; "" of a study.
        caveat: what has to be said beside the metric.
        checksum: of a record's model; two models of one name differ in it.
    """

    subject: str
    name: str
    series: str
    how: str
    quant: str
    sparsity: float
    metric: str
    target: str
    device: str
    values: dict[str, Value]
    energy: str
    energy_reason: str
    quick: bool
    emulated: str
    load_average: float
    seeds: int
    artifact: str = ""
    caveat: str = ""
    checksum: str = ""


def lower_is_better(entries: Iterable[Entry]) -> bool:
    """Whether the metric of these entries is an error."""
    return any(e.metric in LOWER_IS_BETTER for e in entries)


def plain(text: object, limit: int = 0) -> str:
    """Text from a file without control characters, with its middle left out where it is longer than `limit`."""
    shown = printable(str(text)).replace("\n", "\N{REPLACEMENT CHARACTER}")
    if not limit or len(shown) <= limit:
        return shown
    tail = (limit - 1) // 2
    return f"{shown[: limit - 1 - tail]}…{shown[len(shown) - tail :]}"


def of_study(outcomes: Iterable[Outcome]) -> list[Entry]:
    """Entries of the cells that have a result, seeds put together."""
    found = []
    for group in groups(outcomes):
        if not group.known:
            continue
        timed = [o.timing for o in group.known if o.timing]
        values = {name: _of_seeds(group.by_seed(name)) for name in _NUMBERS if group.values(name)}
        energies = list(dict.fromkeys(f"{t['energy_kind']}: {t['energy_source']}" for t in timed if t["energy_kind"]))
        quant = "" if group.quant == "none" else group.quant
        pruned = f"{group.how} {group.sparsity:g}" if group.prune else group.how
        found.append(
            Entry(
                subject=plain(group.title),
                name=plain(", ".join(filter(None, [pruned if group.prune else f"dense {group.how}".strip(), quant]))),
                series=plain(", ".join(filter(None, [group.how if group.prune else "dense", quant]))),
                how=plain(group.how) if group.prune else "",
                quant=plain(group.quant),
                sparsity=group.sparsity if group.prune else 0.0,
                metric=group.metric,
                target=plain(next((t.get("target", "") for t in timed), "")),
                device=plain(", ".join(dict.fromkeys(str(t["device"]) for t in timed))),
                values=values,
                energy=plain(" and ".join(energies)),
                energy_reason=plain(next((t["energy_reason"] for t in timed if not t["energy_kind"]), "")),
                quick=any(t["quick"] for t in timed),
                emulated=plain(next((t["emulated"] for t in timed if t["emulated"]), "")),
                # The study's own training just before keeps at most every core busy.
                load_average=max(
                    (t["load_average"] for t in timed if (t.get("load_average") or 0) > t.get("cores", 0) + 0.5),
                    default=0.0,
                ),
                seeds=group.seeds,
            )
        )
    return found


def lacking(outcomes: Iterable[Outcome]) -> list[str]:
    """What has no result at all, or not of every seed, as words: "global 0.9 (failed)"."""
    said = []
    for group in groups(outcomes):
        pruned = f"{group.how} {group.sparsity:g}" if group.prune else f"dense {group.how}".strip()
        name = ", ".join([pruned, *([] if group.quant == "none" else [group.quant])])
        without = group.seeds - len(group.known)
        if without:
            unrun = len(group.missing) - group.unmeasured
            why = " and ".join(["failed"] * (without > unrun) + ["not run yet"] * bool(unrun))
            some = f"{without} of {group.seeds} seeds " if group.known else ""
            said.append(plain(f"{group.subject}, {name} ({some}{why})"))
    return said


def of_records(records: Sequence[ProfileRecord]) -> list[Entry]:
    """One entry a record. Where models of several checksums have one name, the checksum stands behind it."""
    found = [_of_record(record) for record in records]
    names = {e.checksum: e.name for e in reversed(found)}  # a model's first name is its name
    shared = Counter(names.values())
    return [
        replace(e, name=f"{name} ({e.checksum[:8]})" if shared[name] > 1 else name)
        for e in found
        for name in [names[e.checksum]]
    ]


def _of_record(r: ProfileRecord) -> Entry:
    values = {
        "model_file": float(r.memory_bytes.model_file),
        "peak_delta": float(r.memory_bytes.peak_delta),
        "p50": r.latency_ms.p50,
        "p99": r.latency_ms.p99,
        "cpu_percent": r.cpu_percent,
    }
    if r.metric is not None:
        values["test"] = r.metric.value
    if r.energy_j is not None:
        values["energy_gross"] = r.energy_j.gross
    if r.instructions is not None:
        values["instructions"] = float(r.instructions.median)
    metric = r.metric.name if r.metric is not None else ""
    rows = f"{r.metric.n:,} rows" if r.metric is not None else "no metric"
    energy = "" if r.energy_j is None else f"{r.energy_j.kind}: {r.energy_j.source}; {r.energy_j.scope}"
    gpu = r.device.gpu or "its GPU"
    return Entry(
        subject=plain(f"{catalog.title(r.data) or 'artifacts'} ({rows})"),
        name=plain(r.artifact),
        series=plain(shown_name(r.recipe)),
        how="",
        quant=plain(r.recipe),
        sparsity=0.0,
        metric=metric,
        target=plain(r.target),
        device=plain(f"{r.device.model}, on {gpu}" if r.how.processor == "cuda" else r.device.model),
        values={name: Value(value, _of_processes(r) if name == "p50" else None, 1) for name, value in values.items()},
        energy=plain(energy),
        energy_reason=plain(r.energy_reason if r.energy_j is None else ""),
        quick=r.quick,
        emulated=plain(r.emulated),
        load_average=r.device.load_average if (r.device.load_average or 0) > 0.5 else 0.0,  # type: ignore[arg-type]
        seeds=1,
        artifact=plain(r.artifact),
        caveat=plain(r.metric_caveat),
        checksum=r.model_sha256,
    )


def _of_processes(r: ProfileRecord) -> float | None:
    """Standard deviation of p50 from process to process (`profile --repeat`); None where one measured."""
    runs = r.latency_ms.repeats
    return statistics.stdev(runs) if len(runs) > 1 else None


def deviation(entry: Entry, name: str) -> float:
    """By how much a number of an entry is unsure: one standard deviation, as far as it is known.

    Of a time or an energy that was measured once, it is what the same model differs by from run to run on a machine.
    """
    value = entry.values[name]
    if value.std is not None:
        return value.std
    return _ONCE * value.mean if name in ("p50", "p99", "energy_gross") else 0.0


def tell_apart(entries: Sequence[Entry]) -> list[str]:
    """The device of each entry: its target, and the model of the machine where targets of one name differ."""
    models: dict[str, set[str]] = {}
    for e in entries:
        models.setdefault(e.target, set()).add(e.device)
    return [e.target if len(models[e.target]) == 1 else f"{e.target}: {e.device}" for e in entries]


def caveats(entries: Sequence[Entry]) -> list[str]:
    """What a reader has to know of metrics, times and energies, as sentences; each begins with its mark in tables."""
    said = [f"{e.name}: {e.caveat}." for e in entries if e.caveat]
    timed = [e for e in entries if "p50" in e.values]
    quick = [e for e in timed if e.quick]
    if quick:
        which = "Times were" if len(quick) == len(timed) else f"Times of {len(quick)} of {len(timed)} models were"
        said.append(f"* {which} measured with short windows (quick): for a first look, not for figures to quote.")
    load = max((e.load_average for e in entries), default=0.0)
    if load:
        busy = f"‡ The machine had other work meanwhile (load average up to {load:.1f}): times and energies suffer."
        said.append(busy)
    for source in dict.fromkeys(e.energy for e in entries if e.energy.startswith("estimated")):
        said.append(f"~ Energy is estimated by a model, not measured: {source.partition(': ')[2]}.")
    if any(e.emulated for e in entries):
        said.append("† Emulated: times, memory and energy are not a measurement of any device.")
    return list(dict.fromkeys(said))


def mark(entry: Entry, name: str) -> str:
    """What is put behind a time or an energy that has a caveat."""
    if name not in ("p50", "p99", "energy_gross"):
        return ""
    estimated = name == "energy_gross" and entry.energy.startswith("estimated")
    return " ~" * estimated + " †" * bool(entry.emulated) + " *" * entry.quick + " ‡" * bool(entry.load_average)


def _of_seeds(values: Mapping[int, float]) -> Value:
    numbers = list(values.values())
    return Value(
        statistics.fmean(numbers), statistics.stdev(numbers) if len(numbers) > 1 else None, len(numbers), values
    )
