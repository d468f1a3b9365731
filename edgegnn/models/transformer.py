"""A graph transformer: blocks of attention over the neighbours and a feed-forward network.

    x ── norm ── TransformerConv ──(+)── norm ── Linear ── ReLU ── Linear ──(+)──▶
    └────────────────────────────────┘ └──────────────────────────────────────┘

Attention is scaled dot-product attention over the edges (Shi et al. 2021, arXiv 2009.03509, PyG's `TransformerConv`,
whose own weight for the root node stands in for a self loop); norms stand before each part, as in current language
models. There is no positional information: what a node knows of its place comes from its neighbours. Dropout stands
before and after the encoder only: within the blocks it cost accuracy on Cora's validation nodes.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn
from torch_geometric.nn import TransformerConv

from edgegnn.models.catalog import Form
from edgegnn.models.stacks import GraphModel

__all__ = ["Encoder", "NodeTransformer", "transformer"]


class Block(nn.Module):
    """Attention over neighbours, then a feed-forward network, each added to its input.

    Args:
        hidden: width of one head.
        heads: attention heads; the block's width is `hidden * heads`.
    """

    def __init__(self, hidden: int, heads: int) -> None:
        super().__init__()
        width = hidden * heads
        self.norm1 = nn.LayerNorm(width)
        self.attention = TransformerConv(width, hidden, heads)
        self.norm2 = nn.LayerNorm(width)
        self.lin1 = nn.Linear(width, 2 * width)
        self.lin2 = nn.Linear(2 * width, width)
        self.activation = nn.ReLU()

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        """Return [N, hidden * heads] for `x` of the same shape and `edge_index` [2, E] int64."""
        x = x + self.attention(self.norm1(x), edge_index)
        return x + self.lin2(self.activation(self.lin1(self.norm2(x))))


class Encoder(nn.Module):
    """A projection of the node features, and blocks: features to [N, hidden * heads]."""

    def __init__(self, in_channels: int, hidden: int, heads: int, layers: int) -> None:
        super().__init__()
        self.embed = nn.Linear(in_channels, hidden * heads)
        self.blocks = nn.ModuleList(Block(hidden, heads) for _ in range(layers))
        self.norm = nn.LayerNorm(hidden * heads)

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        """Return [N, hidden * heads] for `x` [N, F] float32 and `edge_index` [2, E] int64."""
        x = self.embed(x)
        for block in self.blocks:
            x = block(x, edge_index)
        return self.norm(x)


class NodeTransformer(nn.Module):
    """An encoder and a linear layer: logits per node.

    Args:
        encoder: gives [N, width].
        width: its width.
        out_channels: number of classes.
        dropout: probability of dropping a feature before the encoder and before the last layer, in training.
    """

    def __init__(self, encoder: Encoder, width: int, out_channels: int, dropout: float) -> None:
        super().__init__()
        self.encoder = encoder
        self.lin = nn.Linear(width, out_channels)
        self.dropout = dropout

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        """Return logits [N, C] for `x` [N, F] float32 and `edge_index` [2, E] int64."""
        x = self.encoder(F.dropout(x, self.dropout, self.training), edge_index)
        return self.lin(F.dropout(x, self.dropout, self.training))


def transformer(in_channels: int, out_channels: int, form: Form, kind: str) -> nn.Module:
    """Build a graph transformer."""
    encoder = Encoder(in_channels, form.hidden, form.heads, form.layers)
    width = form.hidden * form.heads
    if kind == "node":
        return NodeTransformer(encoder, width, out_channels, form.dropout)
    return GraphModel([encoder], [nn.Identity()], width, out_channels, form.dropout)
