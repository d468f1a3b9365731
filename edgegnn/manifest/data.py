"""Which files, inputs, task and graphs an artifact has."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

__all__ = [
    "EntryPoint",
    "File",
    "GraphSizes",
    "LinkCounts",
    "LinkSplit",
    "NativeLibrary",
    "Negatives",
    "Preprocessing",
    "PreprocessingStep",
    "Sample",
    "SamplesTaken",
    "Sizes",
    "Task",
    "TensorValue",
]


class TensorValue(msgspec.Struct, frozen=True, kw_only=True):
    """An input or output of the model.

    Attributes:
        name: as in the ONNX graph.
        dtype: numpy's name, "float32".
        shape: sizes; a text is a size that differs from graph to graph ("num_nodes").
        role: what an input belongs to, where its name doesn't tell; and what an output belongs to.
        ends: of a relation between types of nodes, the sizes that its two rows count in ("num_nodes.author").
    """

    name: str
    dtype: str
    shape: list[int | str]
    role: str | UnsetType = UNSET
    ends: list[str] | UnsetType = UNSET


class EntryPoint(msgspec.Struct, frozen=True, kw_only=True):
    """One file of a model that has several.

    Attributes:
        name: "encode" (runs once for a graph) or "decode" (runs for each query).
        file: its ONNX file.
        inputs: what it takes.
        outputs: what it gives.
    """

    name: str
    file: str
    inputs: list[TensorValue]
    outputs: list[TensorValue]


class File(msgspec.Struct, frozen=True, kw_only=True):
    """A file of the artifact.

    Attributes:
        sha256: lower-case hexadecimal checksum.
        bytes: size.
    """

    sha256: str
    bytes: int


class Sizes(msgspec.Struct, frozen=True, kw_only=True):
    """Sizes in bytes.

    Attributes:
        model_file: what the runtime runs, all files together.
        fp32_model_file: the same model without quantization.
    """

    model_file: int
    fp32_model_file: int | None = None


class NativeLibrary(msgspec.Struct, frozen=True, kw_only=True):
    """The kernels for a processor that were asked for.

    Attributes:
        machine: the processor, "aarch64".
        there: whether they are in the artifact.
        origin: where they come from, or why there are none.
    """

    machine: str
    there: bool
    origin: str


class LinkCounts(msgspec.Struct, frozen=True, kw_only=True):
    """How many links are in each split."""

    train: int
    val: int
    test: int


class Negatives(msgspec.Struct, frozen=True, kw_only=True):
    """Pairs of nodes without a link.

    Attributes:
        train_pool: how many training draws from.
        val: how many validate.
        test: how many test.
    """

    train_pool: int
    val: int = 0
    test: int = 0


class LinkSplit(msgspec.Struct, frozen=True, kw_only=True):
    """How the links of a link task were split.

    Attributes:
        links: how many are in each split.
        negatives: how many pairs without a link.
        message_edges: edges that messages pass along.
        directed: the two directions of a link are two links.
        protocol: which links messages pass along, in words.
    """

    links: LinkCounts
    negatives: Negatives
    message_edges: int = 0
    directed: bool
    protocol: str


class Task(msgspec.Struct, frozen=True, kw_only=True):
    """What the model was trained for (`edgegnn.tasks.TaskSpec`).

    Attributes:
        data: name of the data set, or path of the data file.
        kind: "node", "graph" or "link": what gets a label.
        split: name of the split.
        seed: of the split.
        metric: what the model is judged by.
        num_features: columns of x.
        num_classes: columns of the output.
        features: constants of a feature transform; {} where there is none.
        target: "classes", "labels", "values", or "none": there are no labels.
        scale: of values, mean and standard deviation of each column in the training split.
        inputs: what the user said of the model's inputs: name -> what it belongs to, or where it is read from.
        of: the type of nodes that gets a label, of graphs with several types.
        transforms: what the user named that prepares each graph of the data, in order.
        link_split: of a link task, how its links were split.
    """

    data: str
    kind: str
    split: str
    seed: int = 0
    metric: str = ""
    num_features: int = 0
    num_classes: int = 0
    features: dict[str, Any] = {}
    target: str = "classes"
    scale: dict[str, Any] = {}
    inputs: dict[str, str] | UnsetType = UNSET
    of: str | UnsetType = UNSET
    transforms: list[str] | UnsetType = UNSET
    link_split: LinkSplit | UnsetType = UNSET


class Sample(msgspec.Struct, frozen=True, kw_only=True):
    """A graph in samples.npz.

    Attributes:
        name: "test/17", "isolated+duplicate".
        origin: "data", or "synthetic" for an awkward shape.
        num_nodes: its nodes.
        num_edges: its edges.
    """

    name: str
    origin: str
    num_nodes: int
    num_edges: int


class SamplesTaken(msgspec.Struct, frozen=True, kw_only=True):
    """What of the test split samples.npz holds.

    Attributes:
        unit: "graphs", "nodes" or "pairs": what is counted.
        number: how many there are in samples.npz.
        of: how many there are in the test split.
        cut: the graph is a part of the one in the data.
        hops: how many hops around the nodes of a part give the answers of the whole graph; None where none do.
    """

    unit: str
    number: int
    of: int
    cut: bool
    hops: int | None


class GraphSizes(msgspec.Struct, frozen=True, kw_only=True):
    """The largest sizes of the graphs that were trained or calibrated on.

    Attributes:
        nodes: of one graph.
        degree: edges that end in one node, or begin there.
        values: name of a float input -> its largest magnitude.
    """

    nodes: int
    degree: int
    values: dict[str, float]


class PreprocessingStep(msgspec.Struct, frozen=True, kw_only=True):
    """What is done with a graph of the data before the model can take it (`edgegnn.runtime.preparing`).

    Attributes:
        kind: "degree" (x is the z-score of the in-degree), "row-normalise", "one-hot", "random-walk" or "laplacian".
        input: which input it makes.
        mean: of "degree", the mean that is subtracted.
        std: of "degree", the deviation that is divided by.
        sizes: of "one-hot", how many categories each column has.
        size: of "random-walk" and "laplacian", how many columns they make.
    """

    kind: str
    input: str = "x"
    mean: float | UnsetType = UNSET
    std: float | UnsetType = UNSET
    sizes: list[int] | UnsetType = UNSET
    size: int | UnsetType = UNSET


class Preprocessing(msgspec.Struct, frozen=True, kw_only=True):
    """What lies between the features of the data and the model.

    Attributes:
        inside: what the model's file does itself with the features that it takes, in words.
        before: what has to be done before; edgegnn's runtime does it.
        outside: what whoever calls the model has to do before, in words.
    """

    inside: list[str] = []
    before: list[PreprocessingStep] = []
    outside: list[str] = []
