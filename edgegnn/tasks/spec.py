"""The description of a task, and the task itself with its data."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

from torch import Tensor
from torch_geometric.data import Data

from edgegnn.errors import CheckpointError

__all__ = ["Task", "TaskSpec"]

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


@dataclasses.dataclass(frozen=True)
class TaskSpec:
    """What a model was trained for, in plain JSON-able values, so that the same task can be loaded again.

    Attributes:
        data: name of a data set ("cora", "tu:ENZYMES", "molnet:BBBP", "digits"), or the path of a data file.
        kind: "node" or "graph": what gets a label.
        split: "public", "full" (a citation graph's: 500 nodes drawn for validation, 500 for test, all others train),
            "stratified", "scaffold", "random", "fold:K", or "given" (masks of a user's file).
        seed: seed of the split.
        metric: "accuracy" or "roc_auc".
        num_features: node features.
        num_classes: classes.
        features: constants of a feature transform computed on the training graphs, {} when there is none.
    """

    data: str
    kind: str
    split: str
    seed: int
    metric: str
    num_features: int
    num_classes: int
    features: dict[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as a new dictionary of JSON-able values."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> TaskSpec:
        """Rebuild a spec from `to_dict`'s result.

        Raises:
            CheckpointError: unknown or missing keys, or a value of the wrong type.
        """
        if not isinstance(values, dict):
            raise CheckpointError("the task description is not a dictionary: the file was not written by edgegnn")
        missing = sorted(_TYPES.keys() - values.keys())
        unknown = sorted(map(str, values.keys() - _TYPES.keys()))
        if missing or unknown:
            parts = [f"lacks {', '.join(missing)}"] * bool(missing) + [f"has unknown {', '.join(unknown)}"] * bool(
                unknown
            )
            raise CheckpointError(f"the task description {' and '.join(parts)}: write the file again with this edgegnn")
        for key, kind in _TYPES.items():
            if not isinstance(values[key], kind) or isinstance(values[key], bool):
                raise CheckpointError(
                    f"the task description's {key} is {values[key]!r}: write the file again with this edgegnn"
                )
        if values["kind"] not in ("node", "graph"):
            raise CheckpointError(f"the task is of kind {values['kind']!r}: this edgegnn knows node and graph tasks")
        constants = values["features"]
        if constants and not _is_degree(constants):
            raise CheckpointError(
                "the task's feature transform is unknown: the file needs a newer edgegnn, or is damaged"
            )
        return cls(**values)


def _is_degree(constants: dict[str, Any]) -> bool:
    numbers = [constants.get("mean"), constants.get("std")]
    good = all(isinstance(n, (int, float)) and math.isfinite(n) for n in numbers)
    return constants.get("kind") == "degree" and good and float(numbers[1] or 0) > 0


@dataclasses.dataclass(frozen=True)
class Task:
    """A task with its data.

    Attributes:
        spec: its description.
        graphs: the graphs; exactly one for a node task.
        index: "train", "val" and "test" -> int64 indices of nodes (node task) or graphs (graph task).
    """

    spec: TaskSpec
    graphs: list[Data]
    index: dict[str, Tensor]
