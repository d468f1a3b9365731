"""How to train, and the settings that suit each model and kind of task."""

from __future__ import annotations

import dataclasses
from typing import Any

from edgegnn.errors import UsageError
from edgegnn.models.catalog import MODELS

__all__ = [
    "EARLY_STOPS",
    "RELATIVE_TAU",
    "STATISTICS",
    "FitConfig",
    "check_settings",
    "fit_defaults",
    "parse_early_stop",
]

EARLY_STOPS = ("patience", "grades")
STATISTICS = ("relative", "gradient", "weight")  # what GradES watches: `edgegnn.training.grades`
# A level moves by 20 to 80 % while a model begins to learn, later by 1 to 10 % (GCN and transformer on Cora, GIN on
# PROTEINS and digits). From then on it is mostly alpha that says when a matrix is frozen.
RELATIVE_TAU = 0.1
_PATIENCE = 20  # epochs, where early stopping is asked for without a number


@dataclasses.dataclass(frozen=True)
class FitConfig:
    """How to train.

    Attributes:
        epochs: at most this many passes over the training data.
        lr: Adam's learning rate.
        weight_decay: L2 penalty of Adam.
        batch_size: graphs in a batch; a node task is one batch.
        seed: of dropout and of the order of graphs.
        halve_lr_every: halve the learning rate after this many epochs (except for parameter groups with
            "constant_lr"); None: keep it.
        patience: stop after this many epochs without a lower validation loss; None: train all epochs.
        distill: share of the loss that compares with a teacher's outputs instead of the labels, where `fit` is given
            one; in [0, 1].
        early_stop: "patience" (20 epochs where `patience` is None), "grades" (freeze each matrix when its gradient has
            stopped changing: `edgegnn.training.grades`), or None.
        grades_tau: freeze a matrix when its statistic falls below; None for the default of "relative". The others have
            none: their size depends on model, data and loss.
        grades_alpha: share of the planned steps before anything is frozen, in [0, 1).
        grades_statistic: "relative", "gradient" or "weight".

    Raises:
        UsageError: a value out of range, or both ways to stop.
    """

    epochs: int = 200
    lr: float = 0.01
    weight_decay: float = 5e-4
    batch_size: int = 128
    seed: int = 0
    halve_lr_every: int | None = None
    patience: int | None = None
    distill: float = 0.0
    early_stop: str | None = None
    grades_tau: float | None = None
    grades_alpha: float = 0.5
    grades_statistic: str = "relative"

    def __post_init__(self) -> None:
        self._check_early_stop()
        for key in ("epochs", "batch_size", "halve_lr_every", "patience"):
            value = getattr(self, key)
            if value is not None and value < 1:
                raise UsageError(f"{key} must be at least 1, not {value}")
        if not 0 < self.lr < float("inf"):
            raise UsageError(f"lr must be above 0, not {self.lr}")
        if not 0 <= self.weight_decay < float("inf"):
            raise UsageError(f"weight_decay must be 0 or more, not {self.weight_decay}")
        if not 0 <= self.distill <= 1:
            raise UsageError(f"distill must lie in [0, 1], not {self.distill}")
        if self.seed < 0:
            raise UsageError(f"seed must be 0 or more, not {self.seed}")

    def _check_early_stop(self) -> None:
        if self.early_stop not in (None, *EARLY_STOPS):
            raise UsageError(f"unknown early stopping {self.early_stop!r}: use {' or '.join(EARLY_STOPS)}")
        if self.early_stop == "grades" and self.patience is not None:
            raise UsageError("patience and grades both say when training ends: leave one of them out")
        if self.early_stop == "patience" and self.patience is None:
            object.__setattr__(self, "patience", _PATIENCE)
        if self.grades_statistic not in STATISTICS:
            raise UsageError(f"unknown statistic {self.grades_statistic!r} of grades: use {', '.join(STATISTICS)}")
        if self.grades_tau is None and self.grades_statistic != "relative":
            raise UsageError(
                f"{self.grades_statistic} needs a tau: grades:statistic={self.grades_statistic},tau=1e-4, say"
            )
        if self.grades_tau is not None and not 0 < self.grades_tau < float("inf"):
            raise UsageError(f"grades_tau must be above 0, not {self.grades_tau}")
        if not 0 <= self.grades_alpha < 1:
            raise UsageError(f"grades_alpha must be at least 0 and below 1, not {self.grades_alpha}")

    @property
    def tau(self) -> float:
        """The threshold of GradES that holds."""
        return RELATIVE_TAU if self.grades_tau is None else self.grades_tau


# Chosen on validation data only. Graph tasks: the Degree-Quant recipe (papers: 2008.05000's REDDIT-BINARY scripts).
_NODE = FitConfig(epochs=200, lr=0.01, weight_decay=5e-4)
_GRAPH = FitConfig(epochs=200, lr=0.005, weight_decay=2e-4, batch_size=128, halve_lr_every=50)
_LINK = FitConfig(epochs=300, lr=0.01, weight_decay=0.0)
_OF_DATA = {
    "digits": dataclasses.replace(_GRAPH, epochs=30, lr=0.01, batch_size=64, halve_lr_every=8),
    "digits-knn": dataclasses.replace(_NODE, epochs=100),
}


def fit_defaults(kind: str, *, model: str | None = None, data: str | None = None, **changes: Any) -> FitConfig:
    """Return the training settings that suit a task.

    Args:
        kind: "node", "edge", "graph" or "link".
        model: a name of the zoo, where known.
        data: the task's `spec.data`, where known.
        changes: fields of `FitConfig`; None values are ignored.

    Raises:
        UsageError: a value out of range.
    """
    of_kind = {"node": _NODE, "edge": _NODE, "graph": _GRAPH, "link": _LINK}[kind]
    form = MODELS[model].forms.get(kind) if model in MODELS else None
    of_model = dataclasses.replace(of_kind, **form.fit) if form else of_kind
    base = of_model if kind == "link" else _OF_DATA.get(data or "", of_model)
    return dataclasses.replace(base, **{k: v for k, v in changes.items() if v is not None})


def check_settings(settings: dict[str, Any] | None) -> None:
    """Refuse settings that no training can have; None values are ignored.

    Raises:
        UsageError: a value out of range, or two that exclude each other.
    """
    FitConfig(**{key: value for key, value in (settings or {}).items() if value is not None})


def parse_early_stop(text: str) -> dict[str, Any]:
    """Return the fields of `FitConfig` for "patience", "grades" or "grades:tau=0.1,alpha=0.5,statistic=relative".

    Raises:
        UsageError: anything else.
    """
    kind, colon, rest = text.partition(":")
    settings: dict[str, Any] = {"early_stop": kind}
    for part in rest.split(",") if colon else []:
        key, _, value = part.partition("=")
        if kind != "grades" or key not in ("tau", "alpha", "statistic"):
            raise UsageError(
                f"can't read {part!r} in --early-stop {text}: it may be patience, grades, or "
                "grades:tau=...,alpha=...,statistic=..."
            )
        try:
            settings[f"grades_{key}"] = value if key == "statistic" else float(value)
        except ValueError:
            raise UsageError(f"{key} in --early-stop {text} must be a number") from None
    FitConfig(**settings)  # a value out of range is an error now, not when training starts
    return settings
