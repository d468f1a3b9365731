"""NESS: link prediction by static subgraphs (Ucar 2023, arXiv 2303.08958), with its GNAE encoder.

    h   = 1.8 * L2-normalised rows of (x W + b)
    z_k = one GCN-normalised propagation of h along the edges of subgraph k, self loops included
    z   = mean over k of z_k
    logit of a pair (i, j) = <z_i, z_j>

The subgraphs are a random partition of the edges, both directions of an edge in the same one, that never changes: a
fixed hash of the edge's ends decides, so that a graph which training never saw has its subgraphs too, also on a device.
While training each pair is scored by the subgraphs that its hash keeps out of: a training link is never asked of
embeddings that it passed messages to, which is how validation and test ask.

Because a propagation is linear, the mean over the subgraphs is one propagation with other weights: with p(e) the
subgraph of edge e, d_ik one more than the edges that end at i in subgraph k, and K subgraphs,

    z_i = sum over e = (j, i) of  h_j / (K sqrt(d_j,p(e) d_i,p(e)))  +  h_i mean over k of 1 / d_ik

Where this departs from the released code: edge dropout is drawn anew in each step (there it eats up the stored
subgraph); each subgraph has the same weight in the loss (there 4, 3, 2, 1); edges carry messages in both directions in
the evaluation too (there in one); the best epoch by validation is tested (there the last); negatives are drawn anew in
each epoch and are never negatives of validation or test (there the random numbers start again in every epoch, so that
the first subgraph trains on the very pairs that are the negatives of validation and test).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch_geometric.nn import MessagePassing
from torch_geometric.utils import scatter

from edgegnn.errors import UsageError
from edgegnn.models.catalog import Form

__all__ = ["NESS", "ness"]

SCALE = 1.8  # of the normalised rows, the GNAE encoder's
SUBGRAPHS = 4
EDGE_DROPOUT = 0.3
_HASH = (7_919, 104_729, 1_000_003)  # primes


class Propagation(MessagePassing):
    """A weighted sum over the neighbours."""

    def __init__(self) -> None:
        super().__init__(aggr="add")

    def forward(self, x: Tensor, edge_index: Tensor, edge_weight: Tensor) -> Tensor:
        """Return [N, D] for `x` [N, D], `edge_index` [2, E] and `edge_weight` [E]."""
        return self.propagate(edge_index, x=x, edge_weight=edge_weight)

    def message(self, x_j: Tensor, edge_weight: Tensor) -> Tensor:
        """Weighted features of the neighbours."""
        return edge_weight.view(-1, 1) * x_j


class NESS(nn.Module):
    """Embeds nodes, and scores pairs of them.

    Args:
        in_channels: node features.
        hidden: width of an embedding.
        dropout: probability of dropping an input feature, in training.
        subgraphs: parts of the edges, at least 1.
        edge_dropout: probability that an edge carries no message in a step of training.
    """

    def __init__(
        self,
        in_channels: int,
        hidden: int = 32,
        dropout: float = 0.5,
        subgraphs: int = SUBGRAPHS,
        edge_dropout: float = EDGE_DROPOUT,
    ) -> None:
        super().__init__()
        self.lin = nn.Linear(in_channels, hidden)
        self.conv = Propagation()
        self.dropout, self.subgraphs, self.edge_dropout = dropout, subgraphs, edge_dropout

    def encode(self, x: Tensor, edge_index: Tensor) -> Tensor:
        """Return embeddings z [N, D]; while training those of all subgraphs side by side, [N, K D].

        Args:
            x: [N, F] float32.
            edge_index: [2, E] int64.
        """
        x = F.dropout(x, self.dropout, self.training)
        h = SCALE * F.normalize(self.lin(x), dim=1)
        if not self.training:
            return self._mean(h, edge_index)
        if self.edge_dropout:
            ends = _hash(edge_index)  # both directions of an edge go together
            kept = torch.rand(_HASH[2], device=x.device)[ends] >= self.edge_dropout
            edge_index = edge_index[:, kept]
        part = self._subgraph(edge_index)
        return torch.cat([self._one(h, edge_index[:, part == k]) for k in range(self.subgraphs)], dim=1)

    def decode(self, z: Tensor, edge_label_index: Tensor) -> Tensor:
        """Return a logit for each pair [P].

        Args:
            z: what `encode` gave.
            edge_label_index: [2, P] int64.
        """
        left, right = z.index_select(0, edge_label_index[0]), z.index_select(0, edge_label_index[1])
        if self.training and self.subgraphs > 1:
            of = F.one_hot(self._subgraph(edge_label_index), self.subgraphs).unsqueeze(2)
            left, right = (self._others(side, of) for side in (left, right))
        return (left * right).sum(dim=1)

    def _subgraph(self, pairs: Tensor) -> Tensor:
        """The subgraph [P] that a pair [2, P] belongs to, in either direction."""
        return _hash(pairs) % self.subgraphs

    def _others(self, z: Tensor, of: Tensor) -> Tensor:
        """Mean [P, D] of the embeddings [P, K D] of the subgraphs other than those marked in `of` [P, K, 1]."""
        return (z.view(len(z), self.subgraphs, -1) * (1 - of)).sum(1) / (self.subgraphs - 1)

    def _one(self, h: Tensor, edge_index: Tensor) -> Tensor:
        """The propagation along one subgraph's edges."""
        ones = h.new_ones(edge_index.shape[1])
        scale = (scatter(ones, edge_index[1], dim_size=h.shape[0]) + 1).rsqrt()
        weight = scale[edge_index[0]] * scale[edge_index[1]]
        return self.conv(h, edge_index, weight) + h * (scale * scale).unsqueeze(1)

    def _mean(self, h: Tensor, edge_index: Tensor) -> Tensor:
        """The mean of the propagations along each subgraph's edges, in one."""
        part, count = self._subgraph(edge_index), self.subgraphs
        source, target = edge_index[0] * count + part, edge_index[1] * count + part
        ones = h.new_ones(edge_index.shape[1])
        scale = (scatter(ones, target, dim_size=h.shape[0] * count) + 1).rsqrt()
        out = self.conv(h, edge_index, scale[source] * scale[target] / count)
        return out + h * (scale * scale).view(-1, count).mean(1, keepdim=True)


def _hash(pairs: Tensor) -> Tensor:
    """A number in [0, 1000003) of each pair [2, P] int64, the same for both directions."""
    low, high = torch.minimum(pairs[0], pairs[1]), torch.maximum(pairs[0], pairs[1])
    a, b, size = _HASH
    return (low * a + high * b) % size


def ness(in_channels: int, out_channels: int, form: Form, kind: str) -> nn.Module:
    """Build NESS, which encodes nodes for links.

    Raises:
        UsageError: more than one layer.
    """
    if form.layers != 1:
        raise UsageError("ness has one layer: leave out --layers")
    return NESS(in_channels, out_channels, form.dropout)
