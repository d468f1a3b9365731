"""From what a runner says at its end to a record.

What this machine knows (names, checksums, sizes, counts, what was asked for) it writes into the record itself. What
only the runner can tell has to lie in its range and may contradict neither itself nor this machine. Where the runner
was on a device, the record names these fields as the device's word.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timezone
from typing import Annotated

import msgspec

import edgegnn
from edgegnn.devices.target import Target
from edgegnn.errors import TargetError
from edgegnn.manifest import typed_manifest
from edgegnn.native.reference import OPS
from edgegnn.profiling.bounds import Count, Positive, Sentence, Share, Word
from edgegnn.profiling.record import (
    Device,
    Energy,
    EnergyWindow,
    EntryLatency,
    How,
    Instructions,
    Latency,
    Memory,
    Metric,
    OperatorTimes,
    ProfileRecord,
    Start,
    SustainedPoint,
    SweepPoint,
)
from edgegnn.runtime import Artifact
from edgegnn.runtime.benchmark import BENCH_FORMAT, Plan
from edgegnn.runtime.energy import EnergyReader, Reading, Window, summarize
from edgegnn.runtime.manifest import Manifest
from edgegnn.runtime.proof import metric_problems
from edgegnn.runtime.samples import read_samples, samples_score

__all__ = ["Asked", "Followed", "HostEnergy", "Instructed", "make_record"]

_SKEW = 60.0  # seconds by which two clocks may differ without a word
_SLACK = 1.02  # what rounding and the clocks' rates explain
_FASTER = (
    3.0  # times: no inference in an energy window is faster than the fastest that was timed, but for the clock rate
)
# Fields of a record that only the machine with the runner can tell.
_REPORTED = (
    "latency_ms",
    "throughput_per_s",
    "cpu_percent",
    "memory_bytes.peak_delta",
    "memory_bytes.baseline",
    "memory_bytes.gpu_peak",
    "agreement",
    "native_kernels",
    "device",
)


@dataclass(frozen=True)
class Asked:
    """What this machine knows about a measurement.

    Attributes:
        artifact: what was measured, opened with the runtime that was asked for.
        target: where.
        plan: how long.
        threads: of one inference; 0: one per core of the device.
        runner: "artifact" (its run.pyz), "installed" (that differs from this edgegnn's, which was used instead), or
            "native" (a program without Python, compiled for the device).
        reasons: why no better energy reader was used.
        runtime: what runs the model; "": as the manifest says.
        model_bytes: size of the model on the device; None: as the manifest says.
        same_model: the artifact's own model ran, so that its metric is known beforehand.
    """

    artifact: Artifact
    target: Target
    plan: Plan
    threads: int
    runner: str
    reasons: tuple[str, ...]
    runtime: str = ""
    model_bytes: int | None = None
    same_model: bool = True


@dataclass(frozen=True)
class Followed:
    """A runner that was followed to its end.

    Attributes:
        result: what it said, JSON.
        readings: one for each energy window, by the reader of this machine; empty without one.
        problem: why readings are missing; "" when none are.
        seconds: how long it ran, by the clock of this machine.
        skew: the device's clock minus ours, seconds.
    """

    result: bytes
    readings: tuple[Reading | None, ...]
    problem: str
    seconds: float
    skew: float = 0.0


@dataclass(frozen=True)
class HostEnergy:
    """Who reads the energy: the runner (`by_runner`), a reader of this machine, or nobody."""

    by_runner: bool
    reader: EnergyReader | None


@dataclass(frozen=True)
class Instructed:
    """What an emulated device is, and the instructions that were counted on it, or why they were not."""

    emulated: str = ""
    instructions: Instructions | None = None
    reason: str = ""


class _Format(msgspec.Struct, frozen=True):
    format: Word


class _How(msgspec.Struct, frozen=True):
    warmup_runs: Count
    latency_seconds: Positive


class _Said(msgspec.Struct, frozen=True, kw_only=True):
    """The part of a runner's result that only it can tell; the rest of it is not read."""

    latency_ms: Latency
    entries: Annotated[list[EntryLatency], msgspec.Meta(max_length=100)] = []
    throughput_per_s: Positive
    cpu_percent: Annotated[float, msgspec.Meta(ge=0, le=10_000)]
    memory_bytes: Memory
    energy_j: Energy | None
    energy_reason: Sentence = ""
    metric: Metric | None
    agreement: Share
    saturated: Share | None = None
    start_ms: Start | None = None
    operators: OperatorTimes | None = None
    sweep: Annotated[list[SweepPoint], msgspec.Meta(max_length=100)] = []
    sustained: Annotated[list[SustainedPoint], msgspec.Meta(max_length=1000)] = []
    native_kernels: bool
    how: _How
    device: Device
    windows: Annotated[list[EnergyWindow], msgspec.Meta(max_length=1000)] = []


def make_record(
    followed: Followed, asked: Asked, energy: HostEnergy, instructed: Instructed = Instructed()
) -> ProfileRecord:
    """The record of a measurement.

    Raises:
        ArtifactError: the artifact's samples are damaged.
        TargetError: what the runner said is no result, or contradicts itself or this machine.
    """
    name, manifest = asked.target.name, asked.artifact.manifest
    said = _read(followed.result, name)
    for problem in (_contradiction(said, asked, followed.seconds), _metric_problem(said.metric, asked)):
        if problem:
            raise TargetError(f"{name}: the runner's result can't be true: {problem}: is the runner there changed?")
    joules, reason = _energy(said, followed, asked, energy)
    record = ProfileRecord(
        target=name,
        artifact=manifest.name,
        recipe=manifest.recipe,
        model_sha256=manifest.files[manifest.model_file].sha256,
        created=datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
        edgegnn=edgegnn.__version__,
        latency_ms=said.latency_ms,
        throughput_per_s=said.throughput_per_s,
        cpu_percent=said.cpu_percent,
        memory_bytes=msgspec.structs.replace(said.memory_bytes, model_file=_model_bytes(asked)),
        energy_j=joules,
        energy_reason="; ".join(filter(None, [*asked.reasons, reason])),
        metric=said.metric,
        agreement=said.agreement,
        saturated=said.saturated,
        native_kernels=said.native_kernels,
        how=_how(said, asked),
        device=_device(said.device, asked.target, followed.skew),
        runtime=asked.runtime or manifest.runtime,
        emulated=instructed.emulated,
        instructions=instructed.instructions,
        instructions_reason=instructed.reason,
        metric_reason=manifest.metric_reason,
        metric_caveat=manifest.metric_caveat,
        data=_data_name(manifest),
        entries=said.entries,
        start_ms=said.start_ms,
        operators=_operators(said),
        sweep=said.sweep,
        sustained=said.sustained,
        reported_by_device=_reported(said, asked, energy),
    )
    try:  # also what came from the artifact has its bounds
        return msgspec.convert(msgspec.to_builtins(record), ProfileRecord)
    except msgspec.ValidationError as error:
        raise TargetError(f"{name}: this can't be recorded: {error}") from error


def _model_bytes(asked: Asked) -> int:
    return asked.artifact.manifest.model_bytes if asked.model_bytes is None else asked.model_bytes


def _read(result: bytes, name: str) -> _Said:
    try:
        spoken = msgspec.json.decode(result, type=_Format).format
        if spoken == BENCH_FORMAT:
            return msgspec.json.decode(result, type=_Said)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise TargetError(f"{name}: the runner's result is none: {error}") from error
    raise TargetError(f"{name}: the runner speaks {spoken[:60]!r}, this edgegnn understands {BENCH_FORMAT!r}")


def _operators(said: _Said) -> OperatorTimes | None:
    """Operators with the word which of them are edgegnn's; in standard operators none is."""
    if said.operators is None or not said.native_kernels:
        return said.operators
    nodes = [msgspec.structs.replace(node, native=node.op in OPS) for node in said.operators.nodes]
    return msgspec.structs.replace(said.operators, nodes=nodes)


def _how(said: _Said, asked: Asked) -> How:
    target, samples = asked.target, asked.artifact.manifest.samples
    return How(
        **{**asdict(asked.plan), "warmup_runs": said.how.warmup_runs},
        latency_seconds=said.how.latency_seconds,
        graphs=sum(sample.origin == "data" for sample in samples) or len(samples),
        spinning=target.spinning,
        runner=asked.runner,
        transport=target.transport,
        host=target.host.rpartition("@")[2],
        processor=target.processor,
    )


def _device(said: Device, target: Target, skew: float) -> Device:
    return msgspec.structs.replace(
        said, arch=target.arch, clock_skew_seconds=round(skew) if abs(skew) > _SKEW else None
    )


def _data_name(manifest: Manifest) -> str:
    """Data set name, without its folder: records must not reveal user paths."""
    return re.split(r"[/\\]", typed_manifest(manifest.raw).task.data)[-1]


def _reported(said: _Said, asked: Asked, energy: HostEnergy) -> list[str]:
    if asked.target.transport == "local":
        return []
    more = {
        "entries": bool(said.entries),
        "sweep": bool(said.sweep),
        "sustained": bool(said.sustained),
        "metric.value": said.metric is not None,
        "energy_j": energy.by_runner,
    }
    more |= {name: getattr(said, name) is not None for name in ("saturated", "start_ms", "operators")}
    return [*_REPORTED, *(name for name, there in more.items() if there)]


# -- what can't be true -----------------------------------------------------------------------------------------------


def _contradiction(said: _Said, asked: Asked, seconds: float) -> str:
    """Where the result contradicts itself or what this machine knows; "" when nowhere."""
    latency, plan, wall = said.latency_ms, asked.plan, said.how.latency_seconds
    threads = asked.threads or said.device.cores
    problems = {
        f"{wall:.4g} s of timing in a run that took {seconds:.4g} s here": wall > seconds * _SLACK,
        f"{latency.n} inferences, at least {plan.runs} were asked for": latency.n < plan.runs,
        f"{latency.n} inferences of {latency.mean:.4g} ms in {wall:.4g} s": latency.n * latency.mean
        > wall * 1000 * _SLACK,
        f"{latency.n} inferences in {wall:.4g} s are not {said.throughput_per_s:.4g} a second": not _near(
            said.throughput_per_s * wall, latency.n
        ),
        f"{said.how.warmup_runs} inferences to warm up, {plan.warmup_runs} were asked for": said.how.warmup_runs
        < plan.warmup_runs,
    }
    for one in (latency, *(entry.latency_ms for entry in said.entries)):
        problems[f"{one.threads} threads, {threads} were asked for"] = one.threads != threads
        problems["its percentiles of the latency are in no order"] = not (
            one.min <= one.p50 <= one.p90 <= one.p99 and one.min <= one.mean * _SLACK
        )
    if said.start_ms is not None:
        start = (said.start_ms.open + said.start_ms.first) / 1000
        problems[f"{start:.4g} s until the first answer in a run that took {seconds:.4g} s"] = start > seconds * _SLACK
    known = {entry.name for entry in asked.artifact.manifest.entries}
    for entry in said.entries:
        problems[f"an entry point {entry.name[:40]!r}, which the model doesn't have"] = entry.name not in known
    return next((text for text, wrong in problems.items() if wrong), "")


def _near(one: float, other: float) -> bool:
    return max(one, other) <= min(one, other) * _SLACK


def _metric_problem(said: Metric | None, asked: Asked) -> str:
    """What is wrong about a metric, by the labels that were shipped and the value that the export saw."""
    artifact, manifest = asked.artifact, asked.artifact.manifest
    if manifest.samples_metric is None:
        return "" if said is None else "a metric of graphs without labels"
    samples = read_samples(artifact)
    known = samples_score(manifest.samples_metric.name, samples, [sample.expected for sample in samples])
    if known is None or said is None:
        return "no metric of graphs with labels"
    if (said.name, said.n) != (known.name, known.n):
        return f"a {said.name[:40]!r} over {said.n} rows: it is the {known.name} over {known.n}"
    if not asked.same_model:
        return ""
    found = replace(known, value=said.value)
    return next(iter(metric_problems(found, manifest.samples_metric, manifest)), "")


# -- energy -----------------------------------------------------------------------------------------------------------


def _energy(said: _Said, followed: Followed, asked: Asked, energy: HostEnergy) -> tuple[Energy | None, str]:
    """Energy of an inference, computed here from the windows; and why there is none, or no better one."""
    if energy.reader is not None:
        return _of_host(said, followed, asked, energy.reader)
    if not energy.by_runner:
        return None, ""  # the reasons of the choice say it all
    if said.energy_j is None:
        return None, said.energy_reason
    there = said.energy_j
    _check_windows(there.windows, said, asked, followed.seconds)
    windows = [Window(w.load, w.seconds, w.iterations, w.joules, w.steps) for w in there.windows]
    joules, reason = _summed(windows, there.source, there.scope, there.kind, there.rate_hz)
    return joules, "; ".join(filter(None, (said.energy_reason, reason)))


def _of_host(said: _Said, followed: Followed, asked: Asked, reader: EnergyReader) -> tuple[Energy | None, str]:
    if followed.problem or len(said.windows) != len(followed.readings):
        return None, followed.problem or "not every window was read"
    _check_windows(said.windows, said, asked, followed.seconds)
    read = [Reading(None) if reading is None else reading for reading in followed.readings]
    filled = [
        Window(w.load, w.seconds, w.iterations, reading.joules, reading.steps)
        for w, reading in zip(said.windows, read, strict=True)
    ]
    return _summed(filled, reader.source, reader.scope, reader.kind, reader.rate)


def _summed(
    windows: Sequence[Window], source: str, scope: str, kind: str, rate: float | None
) -> tuple[Energy | None, str]:
    values, reason = summarize(list(windows), source=source, scope=scope, kind=kind, rate=rate)
    try:
        return (None if values is None else msgspec.convert(values, Energy)), reason
    except msgspec.ValidationError as error:
        return None, f"{source} gave numbers that can't be: {error}"


def _check_windows(windows: Sequence[EnergyWindow], said: _Said, asked: Asked, seconds: float) -> None:
    """Refuse windows that are not those that were asked for, or hold more inferences than the latency allows."""
    plan, fastest = asked.plan, said.latency_ms.min / 1000
    total = sum(w.seconds for w in windows)
    wrong = any(
        w.seconds * _SLACK < plan.window_seconds
        or (w.load and w.iterations < plan.window_iterations)
        or w.iterations * fastest > w.seconds * _FASTER
        for w in windows
    )
    if wrong or len(windows) != plan.windows + 1 or total > seconds * _SLACK:
        raise TargetError(
            f"{asked.target.name}: the runner's energy windows can't be true: {len(windows)} of them, {total:.4g} s of "
            f"a run of {seconds:.4g} s, with {max((w.iterations for w in windows), default=0)} inferences at most"
        )
