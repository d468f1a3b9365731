"""How an artifact computes: quantization points, what stayed float, aggregations, forms."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from edgegnn.manifest.proof import ShortParity

__all__ = [
    "Aggregation",
    "CForm",
    "LearntBits",
    "RangePoint",
    "Refusal",
    "ScriptForm",
    "ScriptTwin",
    "SpeedAgainstFloat",
    "StayedFloat",
    "WebForm",
]


class RangePoint(msgspec.Struct, frozen=True, kw_only=True):
    """A quantization point that the range guard watches.

    Attributes:
        tensor: its values or codes in the model.
        low: from here down they are at the lower end; None where that end is zero.
        high: from here up they are at the upper end; None likewise.
        zero: the code of zero.
        file: the model's file.
        share: the largest share of values at an end in one graph that was calibrated on.
        row: the most that one row lost.
        least_sum: the point is of rows divided by their sums, or by this where that is less; 0: of rows as they are.
    """

    tensor: str
    low: float | None
    high: float | None
    zero: int = 0
    file: str = "model.onnx"
    share: float = 0.0
    row: float = 0.0
    least_sum: float = 0.0


class StayedFloat(msgspec.Struct, frozen=True, kw_only=True):
    """What isn't quantized.

    Attributes:
        tensor: a weight, or a kind of operator.
        bytes: its size.
        why: the reason.
    """

    tensor: str
    bytes: int
    why: str


class Aggregation(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one aggregation.

    Attributes:
        layer: path of its layer.
        aggregation: what it computes, in words.
        rule: the rule that put a native operator in its place; None where it stayed in standard operators.
        reason: why none did, or why not a faster one.
        nearest: the rule that came nearest and gave the reason; "" where none came near, or wasn't noted.
    """

    layer: str
    aggregation: str
    rule: str | None
    reason: str
    nearest: str = ""


class Refusal(msgspec.Struct, frozen=True, kw_only=True):
    """A place beside the aggregations that a rewrite rule is about, and didn't rewrite.

    Attributes:
        layer: path of the layer, "" for the model itself.
        operator: of ONNX, as it stayed.
        rule: the rule that came nearest.
        reason: what kept it.
    """

    layer: str
    operator: str
    rule: str
    reason: str


class LearntBits(msgspec.Struct, frozen=True, kw_only=True):
    """Learnt widths at one point.

    Attributes:
        kind: what has a width of its own: "node", "group", ...
        columns: of the tensor.
        average: mean width, bits.
        histogram: width in bits -> how many have it.
        code_bytes: for the nodes of a fixed graph, bytes of the codes at their widths.
        float_bytes: the same in float32.
    """

    kind: str
    columns: int
    average: float
    histogram: dict[str, int]
    code_bytes: int | UnsetType = UNSET
    float_bytes: int | UnsetType = UNSET


class ScriptTwin(msgspec.Struct, frozen=True, kw_only=True):
    """The torch.export program beside a TorchScript model: its file, and its inputs in order."""

    file: str
    inputs: list[str] = []


class SpeedAgainstFloat(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How long an inference takes beside the float form of the same model, on the machine that exported.

    Attributes:
        ms: milliseconds of an inference, the median over the rounds; None where it was not measured.
        float_ms: the same of the float form, in turns with it.
        graphs: how many shipped graphs a round has, one after the other.
        rounds: how often they were run.
        threads: of an inference.
        machine: the processor's name.
        reason: why it was not measured; "" where it was.
    """

    ms: float | None = None
    float_ms: float | None = None
    graphs: int = 0
    rounds: int = 0
    threads: int = 0
    machine: str = ""
    reason: str = ""


class CForm(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The model as C99, in the artifact's folder c/.

    Attributes:
        function: its name in C.
        max_nodes: the most nodes of a graph.
        max_edges: the most edges of a graph.
        arena_bytes: memory that the caller lends to each run.
        graphs: on how many graphs the compiled function was compared with the ONNX artifact.
        exact_tensors: tensors of codes inside the model, equal to the bit on each of them.
        equal_graphs: of how many graphs the outputs are equal to the bit.
        error: largest difference of an output, as a share of the graph's largest one.
        tolerance: the largest one that is accepted.
        tied_graphs: in how many graphs a float fell to the other side of the border between two codes, where the
            model rounds floats that it has added up in another order. They don't count in exact_tensors and error.
        unverified: why it was not compared; "" where it was.
    """

    function: str
    max_nodes: int
    max_edges: int
    arena_bytes: int
    graphs: int = 0
    exact_tensors: int = 0
    equal_graphs: int = 0
    error: float = 0.0
    tolerance: float = 0.0
    tied_graphs: int = 0
    unverified: str = ""


class WebForm(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The model as WebAssembly, in the artifact's folder web/.

    Attributes:
        wasm_bytes: size of model.wasm.
        gzip_bytes: of model.wasm as a server would send it.
        compiler: what made it.
        page_graphs: how many of the shipped graphs the page has.
        graphs: on how many graphs model.wasm was compared with the ONNX artifact, in Node.js.
        equal_graphs: of how many of them the outputs are equal to the bit.
        error: largest difference of an output, as a share of the graph's largest one.
        tolerance: the largest one that is accepted.
        unverified: why it was not compared; "" where it was.
    """

    wasm_bytes: int
    gzip_bytes: int
    compiler: str
    page_graphs: int = 0
    graphs: int = 0
    equal_graphs: int = 0
    error: float = 0.0
    tolerance: float = 0.0
    unverified: str = ""


class ScriptForm(msgspec.Struct, frozen=True, kw_only=True):
    """The TorchScript form of the model.

    Attributes:
        layers: of each pruned layer, whether it runs on sparse kernels, and the measured times.
        aggregation: of each aggregation, the same.
        twin: the program beside it.
        model_ms: milliseconds of the whole model, with dense and with the chosen kernels.
        threads: with which that was measured.
        graph: "num_nodes" and "num_edges" of the graph that it was measured on.
        parity: against PyTorch, where the manifest names another form as the runtime.
    """

    layers: list[dict[str, Any]]
    aggregation: list[dict[str, Any]]
    twin: ScriptTwin
    model_ms: dict[str, float | None] = {}
    threads: int = 0
    graph: dict[str, int] = {}
    parity: ShortParity | UnsetType = UNSET
