"""Measure an artifact on this machine, in this process: start it fresh.

    open ─ read samples ─ [memory] ─ session, first runs ─ [memory] ─ warm-up ─ latency pass ─ compare ─ energy windows

Latency and energy are separate passes: reading a counter costs time, and a latency needs fewer runs than an energy.
"""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from typing import Any

from edgegnn.errors import ArtifactError, UsageError
from edgegnn.runtime.artifact import Artifact, open_artifact
from edgegnn.runtime.cuda import gpu_facts, gpu_used
from edgegnn.runtime.edge_sweep import edge_sweep
from edgegnn.runtime.energy import READERS, ReadingError, choose_reader, measure_windows, summarize
from edgegnn.runtime.entries import EntrySession, entry_steps
from edgegnn.runtime.facts import device_facts
from edgegnn.runtime.measure import Latency, baseline_memory, latency_pass, peak_memory
from edgegnn.runtime.operator_times import operator_times
from edgegnn.runtime.proof import judge, saturated
from edgegnn.runtime.roles import number_of
from edgegnn.runtime.samples import Sample, read_samples
from edgegnn.runtime.session import available_cores, make_session, native_kernels, run, run_every
from edgegnn.runtime.state import machine_state
from edgegnn.runtime.sustained import sustained

__all__ = ["BENCH_FORMAT", "ENERGY", "FULL", "QUICK", "Opener", "Plan", "bench"]

BENCH_FORMAT = "edgegnn-bench/1"
ENERGY = ("device", "host", "none")
Event = dict[str, Any]


@dataclass(frozen=True)
class Plan:
    """How long to measure.

    Attributes:
        quick: shorter than the protocol asks for; the record says so.
        warmup_runs: inferences before the latency pass, at least; and whole rounds over the graphs.
        warmup_seconds: its least duration.
        runs: inferences in the latency pass, at least.
        seconds: its least duration.
        windows: energy windows under load; one idle window of the same length comes first.
        window_seconds: least duration of a window.
        window_iterations: least number of inferences in a window under load.
    """

    quick: bool = False
    warmup_runs: int = 10
    warmup_seconds: float = 1.0
    runs: int = 200
    seconds: float = 10.0
    windows: int = 5
    window_seconds: float = 10.0
    window_iterations: int = 10

    def total_seconds(self, *, energy: bool) -> float:
        """Expected duration in seconds (of a model that is fast enough for the least numbers of runs)."""
        return self.warmup_seconds + self.seconds + (self.windows + 1) * self.window_seconds * energy


@dataclass(frozen=True)
class Opener:
    """What opens the model where something else than the artifact's own runtime is to run it.

    Attributes:
        open: called with the number of threads; returns an object whose `run(names, inputs)` gives the outputs.
        runtime: "onnxruntime" or "torchscript" (torch): whose version the facts about the device name.
    """

    open: Callable[[int], Any]
    runtime: str = "onnxruntime"


FULL = Plan()
QUICK = Plan(True, warmup_runs=3, warmup_seconds=0.2, runs=20, seconds=1.0, windows=3, window_seconds=1.0)


def bench(
    artifact: Artifact | str | os.PathLike[str],
    *,
    plan: Plan = FULL,
    threads: int = 0,
    spinning: bool = True,
    energy: str = "device",
    announce: Callable[[Event], None] = lambda event: None,
    gate: Callable[[Event], None] = lambda event: None,
    system: Path = Path("/"),
    runtime: str | None = None,
    processor: str = "cpu",
    readers: Sequence[str] = (),
    operators: bool = False,
    sweep: Sequence[int] = (),
    sustained_seconds: float = 0.0,
    opener: Opener | None = None,
) -> dict[str, Any]:
    """Measure latency, throughput, CPU use, memory and energy, and prove the samples.

    Args:
        artifact: an open artifact, or the path of one.
        plan: how long.
        threads: threads of one inference; 0: one per usable core.
        spinning: see `make_session`.
        energy: "device": read a counter of this machine; "host": who started this process reads (round the windows that
            are announced, each after its gate); "none".
        announce: told about every phase and window.
        gate: called before every energy window.
        system: where the energy readers look for /proc and /sys.
        runtime: as in `open_artifact`, when that is a path.
        processor: "cpu", or "cuda" for the GPU.
        readers: kinds of energy readers, of `READERS`, in the order of preference; (): all that fit the processor.
        operators: also time each operator (`edgegnn.runtime.operator_times`), after the latency pass.
        sweep: also time graphs of so many edges (`edgegnn.runtime.edge_sweep`).
        sustained_seconds: run for so long without a pause, after everything else (`edgegnn.runtime.sustained`).
        opener: opens the model in another runtime; None: the artifact's own.

    Returns:
        `format` "edgegnn-bench/1", and the fields of the profile record: `start_ms` (opening the model, and its first
        inference), `latency_ms` (one inference over the graphs
        from data, in turn), `entries` (the same of each entry point alone, on the first graph, and how many pairs it
        scores), `throughput_per_s` (inferences / wall time of that pass), `cpu_percent` (CPU time / wall
        time / usable cores; 100: all cores busy), `memory_bytes`, `metric`, `agreement`, `saturated`, `energy_j` or
        `energy_reason`, `windows` (when the host reads), `operators`, `sweep`, `sustained`, `how`, `device`,
        `native_kernels`.

    Raises:
        ArtifactError: damaged, fails to run, or doesn't compute what PyTorch computed.
        UsageError: an unknown `energy` or reader, negative `threads`.
    """
    unknown = set(readers) - set(READERS)
    if unknown:
        raise UsageError(f"energy readers are {', '.join(READERS)}, not {', '.join(sorted(unknown))}")
    if energy not in ENERGY:
        raise UsageError(f"energy must be one of {', '.join(ENERGY)}, not {energy!r}")
    if threads < 0:
        raise UsageError(f"threads must be 0 (automatic) or more, not {threads}")
    threads = threads or available_cores()
    cuda = processor == "cuda"
    opened = artifact if isinstance(artifact, Artifact) else open_artifact(artifact, runtime=runtime)
    manifest = opened.manifest
    if operators and (cuda or manifest.runtime != "onnxruntime"):
        raise UsageError("operators are timed in onnxruntime on the CPU: leave --operators out")
    samples = read_samples(opened)
    announce({"event": "phase", "phase": "load"})
    state = machine_state()
    # Imports the runtime too: its own memory belongs to the baseline.
    device = device_facts(runtime=opener.runtime if opener else manifest.runtime)
    device |= gpu_facts() if cuda else {}
    before = baseline_memory()
    gpu_before = gpu_used() if cuda else None
    begin = time.perf_counter()
    if opener is None:
        session = make_session(opened, threads=threads, spinning=spinning, processor=processor)
    else:
        session = opener.open(threads)
    opening = time.perf_counter() - begin
    used = [s for s in samples if s.origin == "data"] or samples
    output = [spec.name for spec in manifest.outputs]
    steps: list[Callable[[], object]] = [partial(session.run, output, sample.inputs) for sample in used]
    begin = time.perf_counter()
    run(session, manifest, used[0].inputs)  # the first runs, with a clear error where the model fails
    first = time.perf_counter() - begin
    for sample in used[1:] + used:
        run(session, manifest, sample.inputs)
    peak = peak_memory(before)
    announce({"event": "phase", "phase": "warm-up"})
    warmup = latency_pass(steps, runs=plan.warmup_runs, seconds=plan.warmup_seconds)
    announce({"event": "phase", "phase": "latency"})
    latency = latency_pass(steps, runs=plan.runs, seconds=plan.seconds)
    entries = _entries(session, used[0].inputs, plan, threads)
    times = None
    if operators:
        announce({"event": "phase", "phase": "operators"})
        times = operator_times(opened, [s.inputs for s in used], threads=threads, spinning=spinning)
    curve = edge_sweep(opened, session, _with_edges(opened, used), sweep, announce) if sweep else []
    frequency = machine_state()["frequency_mhz"]
    gpu_after = gpu_used() if cuda else None
    announce({"event": "phase", "phase": "verify"})
    report = judge(manifest, samples, [run_every(session, manifest, sample.inputs) for sample in samples])
    if not report.ok and opener is None:  # another runtime may round otherwise; its metric and agreement say how well
        raise ArtifactError(f"the artifact doesn't hold on this machine: {report.problems[0]}")
    result = {
        "format": BENCH_FORMAT,
        "artifact": manifest.name,
        "recipe": manifest.recipe,
        "created": datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "runtime": manifest.runtime,
        "model_sha256": manifest.files[manifest.model_file].sha256,
        "start_ms": {"open": opening * 1e3, "first": first * 1e3},
        "latency_ms": _summary(latency, threads, len(used)),
        "operators": times,
        "sweep": curve,
        "entries": entries,
        "throughput_per_s": len(latency.times) / latency.wall_seconds,
        "cpu_percent": 100.0 * latency.cpu_seconds / latency.wall_seconds / available_cores(),
        "memory_bytes": {
            "peak_delta": peak,
            "model_file": manifest.model_bytes,
            "baseline": before.baseline,
            "gpu_peak": None if gpu_before is None or gpu_after is None else max(0, gpu_after - gpu_before),
        },
        "metric": None if report.metric is None else asdict(report.metric),
        "metric_reason": report.metric_reason,
        "agreement": report.agreement,
        "saturated": saturated(opened, samples, threads) if opener is None else None,
        "native_kernels": native_kernels(session),
        "how": {
            **asdict(plan),
            "warmup_runs": len(warmup.times),
            "graphs": len(used),
            "spinning": spinning,
            "processor": processor,
            "latency_seconds": latency.wall_seconds,
        },
        "device": device,
    }
    cycle = itertools.cycle(steps)
    chosen = readers or (("nvml",) if cuda else [name for name in READERS if name != "nvml"])
    result |= _energy(lambda: next(cycle)(), plan, energy, announce, gate, (chosen, system))
    if sustained_seconds:
        announce({"event": "phase", "phase": "sustained"})
        result["sustained"] = sustained(steps, sustained_seconds)
    after = machine_state()
    device |= {"temperature_before": state["temperature"], "temperature_after": after["temperature"]}
    device |= {"frequency_mhz": frequency, "throttled": after["throttled"]}
    return result


def _with_edges(artifact: Artifact, samples: Sequence[Sample]) -> dict[str, Any]:
    """Inputs of the graph that has most edges."""
    roles = artifact.manifest.roles
    return max(samples, key=lambda sample: number_of(sample.inputs, roles, "num_edges") or 0).inputs


def _summary(latency: Latency, threads: int, graphs: int) -> dict[str, Any]:
    return {
        "p50": latency.percentile(50),
        "p90": latency.percentile(90),
        "p99": latency.percentile(99),
        "min": min(latency.times),
        "mean": sum(latency.times) / len(latency.times),
        "n": len(latency.times),
        "threads": threads,
        "blocks": latency.blocks(graphs),
    }


def _entries(session: Any, inputs: dict[str, Any], plan: Plan, threads: int) -> list[dict[str, Any]]:
    """Latency of each entry point alone, on the first graph; [] for a model that has only one."""
    if not isinstance(session, EntrySession):
        return []
    found = []
    for name, pairs, step in entry_steps(session, inputs):
        latency_pass([step], runs=plan.warmup_runs, seconds=plan.warmup_seconds / 4)
        latency = latency_pass([step], runs=plan.runs, seconds=plan.seconds / 4)
        found.append({"name": name, "pairs": pairs, "latency_ms": _summary(latency, threads, 1)})
    return found


def _energy(
    step: Callable[[], object],
    plan: Plan,
    energy: str,
    announce: Callable[[Event], None],
    gate: Callable[[Event], None],
    readers: tuple[Sequence[str], Path],
) -> dict[str, Any]:
    if energy == "none":
        return {"energy_j": None, "energy_reason": "not asked for"}
    reader, reason = (None, "read by the host") if energy == "host" else choose_reader(*readers)
    if reader is None and energy == "device":
        return {"energy_j": None, "energy_reason": reason}
    announce({"event": "phase", "phase": "energy"})
    # The session's threads may still spin for a moment: the idle window is for an idle machine.
    time.sleep(min(0.2, plan.window_seconds / 5))
    try:
        windows = measure_windows(
            step,
            reader,
            windows=plan.windows,
            seconds=plan.window_seconds,
            iterations=plan.window_iterations,
            announce=announce,
            gate=gate,
        )
    except ReadingError as error:
        return {"energy_j": None, "energy_reason": str(error)}
    finally:
        if reader is not None:
            reader.close()
    if reader is None:
        return {"energy_j": None, "energy_reason": reason, "windows": [asdict(w) for w in windows]}
    joules: dict[str, Any] | None
    joules, why = summarize(windows, source=reader.source, scope=reader.scope, kind=reader.kind, rate=reader.rate)
    return {"energy_j": joules, "energy_reason": "; ".join(filter(None, (reason, why)))}
