"""The description of a task, and the task itself with its data."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

from torch import Tensor
from torch_geometric.data import Data

import edgegnn.utils.pyg_sources  # noqa: F401 - before PyG's convolutions
from edgegnn.errors import CheckpointError
from edgegnn.runtime.metrics import TARGETS
from edgegnn.runtime.roles import ROWS, Role, typed_size
from edgegnn.signature import Outputs, remember_items, roles_of
from edgegnn.signature.items import ANSWERED_AS_ONE
from edgegnn.signature.names import LABELS
from edgegnn.tasks.catalog import KINDS

__all__ = ["Head", "Task", "TaskSpec"]

_TYPES: dict[str, type | tuple[type, ...]] = {
    "data": str,
    "kind": str,
    "split": str,
    "seed": int,
    "metric": str,
    "num_features": int,
    "num_classes": int,
    "features": dict,
}
# What files from before there was more than one target don't have.
_LATER: dict[str, Any] = {"target": "classes", "scale": {}, "inputs": {}, "of": "", "transforms": []}
_SHORT = ("inputs", "of", "transforms")  # left out where they are empty


@dataclasses.dataclass(frozen=True)
class TaskSpec:
    """What a model was trained for, in plain JSON-able values, so that the same task can be loaded again.

    Attributes:
        data: name of a data set ("cora", "tu:ENZYMES", "molnet:BBBP", "digits"), or the path of a data file.
        kind: "node", "edge", "graph" or "link": what gets a label.
        split: "public", "full" (a citation graph's: 500 nodes drawn for validation, 500 for test, all others train),
            "stratified", "scaffold", "random", "fold:K", "given" (attributes of a user's data), "file:PATH" (a file
            with the split), or "random:VAL,TEST" (shares of the links of a link task).
        seed: seed of the split.
        metric: what the model is judged by, one of those in `edgegnn.runtime.metrics.TARGETS[target]`; "" without
            labels.
        num_features: node features.
        num_classes: columns of the output: classes, labels or values; 0 without labels.
        features: constants of a feature transform computed on the training graphs, {} when there is none.
        target: "classes" (one of several), "labels" (several yes/no labels, some perhaps unknown), "values", or "none":
            there are no labels.
        scale: of "values": "mean" and "std" of each column over the training split, in the units of the data.
        inputs: what the user said of the model's inputs: name -> role, or the attribute that it is read from.
        of: of graphs with several types of nodes, the type that gets a label; "" where they have one.
        transforms: what the user named that prepares each graph (`edgegnn.tasks.user_transforms`), in order.
    """

    data: str
    kind: str
    split: str
    seed: int
    metric: str
    num_features: int
    num_classes: int
    features: dict[str, Any]
    target: str = "classes"
    scale: dict[str, Any] = dataclasses.field(default_factory=dict)
    inputs: dict[str, str] = dataclasses.field(default_factory=dict)
    of: str = ""
    transforms: list[str] = dataclasses.field(default_factory=list)

    @property
    def rows(self) -> str:
        """The name of the size that outputs have as rows: "num_nodes", of one type "num_nodes.paper"."""
        return typed_size(ROWS[self.kind], self.of) if self.of else ROWS[self.kind]

    @property
    def name(self) -> str:
        """The kind of task in a word: "node", "graph", "link", "graph-multilabel" or "graph-regression"."""
        return self.kind + {"labels": "-multilabel", "values": "-regression"}.get(self.target, "")

    @property
    def labelled(self) -> bool:
        """Whether there are labels to train with and to judge by."""
        return bool(TARGETS[self.target])

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as a new dictionary of JSON-able values, without those of `_SHORT` that are empty."""
        values = dataclasses.asdict(self)
        return {k: v for k, v in values.items() if v or k not in _SHORT}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> TaskSpec:
        """Rebuild a spec from `to_dict`'s result.

        Raises:
            CheckpointError: unknown or missing keys, or a value of the wrong type.
        """
        if not isinstance(values, dict):
            raise CheckpointError("the task description is not a dictionary: the file was not written by edgegnn")
        values = _LATER | values
        missing = sorted(_TYPES.keys() - values.keys())
        unknown = sorted(map(str, values.keys() - _TYPES.keys() - _LATER.keys()))
        if missing or unknown:
            parts = [f"lacks {', '.join(missing)}"] * bool(missing) + [f"has unknown {', '.join(unknown)}"] * bool(
                unknown
            )
            raise CheckpointError(f"the task description {' and '.join(parts)}: write the file again with this edgegnn")
        for key, kind in (_TYPES | {key: type(value) for key, value in _LATER.items()}).items():
            if not isinstance(values[key], kind) or isinstance(values[key], bool):
                raise CheckpointError(
                    f"the task description's {key} is {values[key]!r}: write the file again with this edgegnn"
                )
        if values["kind"] not in KINDS:
            known = ", ".join(KINDS)
            raise CheckpointError(f"the task is of kind {values['kind']!r}: this edgegnn knows {known} tasks")
        if values["target"] not in TARGETS or not _is_scale(values):
            raise CheckpointError(f"the task's target {values['target']!r} is unknown or damaged: use a newer edgegnn")
        if not all(isinstance(text, str) for pair in values["inputs"].items() for text in pair):
            raise CheckpointError("the task's inputs are damaged: write the file again with this edgegnn")
        if not all(isinstance(text, str) for text in values["transforms"]):
            raise CheckpointError("the task's transforms are damaged: write the file again with this edgegnn")
        constants = values["features"]
        if constants and not (
            _is_degree(constants) or _is_one_hot(constants) or constants == {"kind": "row-normalise"}
        ):
            raise CheckpointError(
                "the task's feature transform is unknown: the file needs a newer edgegnn, or is damaged"
            )
        return cls(**values)


def _is_degree(constants: dict[str, Any]) -> bool:
    numbers = [constants.get("mean"), constants.get("std")]
    good = all(isinstance(n, (int, float)) and math.isfinite(n) for n in numbers)
    return constants.get("kind") == "degree" and good and float(numbers[1] or 0) > 0


def _is_one_hot(constants: dict[str, Any]) -> bool:
    sizes = constants.get("sizes")
    good = isinstance(sizes, list) and bool(sizes) and all(isinstance(n, int) and n > 0 for n in sizes)
    return constants.get("kind") == "one-hot" and good


def _is_scale(values: dict[str, Any]) -> bool:
    """Whether a task with values has a mean and a deviation for each, and another one has none."""
    if values["target"] != "values":
        return not values["scale"]
    mean, std = values["scale"].get("mean"), values["scale"].get("std")
    if not (isinstance(mean, list) and isinstance(std, list) and len(mean) == len(std) == values["num_classes"]):
        return False
    good = all(isinstance(n, (int, float)) and math.isfinite(n) for n in (*mean, *std))
    return good and all(n > 0 for n in std)


@dataclasses.dataclass(frozen=True)
class Head:
    """A further output with labels of its own (`edgegnn.tasks.heads`).

    Attributes:
        output: its name.
        attribute: of the data, which has the labels.
        target: "classes", "labels" or "values".
        metric: what it is judged by.
        columns: classes, labels or values.
        scale: of values, as of a `TaskSpec`.
        kind: what has a label each: "node", "edge" or "graph"; of one graph, what the task is about.
    """

    output: str
    attribute: str
    target: str
    metric: str
    columns: int
    scale: dict[str, Any] = dataclasses.field(default_factory=dict)
    kind: str = ""

    @property
    def key(self) -> str:
        """The attribute of the task's graphs with the labels as they are learnt."""
        return f"{LABELS}{self.output}"


@dataclasses.dataclass(frozen=True)
class Task:
    """A task with its data.

    Attributes:
        spec: its description.
        graphs: the graphs; one for a task of links.
        index: "train", "val" and "test" -> int64 indices of nodes (node task), graphs (graph task) or pairs (link task:
            columns of the graph's `edge_label_index`; "train" also has the negatives that an epoch draws from).
        facts: what records say of the split, JSON-able; {} where the spec says it all.
        whole: names of the features that the data have as whole numbers; the graphs have them as float32, exactly.
        caveat: what has to be said beside a metric of these splits; "" for nothing.
        roles: name of each attribute that a model can take -> what it belongs to; {} to read it from the graphs.
        outputs: what the model gives; None: one matrix.
        states: of a recurrent model, name of an input -> name of the output that feeds it at the next call.
        steps: graphs of consecutive times, each with the state that the model left before; () without a state.
        raw: the graphs as the data have them, where transforms of the user's made `graphs` of them; else ().
        inside: the user's transforms that the model does itself.
        heads: further outputs that have labels.
    """

    spec: TaskSpec
    graphs: list[Data]
    index: dict[str, Tensor]
    facts: dict[str, Any] = dataclasses.field(default_factory=dict)
    whole: tuple[str, ...] = ()
    caveat: str = ""
    roles: dict[str, Role] = dataclasses.field(default_factory=dict)
    outputs: Outputs | None = None
    states: dict[str, str] = dataclasses.field(default_factory=dict)
    steps: tuple[Data, ...] = ()
    raw: tuple[Data, ...] = ()
    inside: tuple[str, ...] = ()
    heads: tuple[Head, ...] = ()

    def __post_init__(self) -> None:
        if not self.roles:
            object.__setattr__(self, "roles", roles_of(self.graphs))
        remember_items(self.graphs, self.roles)
        for graph in self.graphs if self.spec.kind == "graph" else ():
            graph.__dict__[ANSWERED_AS_ONE] = True

    @property
    def many(self) -> bool:
        """Whether the parts of the split are of graphs; else of the rows of one graph: its nodes, edges or pairs."""
        return self.spec.kind == "graph" or len(self.graphs) > 1

    @property
    def gives(self) -> Outputs:
        """What the model gives."""
        return self.outputs or Outputs.one(self.spec.kind, labelled=self.spec.labelled, rows=self.spec.rows)

    @property
    def of_links(self) -> bool:
        """Whether pairs of nodes are drawn, with and without a link, and an encoder and a decoder score them."""
        return self.spec.kind == "link" and self.spec.labelled
