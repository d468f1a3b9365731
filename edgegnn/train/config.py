"""How to train, and the settings that suit each model and kind of task."""

from __future__ import annotations

import dataclasses
from typing import Any

from edgegnn.errors import UsageError

__all__ = ["FitConfig", "fit_defaults"]


@dataclasses.dataclass(frozen=True)
class FitConfig:
    """How to train.

    Attributes:
        epochs: at most this many passes over the training data.
        lr: Adam's learning rate.
        weight_decay: L2 penalty of Adam.
        batch_size: graphs in a batch; a node task is one batch.
        seed: of dropout and of the order of graphs.
        halve_lr_every: halve the learning rate after every so many epochs; None: keep it.
        patience: stop after so many epochs without a lower validation loss; None: train all epochs.

    Raises:
        UsageError: a value out of range.
    """

    epochs: int = 200
    lr: float = 0.01
    weight_decay: float = 5e-4
    batch_size: int = 128
    seed: int = 0
    halve_lr_every: int | None = None
    patience: int | None = None

    def __post_init__(self) -> None:
        for key in ("epochs", "batch_size", "halve_lr_every", "patience"):
            value = getattr(self, key)
            if value is not None and value < 1:
                raise UsageError(f"{key} must be at least 1, not {value}")
        if not 0 < self.lr < float("inf"):
            raise UsageError(f"lr must be above 0, not {self.lr}")
        if not 0 <= self.weight_decay < float("inf"):
            raise UsageError(f"weight_decay must be 0 or more, not {self.weight_decay}")
        if self.seed < 0:
            raise UsageError(f"seed must be 0 or more, not {self.seed}")


# Chosen on validation data only. Graph tasks: the Degree-Quant recipe (papers: 2008.05000's REDDIT-BINARY scripts).
_NODE = FitConfig(epochs=200, lr=0.01, weight_decay=5e-4)
_GRAPH = FitConfig(epochs=200, lr=0.005, weight_decay=2e-4, batch_size=128, halve_lr_every=50)
_OF_MODEL = {
    ("gat", "node"): dataclasses.replace(_NODE, lr=0.005, epochs=300),  # the rate of Velickovic et al. 2018
    ("gin", "node"): dataclasses.replace(_NODE, epochs=100),  # its validation loss is lowest before epoch 40
}
_OF_DATA = {
    "digits": dataclasses.replace(_GRAPH, epochs=30, lr=0.01, batch_size=64, halve_lr_every=8),
    "digits-knn": dataclasses.replace(_NODE, epochs=100),
}


def fit_defaults(kind: str, *, model: str | None = None, data: str | None = None, **changes: Any) -> FitConfig:
    """Return the training settings that suit a task.

    Args:
        kind: "node" or "graph".
        model: a name of the zoo, where known.
        data: the task's `spec.data`, where known.
        changes: fields of `FitConfig`; None values are ignored.

    Raises:
        UsageError: a value out of range.
    """
    base = _OF_DATA.get(data or "") or _OF_MODEL.get((model or "", kind)) or (_NODE if kind == "node" else _GRAPH)
    return dataclasses.replace(base, **{k: v for k, v in changes.items() if v is not None})
