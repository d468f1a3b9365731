"""Models of the zoo, built by name.

Every one is an ordinary `nn.Module` around PyG layers: nothing outside this package knows its class.
"""

from __future__ import annotations

import dataclasses
import importlib
from typing import Any

from torch import nn

from edgegnn.errors import UsageError
from edgegnn.models.catalog import MODELS, Form, check_model
from edgegnn.models.scaled import Scaled
from edgegnn.tasks.pair_models import as_pair_model

__all__ = ["build"]


def build(
    name: str,
    *,
    in_channels: int,
    out_channels: int,
    hidden: int | None = None,
    layers: int | None = None,
    heads: int | None = None,
    dropout: float | None = None,
    pool_ratio: float | None = None,
    scale: dict[str, list[float]] | None = None,
    kind: str = "node",
) -> nn.Module:
    """Build a model of the zoo.

    Args:
        name: "gcn", "gat", "gin", "sage", "spline" (node tasks only), "transformer", "hgpsl" (graph tasks only) or
            "ness" (link tasks only).
        in_channels: node features.
        out_channels: classes, or the width of an embedding of a link task.
        hidden: width of a hidden layer (of one head for GAT and the transformer). None: `defaults(name, kind)`, as for
            the next three.
        layers: number of convolutions, at least 1.
        heads: attention heads of GAT's hidden layers and of the transformer; other models have none and accept only 1.
        dropout: probability in [0, 1).
        scale: "mean" and "std" of each value that a regression predicts; the outputs are in their units.
        pool_ratio: share of the nodes that each pool of "hgpsl" keeps, in (0, 1]; other models have none.
        kind: "node" (forward takes x, edge_index), "graph" (x, edge_index, batch) or "link" (x, edge_index,
            edge_label_index; `edgegnn.tasks.pair_models`).

    Raises:
        UsageError: unknown name or kind, or a hyperparameter out of range.
    """
    model = check_model(name, kind)
    sizes: dict[str, Any] = {
        "hidden": hidden,
        "layers": layers,
        "heads": heads,
        "dropout": dropout,
        "pool_ratio": pool_ratio,
    }
    form = dataclasses.replace(model.forms[kind], **{k: v for k, v in sizes.items() if v is not None})
    _check({"in_channels": in_channels, "out_channels": out_channels}, form)
    if not model.with_heads and form.heads != 1:
        able = " or ".join(m.name for m in MODELS.values() if m.with_heads)
        raise UsageError(f"{name} has no attention heads: leave out --heads, or choose {able}")
    if pool_ratio is not None and model.forms[kind].pool_ratio is None:
        able = " or ".join(m.name for m in MODELS.values() if any(f.pool_ratio is not None for f in m.forms.values()))
        raise UsageError(f"{name} has no pools: leave out --pool-ratio, or choose {able}")
    module, _, function = model.builder.partition(":")
    make: Any = getattr(importlib.import_module(module), function)
    built: nn.Module = make(in_channels, out_channels, form, "node" if kind == "link" else kind)
    if kind == "link":
        built = as_pair_model(built)
    return built if scale is None else Scaled(built, scale["mean"], scale["std"])


def _check(channels: dict[str, Any], form: Form) -> None:
    for key, value in {**channels, "hidden": form.hidden, "layers": form.layers, "heads": form.heads}.items():
        if not isinstance(value, int) or value < 1:
            raise UsageError(f"{key} must be a whole number of at least 1, not {value!r}")
    if not 0 <= form.dropout < 1:
        raise UsageError(f"dropout must be at least 0 and below 1, not {form.dropout!r}")
