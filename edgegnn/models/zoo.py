"""The zoo's modules and how to build them by name.

Every entry is an ordinary `nn.Module` around PyG layers: nothing outside this package may know these classes.
"""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn
from torch_geometric.nn import GATConv, GCNConv, GINConv, SAGEConv, global_mean_pool

import edgegnn.utils.pyg_sources  # noqa: F401 - before PyG's convolutions
from edgegnn.errors import UsageError
from edgegnn.models.catalog import DEFAULTS, WITH_HEADS, check_model
from edgegnn.models.hgpsl import HGPSL
from edgegnn.models.ness import NESS
from edgegnn.models.scaled import Scaled
from edgegnn.models.spline import SplineModel
from edgegnn.models.transformer import Encoder, NodeTransformer
from edgegnn.tasks.pair_models import as_pair_model


class NodeModel(nn.Module):
    """A stack of convolutions with an activation and dropout between them: logits per node.

    Args:
        convs: the layers; the last one gives the logits.
        activation: "relu" or "elu", after every layer but the last.
        dropout: probability of dropping a feature before every layer, in training.
    """

    def __init__(self, convs: list[nn.Module], activation: str, dropout: float) -> None:
        super().__init__()
        self.convs = nn.ModuleList(convs)
        self.activation = nn.ELU() if activation == "elu" else nn.ReLU()
        self.dropout = dropout

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        """Return logits [N, C] for `x` [N, F] float32 and `edge_index` [2, E] int64."""
        last = len(self.convs) - 1
        for i, conv in enumerate(self.convs):
            x = F.dropout(x, self.dropout, self.training)
            x = conv(x, edge_index)
            if i < last:
                x = self.activation(x)
        return x


class GraphModel(nn.Module):
    """Convolutions, mean pooling over each graph, and a two-layer head: logits per graph.

    Args:
        convs: the layers.
        norms: what follows each layer (activation, batch norm); `nn.Identity` where the layer ends in its own.
        hidden: width of the last layer's output.
        out_channels: number of classes.
        dropout: probability of dropping a feature inside the head, in training.
    """

    def __init__(
        self, convs: list[nn.Module], norms: list[nn.Module], hidden: int, out_channels: int, dropout: float
    ) -> None:
        super().__init__()
        self.convs = nn.ModuleList(convs)
        self.norms = nn.ModuleList(norms)
        self.lin1 = nn.Linear(hidden, hidden)
        self.lin2 = nn.Linear(hidden, out_channels)
        self.activation = nn.ReLU()
        self.dropout = dropout

    def forward(self, x: Tensor, edge_index: Tensor, batch: Tensor) -> Tensor:
        """Return logits [G, C] for `x` [N, F], `edge_index` [2, E] and `batch` [N] int64 (the graph of each node)."""
        for conv, norm in zip(self.convs, self.norms, strict=True):
            x = norm(conv(x, edge_index))
        x = global_mean_pool(x, batch)
        x = self.activation(self.lin1(x))
        x = F.dropout(x, self.dropout, self.training)
        return self.lin2(x)


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
    check_model(name, kind)
    if scale is not None:
        sizes = {"hidden": hidden, "layers": layers, "heads": heads, "dropout": dropout, "pool_ratio": pool_ratio}
        plain = build(name, in_channels=in_channels, out_channels=out_channels, kind=kind, **sizes)  # type: ignore[arg-type]
        return Scaled(plain, scale["mean"], scale["std"])
    given = {"hidden": hidden, "layers": layers, "heads": heads, "dropout": dropout, "pool_ratio": pool_ratio}
    p = DEFAULTS[name, kind] | {k: v for k, v in given.items() if v is not None}
    for key, value in {"in_channels": in_channels, "out_channels": out_channels, **p}.items():
        if key not in ("dropout", "pool_ratio") and (not isinstance(value, int) or value < 1):
            raise UsageError(f"{key} must be a whole number of at least 1, not {value!r}")
    if not 0 <= p["dropout"] < 1:
        raise UsageError(f"dropout must be at least 0 and below 1, not {p['dropout']!r}")
    if name not in WITH_HEADS and p["heads"] != 1:
        raise UsageError(f"{name} has no attention heads: leave out --heads, or choose {' or '.join(WITH_HEADS)}")
    if pool_ratio is not None and "pool_ratio" not in DEFAULTS[name, kind]:
        able = " or ".join(sorted({n for (n, _), own in DEFAULTS.items() if "pool_ratio" in own}))
        raise UsageError(f"{name} has no pools: leave out --pool-ratio, or choose {able}")
    if name == "hgpsl":
        return HGPSL(in_channels, p["hidden"], out_channels, p["layers"], p["pool_ratio"], p["dropout"])
    if kind == "link":
        if name == "ness" and p["layers"] != 1:
            raise UsageError("ness has one layer: leave out --layers")
        if name == "ness":
            return as_pair_model(NESS(in_channels, out_channels, p["dropout"]))
        return as_pair_model(_encoder(name, in_channels, out_channels, p))
    return _encoder(name, in_channels, out_channels, p, kind)


def _encoder(name: str, in_channels: int, out_channels: int, p: dict[str, Any], kind: str = "node") -> nn.Module:
    if name == "spline":
        return SplineModel([in_channels, *[p["hidden"]] * (p["layers"] - 1), out_channels], p["dropout"])
    if name == "transformer":
        return _transformer(in_channels, out_channels, p, kind)
    if kind == "node":
        return _node_model(name, in_channels, out_channels, p)
    return _graph_model(name, in_channels, out_channels, p)


def _node_model(name: str, in_channels: int, out_channels: int, p: dict[str, Any]) -> nn.Module:
    convs: list[nn.Module] = []
    hidden, heads = p["hidden"], p["heads"]
    width = in_channels
    for i in range(p["layers"]):
        last = i == p["layers"] - 1
        out = out_channels if last else hidden
        if name == "gcn":
            convs.append(GCNConv(width, out))
        elif name == "sage":
            convs.append(SAGEConv(width, out))
        elif name == "gin":
            convs.append(
                GINConv(nn.Sequential(nn.Linear(width, hidden), nn.ReLU(), nn.Linear(hidden, out)), train_eps=True)
            )
        else:
            # The paper's attention dropout equals its feature dropout; the output layer has one head.
            convs.append(GATConv(width, out, heads=1 if last else heads, dropout=p["dropout"]))
            out = out if last else out * heads
        width = out
    return NodeModel(convs, "elu" if name == "gat" else "relu", p["dropout"])


def _graph_model(name: str, in_channels: int, out_channels: int, p: dict[str, Any]) -> nn.Module:
    convs: list[nn.Module] = []
    norms: list[nn.Module] = []
    hidden, heads = p["hidden"], p["heads"]
    width = in_channels
    for _ in range(p["layers"]):
        out = hidden * heads if name == "gat" else hidden
        if name == "gin":
            # One batch norm a layer, after the second ReLU: the 42,503 parameters of the Degree-Quant reference.
            mlp = nn.Sequential(
                nn.Linear(width, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU(), nn.BatchNorm1d(hidden)
            )
            convs.append(GINConv(mlp, train_eps=True))
            norms.append(nn.Identity())
        else:
            if name == "gcn":
                convs.append(GCNConv(width, out))
            elif name == "sage":
                convs.append(SAGEConv(width, out))
            else:
                convs.append(GATConv(width, hidden, heads=heads))
            norms.append(nn.Sequential(nn.BatchNorm1d(out), nn.ReLU()))
        width = out
    return GraphModel(convs, norms, width, out_channels, p["dropout"])


def _transformer(in_channels: int, out_channels: int, p: dict[str, Any], kind: str) -> nn.Module:
    encoder = Encoder(in_channels, p["hidden"], p["heads"], p["layers"])
    width = p["hidden"] * p["heads"]
    if kind == "node":
        return NodeTransformer(encoder, width, out_channels, p["dropout"])
    return GraphModel([encoder], [nn.Identity()], width, out_channels, p["dropout"])
