"""The times in a profile record."""

from __future__ import annotations

from typing import Annotated

import msgspec

from edgegnn.profiling.bounds import Count, Number, Positive, Sentence, Word

__all__ = ["EntryLatency", "Latency", "OperatorTime", "OperatorTimes", "Start", "SustainedPoint", "SweepPoint"]


class Latency(msgspec.Struct, frozen=True, kw_only=True):
    """Time of one inference, one after the other (no batching, no overlap), in **milliseconds**.

    Attributes:
        p50: median.
        p90: 90th percentile.
        p99: 99th percentile.
        min: the fastest.
        mean: arithmetic mean.
        n: number of timed inferences.
        threads: threads that one inference used.
        blocks: medians of up to 200 blocks of consecutive inferences, in order; every block is as long as the others
            and holds every graph equally often. They tell how steady p50 is (see `compare`).
        repeats: p50 of each of several processes that measured one after the other, in order (`profile --repeat`); all
            other fields of the record are those of the one with the median p50.
    """

    p50: Positive
    p90: Positive
    p99: Positive
    min: Positive
    mean: Positive
    n: Count
    threads: Count
    blocks: Annotated[list[Positive], msgspec.Meta(max_length=200)] = []
    repeats: Annotated[list[Positive], msgspec.Meta(max_length=100)] = []


class Start(msgspec.Struct, frozen=True, kw_only=True):
    """What it takes until the first answer, in **milliseconds**; the runtime is imported and the samples are read.

    Attributes:
        open: the model is read, checked and prepared.
        first: the first inference after that, on the first of the shipped graphs.
    """

    open: Positive
    first: Positive


class OperatorTime(msgspec.Struct, frozen=True, kw_only=True):
    """Time of one operator of the model.

    Attributes:
        name: of its node, "layer/operator".
        op: type of the operator.
        ms: in one inference, milliseconds; the mean over the graphs.
        bytes: that it reads and writes then, weights included.
        native: it ran on edgegnn's kernels; otherwise on the runtime's.
    """

    name: Word
    op: Word
    ms: Positive
    bytes: Count
    native: bool = False


class OperatorTimes(msgspec.Struct, frozen=True, kw_only=True):
    """Where an inference spends its time, by onnxruntime's profiler, in a pass of its own (it costs time, too).

    Attributes:
        inferences: that were timed.
        between_ms: the time of an inference that no operator took, milliseconds.
        copy_bytes_per_s: bytes that a plain copy of a large array reads and writes on this machine in a second.
        nodes: in the order of the model.
    """

    inferences: Count
    between_ms: Positive
    copy_bytes_per_s: Positive
    nodes: Annotated[list[OperatorTime], msgspec.Meta(max_length=5000)]


class SweepPoint(msgspec.Struct, frozen=True, kw_only=True):
    """Latency on the shipped graph with the most edges, made smaller or larger at the same density.

    Attributes:
        edges: of the graph.
        nodes: of the graph.
        p50_ms: median of its inferences, milliseconds; None where it could not be measured.
        n: timed inferences.
        reason: why it could not be measured; "" where it was.
    """

    edges: Count
    nodes: Count
    p50_ms: Positive | None
    n: Count
    reason: Sentence = ""


class SustainedPoint(msgspec.Struct, frozen=True, kw_only=True):
    """A slice of a long run without a pause.

    Attributes:
        end_s: seconds from the start of the run to the end of this slice.
        inferences: in it.
        throughput_per_s: inferences a second.
        p50_ms: median of their times, milliseconds.
        temperature: of the CPU at the end of it, °C; None where no sensor can be read.
        frequency_mhz: of the fastest core then; None where it can't be read.
        throttled: the Raspberry Pi's throttling word in hex then; "" elsewhere.
    """

    end_s: Positive
    inferences: Count
    throughput_per_s: Positive
    p50_ms: Positive
    temperature: Number | None = None
    frequency_mhz: Positive | None = None
    throttled: Word = ""


class EntryLatency(msgspec.Struct, frozen=True, kw_only=True):
    """Time of one entry point alone, on the first of the shipped graphs.

    Attributes:
        name: "encode" (once for a graph), "decode" (for each query).
        pairs: pairs of nodes that it scored; None where it scores none.
        latency_ms: see `Latency`.
    """

    name: Word
    pairs: Count | None
    latency_ms: Latency
