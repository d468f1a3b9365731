"""How an artifact compares with PyTorch's model and with the float model."""

from __future__ import annotations

import msgspec
from msgspec import UNSET, UnsetType

__all__ = [
    "AgainstFloat",
    "Compared",
    "Drift",
    "Drop",
    "GraphParity",
    "HeadMetric",
    "InputResponse",
    "LayerNoise",
    "Metric",
    "Noise",
    "OutputParity",
    "Parity",
    "Property",
    "SamplesMetric",
    "ShortParity",
    "SplitMetric",
    "Tolerance",
]


class Tolerance(msgspec.Struct, frozen=True, kw_only=True):
    """How far the artifact may be from its PyTorch model.

    Attributes:
        agreement: smallest share of equal predictions.
        max_abs_error: largest difference of an output; None: not limited.
        within: of values, how far apart they may be to count as equal, for each column.
        by_chance: of few rows, as many more may differ as chance brings in one sample of twenty.
    """

    agreement: float
    max_abs_error: float | None = None
    within: list[float] | None = None
    by_chance: bool = False


class GraphParity(msgspec.Struct, frozen=True, kw_only=True):
    """The artifact against PyTorch on one graph.

    Attributes:
        name: of the graph.
        agreement: share of equal predictions.
        max_abs_error: largest difference of an output.
    """

    name: str
    agreement: float
    max_abs_error: float


class ShortParity(msgspec.Struct, frozen=True, kw_only=True):
    """The artifact against PyTorch, in short.

    Attributes:
        graphs: on how many graphs.
        agreement: share of equal predictions over all real graphs.
        max_abs_error: largest difference of an output on any graph.
    """

    graphs: int
    agreement: float
    max_abs_error: float


class OutputParity(ShortParity, frozen=True, kw_only=True):
    """An output that no labels are for against PyTorch's.

    Attributes:
        name: of the output.
        tolerance: the limits.
    """

    name: str
    tolerance: Tolerance


class Drift(msgspec.Struct, frozen=True, kw_only=True):
    """How far a recurrent model and its artifact drift apart, each with the state that it left itself.

    Attributes:
        steps: how many consecutive calls.
        first: largest difference of the main output after the first.
        last: after the last.
        worst: after any.
        state: largest difference of a state after any.
        spread: standard deviation of PyTorch's main output over all steps.
    """

    steps: int
    first: float
    last: float
    worst: float
    spread: float
    state: float


class Parity(ShortParity, frozen=True, kw_only=True):
    """The artifact against PyTorch, in its main output.

    Attributes:
        tolerance: the limits.
        per_graph: each graph.
        outputs: the other outputs, where there are several.
        drift: over consecutive steps, of a recurrent model.
        sensitive: graphs on which PyTorch itself turns on rounding: the limits are what was seen there.
    """

    tolerance: Tolerance
    per_graph: list[GraphParity] = []
    outputs: list[OutputParity] = []
    drift: Drift | None = None
    sensitive: list[str] = []


class Compared(msgspec.Struct, frozen=True, kw_only=True):
    """A metric of PyTorch's model and of the artifact; None where the labels don't define it."""

    pytorch: float | None
    artifact: float | None


class Metric(Compared, frozen=True, kw_only=True):
    """The task's metric over a split.

    Attributes:
        name: one of those in `edgegnn.runtime.metrics`.
        n: rows counted.
        reason: why it has no value; "" when it has one.
        caveat: what has to be said beside it; "" for nothing.
    """

    name: str
    n: int
    reason: str | None = None
    caveat: str | None = None


class SplitMetric(Metric, frozen=True, kw_only=True):
    """The task's metric over the test split, and further metrics.

    Attributes:
        split: "test".
        roc_auc: area under the ROC curve, of two classes or of links.
        average_precision: of links.
    """

    split: str
    roc_auc: Compared | UnsetType = UNSET
    average_precision: Compared | UnsetType = UNSET

    @property
    def further(self) -> dict[str, Compared]:
        """Further metrics by name."""
        found = {"roc_auc": self.roc_auc, "average_precision": self.average_precision}
        return {name: value for name, value in found.items() if value is not UNSET}


class HeadMetric(Metric, frozen=True, kw_only=True):
    """The metric of a further head over the test split.

    Attributes:
        output: its output.
        attribute: of the data, which has its labels.
        target: "classes", "labels" or "values".
        split: "test".
        validation: the same over the validation split.
    """

    output: str
    attribute: str
    target: str
    split: str
    validation: Compared


class SamplesMetric(msgspec.Struct, frozen=True, kw_only=True):
    """The task's metric over the shipped graphs: what the device is held to.

    Attributes:
        name: one of those in `edgegnn.runtime.metrics`.
        value: the artifact's; None where the labels don't define it.
        n: rows counted.
        reason: why it has no value; "" when it has one.
        caveat: what has to be said beside it; "" for nothing.
    """

    name: str
    value: float | None
    n: int
    reason: str | None = None
    caveat: str | None = None


class Drop(msgspec.Struct, frozen=True, kw_only=True):
    """What quantization costs of the metric.

    Attributes:
        name: the metric.
        split: "val".
        before: the float model's ("float" in the file).
        after: the artifact's ("quantized" in the file).
        drop: the loss, in points.
        limit: the largest loss that was allowed, in points; None: not limited.
        n: rows counted.
    """

    name: str
    split: str = "val"
    before: float = msgspec.field(name="float")
    after: float = msgspec.field(name="quantized")
    drop: float
    limit: float | None
    n: int


class LayerNoise(msgspec.Struct, frozen=True, kw_only=True):
    """Signal-to-noise of a layer's output against the float model, decibels; None where it can't be told."""

    layer: str
    decibels: float | None


class Noise(msgspec.Struct, frozen=True, kw_only=True):
    """Signal-to-noise against the float model, decibels.

    Attributes:
        outputs: on the validation split.
        other_inputs: on graphs with other values of the inputs.
        floor: the least that was allowed.
        layers: after each layer.
    """

    outputs: float | None
    other_inputs: float | None = None
    floor: float | None = None
    layers: list[LayerNoise]


class InputResponse(msgspec.Struct, frozen=True, kw_only=True):
    """Whether an input counts as it does in the float model.

    Attributes:
        input: its name.
        told: "follows"; or "ignored", by the float model as well.
        change: how far the float model's outputs move with it.
        cosine: between the movements of both models.
        ratio: of the lengths of both movements.
    """

    input: str
    told: str
    change: float | None = None
    cosine: float | None = None
    ratio: float | None = None


class AgainstFloat(msgspec.Struct, frozen=True, kw_only=True):
    """The artifact against the float model.

    Attributes:
        reference: which float model.
        metric: what quantization costs of the metric; None where there are no labels.
        signal_to_noise: of outputs and layers.
        inputs: each input.
    """

    reference: str
    metric: Drop | None
    signal_to_noise: Noise
    inputs: list[InputResponse]


class Property(msgspec.Struct, frozen=True, kw_only=True):
    """A property of the model that the artifact was held to (`edgegnn.exporting.metamorphic`).

    Attributes:
        property: "order of nodes", ...
        told: "kept", or why it wasn't asked of the artifact.
        model: how far the float model's answers move.
        artifact: how far the artifact's answers move.
        limit: how far they may.
    """

    property: str
    told: str
    model: float | None = None
    artifact: float | None = None
    limit: float | None = None
