"""The protocol in words: data, splits, seeds, training; how times and energy were measured, and with what."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from edgegnn.profiling.record import ProfileRecord
from edgegnn.profiling.table import reported_words
from edgegnn.reporting.model_points import plain
from edgegnn.reporting.sources import LoadedStudy, Sources
from edgegnn.runtime.state import throttled_words
from edgegnn.studies import Outcome

__all__ = ["protocol"]

_TASKS = {"node": "nodes of one graph", "graph": "graphs", "link": "links of one graph"}


def protocol(sources: Sources) -> list[tuple[str, list[str]]]:
    """Headings, and the sentences below each."""
    found = []
    for loaded in sources.studies:
        found += [*_of_study(loaded), *_measured(loaded.records), *_without_records(loaded)]
    found += _measured([record for _, record in sources.records])
    return [(heading, list(dict.fromkeys(map(plain, said)))) for heading, said in found if said]


def _of_study(loaded: LoadedStudy) -> list[tuple[str, list[str]]]:
    study, outcomes = loaded.study, loaded.outcomes
    data = [_data(same) for same in _by(outcomes, "model", "data", "split", "split_seed", "task")]
    training = [_training(same) for same in _by(outcomes, "model", "data", "architecture", "settings")]
    tuned = dict.fromkeys(_words(o.cell.finetune) for o in outcomes if o.cell.finetune or o.cell.prune)
    training += [f"After pruning, and with fake quantization: {words}." for words in tuned]
    training += [
        "What is not named has edgegnn's default for the model and its data. The epoch that is kept is the best on "
        "validation data; the test split is read once, at the end, and nothing is chosen by it.",
        "Dense models are trained once for each seed, and shared by all that is pruned or quantized from them.",
    ]
    counts = {status: sum(o.status == status for o in outcomes) for status in ("done", "failed", "missing")}
    cells = [f"{len(outcomes)} cells: " + ", ".join(f"{n} {status}" for status, n in counts.items() if n) + "."]
    cells += [f"Failed: {o.cell.label}: {o.reason}." for o in outcomes if o.status == "failed"]
    results = [
        "The metric is the exported artifact's, not the PyTorch model's; sizes are bytes of the model file "
        "(model.onnx or model.ts.pt).",
        *_agreement(outcomes),
    ]
    name = f"Study {study.path}"
    return [(name, cells), ("Data and seeds", data), ("Training", training), ("Metric and size", results)]


def _data(same: Sequence[Outcome]) -> str:
    asked = same[0].cell.dense
    known: dict[str, Any] = next((o.dense for o in same if o.dense), {})
    rows = sorted({o.compress["n"] for o in same if o.compress.get("n")})
    seeds = sorted({o.cell.dense["seed"] for o in same})
    of = _TASKS.get(known.get("kind", ""), "")
    parts = [
        f"{asked['model']} on {asked['data']}",
        f"{known.get('split') or asked['split'] or 'default'} split (seed {asked['split_seed']})",
        f"{' or '.join(f'{n:,}' for n in rows)} test rows" if rows else "",
        f"judged by {known['metric'].replace('_', ' ')}" if known.get("metric") else "",
    ]
    return (
        f"{', '.join(filter(None, parts))}{f', over {of}' if of else ''}. {_count(len(seeds), 'seed')} of training "
        f"({', '.join(map(str, seeds))})"
        + (": mean ± standard deviation of the sample." if len(seeds) > 1 else ": no spread is known.")
    )


def _training(same: Sequence[Outcome]) -> str:
    asked = same[0].cell.dense
    return (
        f"{asked['model']} on {asked['data']}: architecture {_words(asked['architecture'])}; training "
        f"{_words(asked['settings'])}."
    )


def _agreement(outcomes: Iterable[Outcome]) -> list[str]:
    shares = [o.compress["agreement"] for o in outcomes if o.compress.get("agreement") is not None]
    if not shares:
        return []
    return [f"Artifacts predict as their PyTorch models do on at least {100 * min(shares):.1f} % of the shipped rows."]


def _without_records(loaded: LoadedStudy) -> list[tuple[str, list[str]]]:
    """What the store alone tells, where the profile records are gone or nothing was measured."""
    timed = [o.timing for o in loaded.outcomes if o.timing]
    if not timed:
        why = 'timing = "off" in the study' if loaded.study.timing == "off" else "no measurement has ended"
        return [("Times and energy", [f"None: {why}."])]
    if loaded.records:
        return []
    said = [
        f"Measured on {t['device']} as target {t.get('target') or loaded.study.target}, "
        f"{_count(t['threads'], 'thread')}" + (f". Emulated: {t['emulated']}" if t["emulated"] else "") + "."
        for t in timed
    ]
    said += [f"Energy: {t['energy_kind']}: {t['energy_source']}." for t in timed if t["energy_kind"]]
    said += [f"No energy: {t.get('energy_reason', 'not known why')}." for t in timed if not t["energy_kind"]]
    return [("Times and energy", said)]


def _measured(records: Sequence[ProfileRecord]) -> list[tuple[str, list[str]]]:
    """How records were made, one part for each device."""
    parts: dict[tuple[str, str, str], list[ProfileRecord]] = {}
    for r in records:
        parts.setdefault((r.target, r.device.model, r.how.processor), []).append(r)
    return [(f"Measured on {target}: {model}", _on_device(same)) for (target, model, _), same in parts.items()]


def _on_device(same: Sequence[ProfileRecord]) -> list[str]:
    device, how = same[0].device, same[0].how
    versions = [
        ("Python", device.python),
        ("numpy", device.numpy),
        ("onnxruntime", device.onnxruntime),
        ("torch", device.torch),
    ]
    memory = f", {device.memory_bytes / 1e9:.0f} GB of memory" if device.memory_bytes else ""
    said = [
        f"{device.model}, {device.arch}, {_count(device.cores, 'core')}{memory}; {device.os}, kernel {device.kernel}"
        + (f", frequency governor {device.governor}" if device.governor else "")
        + f"; {', '.join(f'{name} {version}' for name, version in versions if version)}.",
    ]
    if how.processor == "cuda":
        said.append(f"The model ran on {device.gpu or 'the GPU'}; times contain the copies to it and back.")
    if how.transport != "local":
        said.append(f"Reached through {how.transport}.")
    if same[0].reported_by_device:
        said.append(f"As reported by the device: {reported_words(same[0])}.")
    said += [f"Emulated: {r.emulated}." for r in same if r.emulated]
    said += [
        f"Latency: in a fresh process, {_span([r.latency_ms.n for r in same])} inferences one after the other "
        f"({_span([r.latency_ms.threads for r in same])} threads, {_span([r.how.graphs for r in same])} graphs in "
        f"turn), in {_span([r.how.latency_seconds for r in same])} s; "
        f"{_span([r.how.warmup_runs for r in same])} more before, to warm up. "
        "p50 is the median, p99 the 99th percentile.",
        "CPU use is CPU time over wall time and cores, 100 %: all cores busy. Memory is the peak of the process over "
        "the same process before the model was loaded.",
    ]
    said += _energies(same)
    loads = [r.device.load_average for r in same if r.device.load_average is not None]
    if loads:
        said.append(f"Load average before: up to {max(loads):.1f}.")
    words = dict.fromkeys(word for r in same for word in throttled_words(r.device.throttled))
    if words:
        said.append(f"The device says: {', '.join(words)}.")
    days = sorted({r.created[:10] for r in same})
    said.append(f"Measured {days[0]}{f' to {days[-1]}' if len(days) > 1 else ''}, by edgegnn {same[0].edgegnn}.")
    return said


def _energies(same: Sequence[ProfileRecord]) -> list[str]:
    said = []
    for r in same:
        e = r.energy_j
        if e is None:
            said.append(f"No energy: {r.energy_reason or 'no reason is recorded'}.")
            continue
        kind = "estimated by a model, not measured" if e.kind == "estimated" else "measured"
        said.append(
            f"Energy of an inference: {kind}: {e.source}; scope: {e.scope}. Median of "
            f"{_count(r.how.windows, 'window')} of at least {r.how.window_seconds:g} s under load, after an idle one; "
            "all energy of the scope is counted."
        )
        if r.energy_reason:
            said.append(f"Why no better source: {r.energy_reason}.")
    return said


def _by(outcomes: Iterable[Outcome], *keys: str) -> list[list[Outcome]]:
    """Outcomes whose dense models have these in common."""
    found: dict[str, list[Outcome]] = {}
    for o in outcomes:
        found.setdefault(repr([o.cell.dense[key] for key in keys]), []).append(o)
    return list(found.values())


def _words(values: dict[str, Any]) -> str:
    return ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in values.items()) or "defaults"


def _count(n: int, what: str) -> str:
    return f"{n} {what}{'s' * (n != 1)}"


def _span(values: Sequence[float]) -> str:
    show = "{:,.0f}".format if all(float(v).is_integer() for v in values) else "{:,.1f}".format
    low, high = show(min(values)), show(max(values))
    return low if low == high else f"{low} to {high}"
