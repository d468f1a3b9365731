"""The zoo's models by name: the kinds of tasks each has a form for, and its defaults. Nothing here imports torch."""

from __future__ import annotations

from typing import Any

from edgegnn.errors import UsageError
from edgegnn.tasks.catalog import KINDS, TASKS, closest

__all__ = [
    "COUNTS",
    "DEFAULTS",
    "WITH_HEADS",
    "check_model",
    "defaults",
    "kinds_of",
    "names",
    "only_task",
    "takes_attributes",
]

# Chosen on validation data only. Dropout of the node models is high because Cora's 140 labels are soon known by heart.
DEFAULTS: dict[tuple[str, str], dict[str, Any]] = {
    ("gcn", "node"): {"hidden": 128, "layers": 2, "heads": 1, "dropout": 0.8},
    ("gat", "node"): {"hidden": 8, "layers": 2, "heads": 8, "dropout": 0.6},
    ("gin", "node"): {"hidden": 64, "layers": 2, "heads": 1, "dropout": 0.7},
    ("sage", "node"): {"hidden": 128, "layers": 2, "heads": 1, "dropout": 0.8},
    ("spline", "node"): {"hidden": 16, "layers": 2, "heads": 1, "dropout": 0.5},
    ("transformer", "node"): {"hidden": 8, "layers": 2, "heads": 8, "dropout": 0.8},
    ("gcn", "graph"): {"hidden": 64, "layers": 4, "heads": 1, "dropout": 0.5},
    ("gat", "graph"): {"hidden": 16, "layers": 4, "heads": 4, "dropout": 0.5},
    ("gin", "graph"): {"hidden": 64, "layers": 5, "heads": 1, "dropout": 0.5},
    ("sage", "graph"): {"hidden": 64, "layers": 4, "heads": 1, "dropout": 0.5},
    ("transformer", "graph"): {"hidden": 8, "layers": 2, "heads": 8, "dropout": 0.5},
    ("hgpsl", "graph"): {"hidden": 128, "layers": 3, "heads": 1, "dropout": 0.0, "pool_ratio": 0.5},  # as published
    # Link tasks: encoders, whose width is the tasks' own.
    ("gcn", "link"): {"hidden": 128, "layers": 2, "heads": 1, "dropout": 0.5},
    ("gat", "link"): {"hidden": 16, "layers": 2, "heads": 8, "dropout": 0.5},
    ("gin", "link"): {"hidden": 64, "layers": 2, "heads": 1, "dropout": 0.5},
    ("sage", "link"): {"hidden": 128, "layers": 2, "heads": 1, "dropout": 0.5},
    ("spline", "link"): {"hidden": 32, "layers": 2, "heads": 1, "dropout": 0.5},
    ("transformer", "link"): {"hidden": 8, "layers": 2, "heads": 8, "dropout": 0.5},
    ("ness", "link"): {"hidden": 32, "layers": 1, "heads": 1, "dropout": 0.5},
}
# Arguments that count layers and the like, or that others are raised to the power of; the rest are widths.
COUNTS = frozenset(["layers", "heads", "subgraphs", "dim", "degree", "kernel_size"])
WITH_HEADS = ("gat", "transformer")
_WITH_ATTRIBUTES = ("hgpsl",)  # as published


def names() -> list[str]:
    """Return the names of the models in the zoo."""
    return sorted({name for name, _ in DEFAULTS})


def takes_attributes(name: str) -> bool:
    """Return whether a model is trained with node attributes where a data set has them and nothing else is said."""
    return name in _WITH_ATTRIBUTES


def defaults(name: str, kind: str) -> dict[str, Any]:
    """Return the hyperparameters `build` uses where none are given: hidden, layers, heads, dropout (and pool_ratio).

    Raises:
        UsageError: unknown model or kind.
    """
    check_model(name, kind)
    return dict(DEFAULTS[name, kind])


def kinds_of(name: str) -> tuple[str, ...]:
    """Return the kinds of tasks that a model has a form for: "node", "graph", "link".

    Raises:
        UsageError: unknown model.
    """
    if name not in names():
        raise UsageError(f"unknown model {name[:80]!r}{closest(name, names())}: choose one of {', '.join(names())}")
    return tuple(kind for kind in KINDS if (name, kind) in DEFAULTS)


def check_model(name: str, kind: str | None = None) -> None:
    """Refuse an unknown model, or one that has no form for a kind of task.

    Raises:
        UsageError: unknown model, unknown kind, or no such form.
    """
    if kind is not None and kind not in KINDS:
        raise UsageError(f"unknown kind of task {kind!r}: use {', '.join(KINDS)}")
    if kind is not None and kind not in kinds_of(name):
        able = ", ".join(n for n in names() if (n, kind) in DEFAULTS)
        cure = f"choose one of {able}" if able else "no model of the zoo has; give your own with --factory"
        raise UsageError(f"{name} has no form for {kind} tasks: {cure}")
    kinds_of(name)


def only_task(name: str) -> str | None:
    """Return the task of a model that has only one ("link-prediction" of ness); None where the data decide.

    Raises:
        UsageError: unknown model.
    """
    able = [task for task, (kind, _) in TASKS.items() if kind in kinds_of(name)]
    return able[0] if len(able) == 1 else None
