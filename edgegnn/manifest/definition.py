"""The manifest as a whole: its definition, its JSON Schema, and reading it."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from edgegnn.errors import ArtifactError, first_line
from edgegnn.manifest.computation import (
    Aggregation,
    CForm,
    LearntBits,
    RangePoint,
    Refusal,
    ScriptForm,
    SpeedAgainstFloat,
    StayedFloat,
    WebForm,
)
from edgegnn.manifest.data import (
    EntryPoint,
    File,
    GraphSizes,
    NativeLibrary,
    Preprocessing,
    Sample,
    SamplesTaken,
    Sizes,
    Task,
    TensorValue,
)
from edgegnn.manifest.proof import AgainstFloat, HeadMetric, Metric, Parity, Property, SamplesMetric, SplitMetric

__all__ = ["FORMAT", "ArtifactManifest", "manifest_schema", "typed_manifest"]

FORMAT = "edgegnn-artifact/1"


class ArtifactManifest(msgspec.Struct, frozen=True, kw_only=True):
    """What `manifest.json` holds; its `manifest_sha256` is the checksum of all other fields.

    Attributes:
        format: "edgegnn-artifact/1".
        name: of the artifact.
        created: when, ISO 8601 in UTC.
        recipe: how the model was quantized, "dq-int8".
        recipe_config: the recipe's fields (`edgegnn.quantize.Recipe`).
        constant_graph: the edges are in the model.
        task: what it was trained for.
        kind: "node", "graph" or "link": what a row of the output is.
        target: "classes", "labels", "values" or "none" (nothing is known): what a row holds.
        runtime: what runs it, "onnxruntime" or "torchscript".
        fallback: why it is TorchScript though nobody asked for that; "" otherwise.
        alone: why it takes one graph at a time though the model takes several; "" otherwise.
        limits: "num_nodes" -> largest number; "least_nodes", "least_value_x", ... -> smallest.
        fails_on: name of an awkward graph -> what PyTorch says, where no limit explains it.
        preprocessing: what lies between the features of the data and the model.
        inputs: of the model, in order.
        outputs: of the model, in order.
        main: name of the output that `kind` and `target` are about, where there are several; "" for the first.
        state: of a recurrent model, name of an input -> name of the output that feeds it at the next call.
        entries: its files in the order in which they run, where there are several.
        samples: the graphs in samples.npz, in order.
        samples_taken: what of the test split they are.
        parity: against PyTorch.
        accuracy: "" where the metric below says it, else that none is claimed, and why.
        metric: over the test split; None without labels.
        validation: over the validation split.
        heads: of further outputs with labels of their own, the metric of each.
        against_float: against the float model; None for a float artifact.
        speed_against_float: how long it takes beside the float form of the model; None for a float artifact.
        properties: that the artifact was held to.
        extent: sizes of the graphs that were trained or calibrated on; None where nothing has a fixed range.
        samples_metric: over the shipped graphs.
        quantized_points: how many quantization points training put in.
        stayed_float: what isn't quantized.
        integer_operators: operator -> how many multiply or add up codes.
        average_bits: of learnt widths, the mean over "rows", over "values", and at each point.
        learnt_bits: name of a point -> its widths.
        aggregations: what became of each.
        refusals: other places where a rewrite rule nearly fitted, and what kept it.
        sizes: in bytes.
        ranges: the points that the range guard watches.
        torchscript: the TorchScript form, where there is one.
        c: the model as C, where that was asked for.
        web: the model as WebAssembly, where that was asked for.
        pruning: what was pruned (of the checkpoint); None where nothing was.
        history: how the model was trained and compressed (of the checkpoint), a step each.
        source: which zoo model or factory builds it (of the checkpoint).
        versions: package -> version that made the artifact.
        command: the command line that made it; "" where that was a program.
        native: the kernels that were asked for.
        files: path in the artifact -> file.
    """

    format: Literal["edgegnn-artifact/1"] = "edgegnn-artifact/1"
    name: str = ""
    created: str = ""
    recipe: str
    recipe_config: dict[str, Any] = {}
    constant_graph: bool = False
    task: Task
    kind: str
    target: str = "classes"
    runtime: str = "onnxruntime"
    fallback: str = ""
    alone: str = ""
    limits: dict[str, int] = {}
    fails_on: dict[str, str] = {}
    preprocessing: Preprocessing | None = None
    inputs: list[TensorValue]
    outputs: list[TensorValue]
    main: str = ""
    state: dict[str, str] = {}
    entries: list[EntryPoint] = []
    samples: list[Sample]
    samples_taken: SamplesTaken | None = None
    parity: Parity
    accuracy: str = ""
    metric: SplitMetric | None = None
    validation: Metric | None = None
    heads: list[HeadMetric] = []
    against_float: AgainstFloat | None = None
    speed_against_float: SpeedAgainstFloat | None = None
    properties: list[Property] = []
    extent: GraphSizes | None = None
    samples_metric: SamplesMetric | None = None
    quantized_points: int = 0
    stayed_float: list[StayedFloat]
    integer_operators: dict[str, int] = {}
    average_bits: dict[str, float] | None = None
    learnt_bits: dict[str, LearntBits] | None = None
    aggregations: list[Aggregation] = []
    refusals: list[Refusal] = []
    sizes: Sizes
    ranges: list[RangePoint] = []
    torchscript: ScriptForm | None = None
    c: CForm | None = None
    web: WebForm | None = None
    pruning: dict[str, Any] | None = None
    history: list[dict[str, Any]] = []
    source: dict[str, Any] = {}
    versions: dict[str, str]
    command: str | None = None
    native: list[NativeLibrary] = []
    files: dict[str, File] = {}

    def __getitem__(self, key: str) -> Any:
        """A field as the file has it: plain values, as `json.load` would give them."""
        return self.to_dict()[key]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        values: dict[str, Any] = msgspec.to_builtins(self, enc_hook=_plain)
        return values


def _plain(value: Any) -> Any:
    """Values of classes that extend a plain one: torch's version, numpy's float64."""
    for kind in (str, int, float):
        if isinstance(value, kind):
            return kind(value)
    raise NotImplementedError(f"the manifest can't hold {type(value).__name__}")


def typed_manifest(raw: Mapping[str, Any]) -> ArtifactManifest:
    """The content of a `manifest.json` that the runtime has checked (`edgegnn.runtime.read_manifest`), typed.

    Raises:
        ArtifactError: a field is missing or of another type.
    """
    # Float artifacts of older versions say {}.
    values = {**raw, "against_float": raw.get("against_float") or None}
    try:
        return msgspec.convert(values, ArtifactManifest)
    except (msgspec.ValidationError, ValueError, RecursionError) as error:
        raise ArtifactError(
            f"manifest.json can't be shown, it is damaged or of another edgegnn: {first_line(error)}"
        ) from error


def manifest_schema() -> bytes:
    """The JSON Schema of `manifest.json` (`python -m edgegnn.manifest`)."""
    schema = msgspec.json.schema(ArtifactManifest)
    for struct in schema["$defs"].values():
        struct["description"] = inspect.cleandoc(struct.get("description", ""))
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": f"edgegnn {FORMAT}", **schema}
    return msgspec.json.format(msgspec.json.encode(schema), indent=1) + b"\n"
