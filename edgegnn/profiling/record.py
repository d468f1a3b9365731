"""The profile record: one measurement of one artifact on one target, with how it was made.

The file is JSON; the field names are those of the classes below, the units stand in their docstrings. `format` names
the version of this schema: a field that changes its meaning makes a new version, one that is only added does not.
"""

from __future__ import annotations

import inspect
import re
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from edgegnn.errors import DataError, TargetError
from edgegnn.profiling.bounds import Count, FileName, Number, Positive, Sentence, Share, Word
from edgegnn.profiling.times import (
    EntryLatency,
    Latency,
    OperatorTime,
    OperatorTimes,
    Start,
    SustainedPoint,
    SweepPoint,
)
from edgegnn.runtime.checksum import intact, sealed
from edgegnn.runtime.metrics import LOWER_IS_BETTER
from edgegnn.utils.files import check_plain, replacing

__all__ = [
    "FORMAT",
    "WITHOUT_KERNELS",
    "Device",
    "Energy",
    "EnergyWindow",
    "EntryLatency",
    "How",
    "Instructions",
    "Latency",
    "Memory",
    "Metric",
    "OperatorTime",
    "OperatorTimes",
    "ProfileRecord",
    "Start",
    "SustainedPoint",
    "SweepPoint",
    "read_record",
    "record_schema",
    "write_record",
]

FORMAT = "edgegnn-profile/1"
_CHECKSUM = "record_sha256"

WITHOUT_KERNELS = (
    "measured without edgegnn's kernels: sums over neighbours are 50 to 100 times slower; `edgegnn doctor` says what "
    "helps"
)


class Memory(msgspec.Struct, frozen=True, kw_only=True):
    """**Bytes**.

    Attributes:
        peak_delta: peak resident memory of the fresh process after the first inferences, minus its memory just before
            the model was loaded (Python, numpy, onnxruntime and the sample graphs are in both).
        model_file: size of model.onnx (and of decoder.onnx, where there is one), or of model.ts.pt; of the native
            runner with the model in it, where that was measured.
        baseline: resident memory just before the model was loaded.
        gpu_peak: GPU memory in use after the latency pass, minus that just before the model was loaded: the runtime's
            pool, which never shrinks, and CUDA's own; None where the model ran on the CPU, or nobody tells.
    """

    peak_delta: Count
    model_file: Count
    baseline: Count
    gpu_peak: Count | None = None


class EnergyWindow(msgspec.Struct, frozen=True, kw_only=True):
    """One window of the energy pass.

    Attributes:
        load: the model ran; otherwise the machine idled.
        seconds: its length.
        iterations: inferences in it.
        joules: energy of the reader's scope in it.
        steps: by how many of its update steps the counter moved; None for a model.
    """

    load: bool
    seconds: Positive
    iterations: Count
    joules: Number | None
    steps: Number | None = None


class Energy(msgspec.Struct, frozen=True, kw_only=True):
    """Energy of one inference, in **joules**.

    Attributes:
        gross: all energy of the scope while the model ran / inferences; median of the windows.
        net: the same without the power that the idle machine takes; None when that is lost in the noise of idling.
        source: what was read, or which model made the number.
        scope: which part of the machine the number covers.
        kind: "measured" by a counter, or "estimated" by a model.
        gross_range: smallest and largest window.
        net_range: smallest and largest window.
        idle_watts: power in the idle window, watts.
        load_watts: power under load, watts; median of the windows.
        rate_hz: how often the counter was renewed, or the sensor sampled, per second; None for a model.
        windows: the readings that the numbers come from.
    """

    gross: Positive
    net: Positive | None
    source: Sentence
    scope: Sentence
    kind: Literal["measured", "estimated"]
    gross_range: tuple[Number, Number]
    net_range: tuple[Number, Number]
    idle_watts: Number
    load_watts: Number
    rate_hz: Positive | None = None
    windows: Annotated[list[EnergyWindow], msgspec.Meta(max_length=1000)] = []


class Metric(msgspec.Struct, frozen=True, kw_only=True):
    """The task metric over the graphs in the artifact, computed on the target.

    Attributes:
        name: one of those in `edgegnn.runtime.metrics`.
        value: in [0, 1]; of "mae" and "rmse" an error of 0 or more, in the units of the data.
        n: rows (nodes, or graphs) counted.
    """

    name: Word
    value: Positive
    n: Count

    def __post_init__(self) -> None:
        if self.value > 1 and self.name not in LOWER_IS_BETTER:
            raise ValueError(f"a value of {self.name} above 1")


class How(msgspec.Struct, frozen=True, kw_only=True):
    """How it was measured.

    Attributes:
        quick: windows shorter than the protocol asks for (10 s and 10 inferences, five of them).
        warmup_runs: inferences before the latency pass.
        warmup_seconds: least duration of that.
        runs: least number of timed inferences that was asked for.
        seconds: least duration of the latency pass that was asked for.
        latency_seconds: how long the latency pass took.
        windows: energy windows under load.
        window_seconds: least duration of each, seconds; one idle window of this length came first.
        window_iterations: least number of inferences in each.
        graphs: different graphs, measured in turn.
        spinning: worker threads waited busily between inferences.
        transport: "local", "ssh" or "emulated".
        host: the device's name as it was given (name, alias or address, without the user); "" for this machine.
        processor: "cpu", or "cuda": on the GPU; the time of an inference contains the copies to it and back.
        runner: "artifact" (its run.pyz), "installed" (that differs from this edgegnn's, which was used instead),
            "native" (a program without Python, compiled for the device), or "peer" (a program of another runtime).
    """

    quick: bool
    warmup_runs: Count
    warmup_seconds: Positive
    runs: Count
    seconds: Positive
    latency_seconds: Positive
    windows: Count
    window_seconds: Positive
    window_iterations: Count
    graphs: Count
    spinning: bool
    runner: Word
    transport: Word = "local"
    host: Word = ""
    processor: Literal["cpu", "cuda"] = "cpu"


class Device(msgspec.Struct, frozen=True, kw_only=True):
    """The machine.

    Attributes:
        model: CPU or board.
        arch: "x86_64", "aarch64".
        cores: logical cores that the process could use.
        memory_bytes: all memory, bytes.
        governor: of the CPU frequency; "" when there is none to see.
        load_average: runnable processes in the minute before; more than a few tenths: the machine was not idle.
        os: its name.
        kernel: its release.
        python: version; "" where the native runner measured.
        numpy: version; "" likewise.
        onnxruntime: version; "" when the model ran in torch.
        torch: version; "" when the model ran in onnxruntime.
        temperature_before: of the CPU, °C, before the model was loaded; None where no sensor can be read.
        temperature_after: the same at the end.
        frequency_mhz: of the fastest core, MHz, right after the latency pass; None where it can't be read.
        throttled: at the end, the Raspberry Pi's throttling word in hex ("0": never since boot); "" elsewhere.
        clock_skew_seconds: the device's clock minus ours, where it is off by more than a minute.
        gpu: name of the GPU that the model ran on; "" when it ran on the CPU.
        gpu_driver: version.
        gpu_memory_bytes: all memory of the GPU, bytes.
    """

    model: Word
    arch: Word
    cores: Count
    memory_bytes: Count
    governor: Word
    load_average: Number | None
    os: Word
    kernel: Word
    python: Word
    numpy: Word
    onnxruntime: Word
    torch: Word = ""
    temperature_before: Number | None = None
    temperature_after: Number | None = None
    frequency_mhz: Positive | None = None
    throttled: Word = ""
    clock_skew_seconds: Number | None = None
    gpu: Word = ""
    gpu_driver: Word = ""
    gpu_memory_bytes: Count = 0


class Instructions(msgspec.Struct, frozen=True, kw_only=True):
    """Executed instructions of one inference on an emulated processor, one thread: what stands there for a time.

    Attributes:
        median: over the graphs.
        graphs: how many of them were counted.
        cpu: the emulated processor.
        source: what counted.
    """

    median: Count
    graphs: Count
    cpu: Word
    source: Sentence


class ProfileRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A measurement. In its file `record_sha256` is the checksum of all other fields.

    Attributes:
        format: "edgegnn-profile/1".
        target: name of the target.
        artifact: name of the artifact.
        recipe: how the model was quantized.
        model_sha256: checksum of the model that was measured.
        created: when, ISO 8601 in UTC, by the clock of the machine that edgegnn runs on.
        edgegnn: version.
        start_ms: see `Start`; None where nobody told.
        latency_ms: see `Latency`.
        throughput_per_s: inferences / wall time of the latency pass, **per second**.
        cpu_percent: CPU time / wall time / cores of that pass, **percent**; 100: all cores busy.
        memory_bytes: see `Memory`.
        energy_j: see `Energy`; None with the reason in `energy_reason`.
        energy_reason: why there is no energy, or why no better reader was used.
        metric: see `Metric`; None with the reason in `metric_reason`: no labels, say, or labels of one class only.
        agreement: share of predictions over the shipped graphs that are PyTorch's, in [0, 1].
        saturated: the largest share of values at an end of a quantization point in one of these graphs, in [0, 1]; None
            of a model without points to look at.
        native_kernels: the model ran on edgegnn's own kernels (False: the runtime's standard operators).
        how: see `How`.
        device: see `Device`.
        runtime: what ran the model, "onnxruntime", "torchscript", "c" (the C form, in a program of its own), or the
            name of a peer of the benchmark.
        emulated: on an emulated device what that is, and that its times, memory and CPU use are not a measurement of
            any; "" for a real one.
        instructions: see `Instructions`; None on a real device, or with the reason in `instructions_reason`.
        instructions_reason: why instructions could not be counted on an emulated one.
        metric_reason: why there is no metric, where that is known.
        metric_caveat: what has to be said beside the metric: that the model may have seen these graphs, say.
        data: name of the data set that the shipped graphs are of; "" where the artifact doesn't say.
        operators: see `OperatorTimes`; None where nobody asked (`edgegnn profile --operators`).
        sweep: see `SweepPoint`; empty where nobody asked (`edgegnn profile --sweep-edges`).
        sustained: see `SustainedPoint`; empty where nobody asked (`edgegnn bench --sustained`).
        entries: see `EntryLatency`; empty for a model of one entry point. `latency_ms` covers all, one after the
            other.
        reported_by_device: fields that only the device could tell. They are its word: they were checked for their range
            and for contradictions, no more. Empty where a process of this machine measured.
    """

    target: FileName
    artifact: FileName
    recipe: Word
    model_sha256: Word
    created: Word
    edgegnn: Word
    latency_ms: Latency
    throughput_per_s: Positive
    cpu_percent: Positive
    memory_bytes: Memory
    energy_j: Energy | None
    energy_reason: Sentence
    metric: Metric | None
    agreement: Share
    native_kernels: bool
    how: How
    device: Device
    runtime: Word = "onnxruntime"
    emulated: Sentence = ""
    instructions: Instructions | None = None
    instructions_reason: Sentence = ""
    metric_reason: Sentence = ""
    metric_caveat: Sentence = ""
    data: Word = ""
    entries: Annotated[list[EntryLatency], msgspec.Meta(max_length=100)] = []
    start_ms: Start | None = None
    operators: OperatorTimes | None = None
    sweep: Annotated[list[SweepPoint], msgspec.Meta(max_length=100)] = []
    sustained: Annotated[list[SustainedPoint], msgspec.Meta(max_length=1000)] = []
    saturated: Share | None = None
    reported_by_device: Annotated[list[Word], msgspec.Meta(max_length=100)] = []
    format: Literal["edgegnn-profile/1"] = "edgegnn-profile/1"

    @property
    def quick(self) -> bool:
        """Measured with short windows."""
        return self.how.quick

    @property
    def without_kernels(self) -> bool:
        """Whether edgegnn's kernels had no part in the times, though they could have: `WITHOUT_KERNELS` says it."""
        could = self.runtime == "onnxruntime" and self.how.processor == "cpu" and not self.emulated
        return could and not self.native_kernels

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON-able values, `format` first."""
        values: dict[str, Any] = msgspec.to_builtins(self)
        return {"format": values.pop("format"), **values}


def record_schema() -> bytes:
    """The JSON Schema of a record, as `profiles/schema.json` holds it (`python -m edgegnn.profiling.record`)."""
    schema = msgspec.json.schema(ProfileRecord)
    for struct in schema["$defs"].values():
        struct["description"] = inspect.cleandoc(struct.get("description", ""))
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": f"edgegnn {FORMAT}", **schema}
    return msgspec.json.format(msgspec.json.encode(schema), indent=1) + b"\n"


def write_record(record: ProfileRecord, path: Path) -> None:
    """Write a record, whole or not at all; an older record in its place is replaced.

    Raises:
        TargetError: the place can't be written, or holds something else than a profile record.
    """
    check_place(path)
    values = sealed(record.to_dict(), _CHECKSUM)
    with replacing(path, force=True, error=TargetError) as temporary:
        temporary.write_bytes(msgspec.json.format(msgspec.json.encode(values), indent=1) + b"\n")


def check_place(path: Path) -> None:
    """Refuse to replace anything but an older record.

    Raises:
        TargetError: there is something else.
    """
    if not path.exists() and not path.is_symlink():
        return
    try:
        read_record(path)
    except DataError as error:
        raise TargetError(f"{path} is in the way and is no profile record: move it, or choose another --out") from error


def read_record(path: Path) -> ProfileRecord:
    """Read and check a record.

    Raises:
        DataError: no such file, no JSON, another format, a field that is missing or wrong.
    """
    check_plain(path, DataError)
    try:
        content = path.read_bytes()
        head = msgspec.json.decode(content, type=dict[str, Any])
    except OSError as error:
        raise DataError(f"can't read the profile record {path}: {error.strerror}") from error
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise DataError(f"{path} is no profile record: {error}") from error
    found = head.get("format")
    if found != FORMAT:
        match = re.fullmatch(r"edgegnn-profile/(\d{1,6})", found) if isinstance(found, str) else None
        if match and int(match[1]) > 1:
            raise DataError(f'{path} has the format "{found}", this edgegnn reads "{FORMAT}": use a newer edgegnn')
        raise DataError(f'{path} is no profile record: its format is {str(found)[:60]!r}, not "{FORMAT}"')
    if not intact(head, _CHECKSUM):
        raise DataError(f"{path} is a damaged profile record: its checksum differs; measure again")
    try:
        return msgspec.json.decode(content, type=ProfileRecord)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise DataError(f"{path} is a damaged profile record: {error}") from error


if __name__ == "__main__":
    sys.stdout.buffer.write(record_schema())
