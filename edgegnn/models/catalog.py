"""The zoo's models: one record each, with the kinds of tasks it has a form for. Nothing here imports torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from edgegnn.errors import UsageError
from edgegnn.tasks.catalog import KINDS, TASKS, closest

__all__ = ["COUNTS", "MODELS", "Form", "ZooModel", "check_model", "defaults", "find", "names", "only_task"]


@dataclass(frozen=True)
class Form:
    """A model's form for one kind of task: the sizes that it has where none are given.

    Attributes:
        hidden: width of a hidden layer; of one head where there are several.
        layers: convolutions.
        dropout: probability of dropping a feature.
        heads: attention heads.
        pool_ratio: share of the nodes that each pool keeps; None for a model without pools.
        fit: fields of `FitConfig` that suit it better than the ones of its kind of task.
    """

    hidden: int
    layers: int
    dropout: float
    heads: int = 1
    pool_ratio: float | None = None
    fit: Mapping[str, Any] = field(default_factory=dict)

    @property
    def sizes(self) -> dict[str, Any]:
        """The hyperparameters by name, `pool_ratio` only where there is one."""
        sizes = {"hidden": self.hidden, "layers": self.layers, "heads": self.heads, "dropout": self.dropout}
        return sizes if self.pool_ratio is None else {**sizes, "pool_ratio": self.pool_ratio}


@dataclass(frozen=True)
class ZooModel:
    """A model of the zoo.

    Attributes:
        name: what the command line calls it.
        title: its name in words, and its paper.
        builder: "module:function" of the function that builds it, from the number of node features, the number of
            outputs, a `Form`, and "node" or "graph".
        forms: kind of task -> its form; a form for "link" tasks is an encoder, whose width is the tasks' own.
        with_heads: whether it has attention heads.
        with_attributes: whether it is trained with node attributes where a data set has them and nothing is said.
    """

    name: str
    title: str
    builder: str
    forms: Mapping[str, Form]
    with_heads: bool = False
    with_attributes: bool = False


# Sizes and rates were chosen on validation data only. Dropout of the node models is high because Cora's 140 labels are
# soon known by heart.
_ALL = (
    ZooModel(
        "gcn",
        "graph convolutional network (Kipf and Welling 2017)",
        "edgegnn.models.stacks:gcn",
        {"node": Form(128, 2, 0.8), "graph": Form(64, 4, 0.5), "link": Form(128, 2, 0.5)},
    ),
    ZooModel(
        "gat",
        "graph attention network (Velickovic et al. 2018)",
        "edgegnn.models.stacks:gat",
        {
            "node": Form(8, 2, 0.6, heads=8, fit={"lr": 0.005, "epochs": 300}),  # the paper's rate
            "graph": Form(16, 4, 0.5, heads=4),
            "link": Form(16, 2, 0.5, heads=8),
        },
        with_heads=True,
    ),
    ZooModel(
        "gin",
        "graph isomorphism network (Xu et al. 2019)",
        "edgegnn.models.stacks:gin",
        {
            "node": Form(64, 2, 0.7, fit={"epochs": 100}),  # its validation loss is lowest before epoch 40
            "graph": Form(64, 5, 0.5),
            "link": Form(64, 2, 0.5),
        },
    ),
    ZooModel(
        "sage",
        "GraphSAGE (Hamilton et al. 2017)",
        "edgegnn.models.stacks:sage",
        {"node": Form(128, 2, 0.8), "graph": Form(64, 4, 0.5), "link": Form(128, 2, 0.5)},
    ),
    ZooModel(
        "spline",
        "SplineCNN (Fey et al. 2018)",
        "edgegnn.models.spline:spline",
        {"node": Form(16, 2, 0.5, fit={"weight_decay": 5e-3}), "link": Form(32, 2, 0.5)},  # of PyG's example for Cora
    ),
    ZooModel(
        "transformer",
        "graph transformer (Shi et al. 2021)",
        "edgegnn.models.transformer:transformer",
        {
            "node": Form(8, 2, 0.8, heads=8, fit={"lr": 0.001, "weight_decay": 0.1}),
            "graph": Form(8, 2, 0.5, heads=8, fit={"lr": 0.001, "epochs": 100}),
            "link": Form(8, 2, 0.5, heads=8),
        },
        with_heads=True,
    ),
    ZooModel(
        "hgpsl",
        "hierarchical graph pooling with structure learning (Zhang et al. 2019)",
        "edgegnn.models.hgpsl:hgpsl",
        {
            # The sizes and the rates of the paper; smaller batches than its 512, and so fewer than its 1,000 epochs.
            "graph": Form(
                128,
                3,
                0.0,
                pool_ratio=0.5,
                fit={"lr": 0.001, "weight_decay": 0.001, "batch_size": 64, "patience": 40, "halve_lr_every": None},
            )
        },
        with_attributes=True,
    ),
    ZooModel(
        "ness",
        "node embeddings from static subgraphs (Ucar 2023)",
        "edgegnn.models.ness:ness",
        {"link": Form(32, 1, 0.5, fit={"epochs": 500})},
    ),
)
MODELS = {model.name: model for model in _ALL}
# Arguments that count layers and the like, or that others are raised to the power of; the rest are widths.
COUNTS = frozenset(["layers", "heads", "subgraphs", "dim", "degree", "kernel_size"])


def names() -> list[str]:
    """Return the names of the models in the zoo."""
    return sorted(MODELS)


def find(name: str) -> ZooModel:
    """Return the record of a model.

    Raises:
        UsageError: unknown model.
    """
    if name not in MODELS:
        raise UsageError(f"unknown model {name[:80]!r}{closest(name, names())}: choose one of {', '.join(names())}")
    return MODELS[name]


def defaults(name: str, kind: str) -> dict[str, Any]:
    """Return the hyperparameters `build` uses where none are given: hidden, layers, heads, dropout (and pool_ratio).

    Raises:
        UsageError: unknown model or kind.
    """
    return check_model(name, kind).forms[kind].sizes


def check_model(name: str, kind: str | None = None) -> ZooModel:
    """Return a model's record; refuse an unknown model, or one that has no form for a kind of task.

    Raises:
        UsageError: unknown model, unknown kind, or no such form.
    """
    if kind is not None and kind not in KINDS:
        raise UsageError(f"unknown kind of task {kind!r}: use {', '.join(KINDS)}")
    model = find(name)
    if kind is not None and kind not in model.forms:
        able = ", ".join(n for n in names() if kind in MODELS[n].forms)
        cure = f"choose one of {able}" if able else "no model of the zoo has; give your own with --factory"
        raise UsageError(f"{name} has no form for {kind} tasks: {cure}")
    return model


def only_task(name: str) -> str | None:
    """Return the task of a model that has only one ("link-prediction" of ness); None where the data decide.

    Raises:
        UsageError: unknown model.
    """
    forms = find(name).forms
    able = [task for task, (kind, _) in TASKS.items() if kind in forms]
    return able[0] if len(able) == 1 else None
