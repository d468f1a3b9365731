"""Models of one kind of convolution after the other: GCN, GAT, GIN and GraphSAGE, for nodes and for graphs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import torch.nn.functional as F
from torch import Tensor, nn
from torch_geometric.nn import GATConv, GCNConv, GINConv, SAGEConv, global_mean_pool

import edgegnn.utils.pyg_sources  # noqa: F401 - before PyG's convolutions
from edgegnn.models.catalog import Form

__all__ = ["GraphModel", "NodeModel", "gat", "gcn", "gin", "sage"]


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


def gcn(in_channels: int, out_channels: int, form: Form, kind: str) -> nn.Module:
    """Build a GCN."""
    return _plain(GCNConv, in_channels, out_channels, form, kind)


def sage(in_channels: int, out_channels: int, form: Form, kind: str) -> nn.Module:
    """Build a GraphSAGE with mean aggregation."""
    return _plain(SAGEConv, in_channels, out_channels, form, kind)


def gat(in_channels: int, out_channels: int, form: Form, kind: str) -> nn.Module:
    """Build a GAT."""
    hidden, heads = form.hidden, form.heads
    widths = [in_channels, *[hidden * heads] * form.layers]
    if kind == "node":
        # The paper's attention dropout equals its feature dropout; the output layer has one head.
        inner = [GATConv(width, hidden, heads=heads, dropout=form.dropout) for width in widths[: form.layers - 1]]
        last = GATConv(widths[form.layers - 1], out_channels, heads=1, dropout=form.dropout)
        return NodeModel([*inner, last], "elu", form.dropout)
    return _graph_model(lambda width: GATConv(width, hidden, heads=heads), _norm, widths, out_channels, form)


def gin(in_channels: int, out_channels: int, form: Form, kind: str) -> nn.Module:
    """Build a GIN."""
    hidden = form.hidden
    widths = [in_channels, *[hidden] * form.layers]
    if kind == "node":
        return _node_model(
            lambda width, out: GINConv(
                nn.Sequential(nn.Linear(width, hidden), nn.ReLU(), nn.Linear(hidden, out)), train_eps=True
            ),
            widths,
            out_channels,
            form,
        )

    def conv(width: int) -> nn.Module:
        # One batch norm a layer, after the second ReLU: the 42,503 parameters of the Degree-Quant reference.
        second = [nn.Linear(hidden, hidden), nn.ReLU(), nn.BatchNorm1d(hidden)]
        return GINConv(nn.Sequential(nn.Linear(width, hidden), nn.ReLU(), *second), train_eps=True)

    return _graph_model(conv, lambda _: nn.Identity(), widths, out_channels, form)


def _plain(conv: Callable[[int, int], nn.Module], inputs: int, outputs: int, form: Form, kind: str) -> nn.Module:
    """A model of convolutions with nothing but widths."""
    widths = [inputs, *[form.hidden] * form.layers]
    if kind == "node":
        return _node_model(conv, widths, outputs, form)
    return _graph_model(lambda width: conv(width, form.hidden), _norm, widths, outputs, form)


def _node_model(conv: Callable[[int, int], nn.Module], widths: Sequence[int], outputs: int, form: Form) -> nn.Module:
    ends = [*widths[1:-1], outputs]
    return NodeModel([conv(a, b) for a, b in zip(widths[:-1], ends, strict=True)], "relu", form.dropout)


def _graph_model(
    conv: Callable[[int], nn.Module],
    norm: Callable[[int], nn.Module],
    widths: Sequence[int],
    outputs: int,
    form: Form,
) -> nn.Module:
    layers = [(conv(width), norm(out)) for width, out in pairwise(widths)]
    return GraphModel([c for c, _ in layers], [n for _, n in layers], widths[-1], outputs, form.dropout)


def _norm(width: int) -> nn.Module:
    return nn.Sequential(nn.BatchNorm1d(width), nn.ReLU())
