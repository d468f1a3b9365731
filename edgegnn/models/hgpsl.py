"""HGP-SL: graph pooling that learns the pooled graph's edges (Zhang et al. 2019, arXiv 1911.05954), in plain PyTorch.

    GCN ── pool ── GCN ── pool ── GCN ──▶  readouts (max, mean) of the three levels, ReLU, summed ── MLP ──▶ logits

A pool keeps the nodes that their neighbours predict worst, and gives them new edges (`StructurePool`).

Levels behind the first are dense: `[graphs, nodes, nodes]` matrices, graphs of similar size side by side. Nothing has a
size that depends on values, so the forward of one graph (`batch` left out) can be traced for any number of nodes.

Where this knowingly differs from the authors' code:

* Scores are compared as whole steps of 1/32 of a power of two, and of equal ones the node that comes first is kept:
  symmetric nodes (atoms of a ring) score the same up to rounding, which would decide differently on each machine.
* The normalised adjacency of the score is D^-1 A, as in the paper, and messages go along the rows of the learnt matrix.
* A node is no candidate for an edge to itself: the convolution adds that one.
* Learnt edges of almost no weight are not followed by the next pool. Sparsemax gives exactly 0 to whole sets of nodes
  (one neighbour of weight 1 + a, others of a), and which of them rounding lifts above 0 depends on the batch.
* No softmax at the end: the loss has it.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch_geometric.nn import GCNConv

from edgegnn.errors import UsageError
from edgegnn.models.catalog import Form

__all__ = ["HGPSL", "StructurePool", "node_scores", "sparsemax"]

_Count = TypeVar("_Count", int, Tensor)

_SLOPE = 0.2
_STEPS = 32.0  # of a score, in each power of two
_ROUNDING = 1e-4  # of a node's features, what a score may err by
_SMALLEST = 1e-6  # scores below are equal
_FAINT = 1e-4  # a learnt edge of this weight or less leads nowhere: many would be 0 but for rounding
_PER_OCTAVE = 1  # classes of graph sizes whose graphs share a matrix


def sparsemax(z: Tensor, allowed: Tensor) -> Tensor:
    """The point of the simplex that is closest to each row (Martins & Astudillo 2016, arXiv 1602.02068, algorithm 1).

    Args:
        z: float `[..., n]`.
        allowed: bool `[..., n]`; the other entries take no part.

    Returns:
        Float `[..., n]`, 0 where not allowed; rows sum to 1, or to 0 where nothing is allowed.
    """
    with torch.no_grad():
        # Of entries far below the largest none has a share: they would only cost the sums their digits.
        far = torch.where(allowed, z, torch.full_like(z, -1e9))
        far = (far - far.amax(dim=-1, keepdim=True)).clamp(min=-2.0)
        ordered = torch.sort(far, dim=-1, descending=True, stable=True).values
        place = torch.arange(1, z.size(-1) + 1, dtype=z.dtype, device=z.device)
        sums = ordered.cumsum(dim=-1)
        size = (1 + place * ordered > sums).sum(dim=-1, keepdim=True)
        last = ordered.gather(-1, size - 1)  # the smallest entry that has a share
        share = ((far >= last) & allowed).to(z.dtype)
        size = share.sum(dim=-1, keepdim=True).clamp(min=1.0)
    threshold = ((z * share).sum(dim=-1, keepdim=True) - 1) / size
    return (z - threshold) * share


def node_scores(x: Tensor, adj: Tensor) -> Tensor:
    """How badly nodes are predicted by their neighbours: the L1 norm of (I - D^-1 A) X.

    Args:
        x: `[B, n, F]` float.
        adj: `[B, n, n]` float, no self loops; rows sum to 0, or to 1 or more.

    Returns:
        `[B, n]` float.
    """
    degree = adj.sum(dim=-1, keepdim=True).clamp(min=1.0)
    return torch.linalg.vector_norm(x - (adj @ x) / degree, ord=1, dim=-1)


class StructurePool(nn.Module):
    """Keep the share `ratio` of each graph's nodes, and learn the edges between them (section "HGP-SL" of 1911.05954).

    A pair of kept nodes i, j that is at most four edges apart gets the weight
    leaky_relu(a . [x_i, x_j]) + A_ij, made sparse and normalised over j by sparsemax.

    Args:
        channels: node features.
        ratio: share of nodes to keep, in (0, 1]; of n nodes the next larger whole number stays.

    Attributes:
        traced_nodes: least number of nodes to trace with, so that what several pools keep isn't one node.

    Raises:
        UsageError: a ratio out of range.
    """

    traced_nodes = 64

    def __init__(self, channels: int, ratio: float) -> None:
        super().__init__()
        share = _share(ratio)
        self.numerator, self.denominator = share.numerator, share.denominator
        self.attention = nn.Linear(channels, 2, bias=False)  # the halves of `a`: of a row's node, of a column's

    def forward(
        self, x: Tensor, adj: Tensor, sizes: Tensor | None = None, rows: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Pool graphs of at most n nodes to graphs of at most k.

        Args:
            x: `[B * n, F]` float, graph after graph; with `rows` in any order.
            adj: `[B, n, n]` float in [0, 1], no self loops; row i holds what node i hears.
            sizes: `[B]` int64, nodes of each graph; None: all have n.
            rows: `[B, n]` int64, the row of `x` for each node.

        Returns:
            The same of the pooled graphs: `[B, k, F]` with zeros where there is no node, `[B, k, k]`, `[B]` or None.
        """
        graphs, n, _ = adj.shape
        kept = self.kept(n)
        with torch.no_grad():
            if rows is None:
                rows = torch.arange(x.size(0), device=x.device).view(graphs, n)
            own = x[rows]
            # A score that is 0 but for rounding would else order nodes by what their rounding errors are.
            least = torch.linalg.vector_norm(own, ord=1, dim=-1) * _ROUNDING
            score = torch.maximum(node_scores(own, adj), least).clamp(min=_SMALLEST)
            rank = torch.round(torch.log2(score) * _STEPS)
            if sizes is not None:
                rank = torch.where(_there(n, sizes), rank, torch.full_like(rank, -1e9))
            order = torch.sort(rank, dim=1, descending=True, stable=True).indices[:, :kept]
            chosen = rows.gather(1, order).view(-1)
            rows, columns = order.unsqueeze(2), order.unsqueeze(1)
            near = (adj > _FAINT).to(x.dtype) + torch.eye(n, dtype=x.dtype, device=x.device)
            near = (near @ near).clamp(max=1.0)
            near = near.gather(1, rows.expand(-1, -1, n)) @ near.gather(2, columns.expand(-1, n, -1))
            pairs = (near > 0) & (rows != columns)
        x = x.index_select(0, chosen).view(graphs, kept, -1)
        adj = adj.gather(1, rows.expand(-1, -1, n)).gather(2, columns.expand(-1, kept, -1))
        if sizes is not None:
            sizes = self.kept(sizes)
            there = _there(kept, sizes)
            pairs = pairs & there.unsqueeze(1) & there.unsqueeze(2)
            x = x * there.unsqueeze(2)
        # Products of two dimensions, which are what integer kernels take.
        own, other = self.attention(x.flatten(0, 1)).view(graphs, kept, 2).split(1, dim=2)
        weights = F.leaky_relu(own + other.transpose(1, 2), _SLOPE) + adj
        return x, sparsemax(weights, pairs), sizes

    def kept(self, nodes: _Count) -> _Count:
        """Number of nodes that stay: ratio * nodes, rounded up, without a float on the way."""
        return (nodes * self.numerator + self.denominator - 1) // self.denominator


class DenseConv(nn.Module):
    """A GCN layer over matrices (PyG's `DenseGCNConv`): D^-1/2 (A + I) D^-1/2 X W + b, with D as scales of rows.

    Args:
        in_channels, out_channels: features of a node.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.lin = nn.Linear(in_channels, out_channels, bias=False)
        self.bias = nn.Parameter(torch.zeros(out_channels))
        nn.init.xavier_uniform_(self.lin.weight)

    def forward(self, x: Tensor, adj: Tensor) -> Tensor:
        """Return `[B, n, out_channels]` for `x` `[B, n, in_channels]` and `adj` `[B, n, n]` without self loops."""
        scale = (adj.sum(dim=-1, keepdim=True) + 1).rsqrt()
        x = self.lin(x.flatten(0, 1)).view(x.size(0), x.size(1), -1) * scale
        return (adj @ x + x) * scale + self.bias


class HGPSL(nn.Module):
    """Convolutions with pools between them, and an MLP over the readouts of all levels: logits per graph.

    Args:
        in_channels: node features.
        hidden: width of the convolutions, even.
        out_channels: number of classes.
        layers: number of convolutions; a pool stands between two.
        ratio: share of nodes that a pool keeps, in (0, 1].
        dropout: probability of dropping a feature inside the MLP, in training.

    Attributes:
        max_nodes: largest graph for which matrices of nodes x nodes are meant; exported models refuse larger ones.

    Raises:
        UsageError: a ratio out of range, or an odd width.
    """

    max_nodes = 1024

    def __init__(
        self, in_channels: int, hidden: int, out_channels: int, layers: int, ratio: float, dropout: float
    ) -> None:
        super().__init__()
        if layers < 2:
            raise UsageError("hgpsl needs at least 2 layers: a pool stands between two convolutions")
        if hidden % 2:
            raise UsageError(f"hidden must be even, for a head of half the width, not {hidden}")
        self.conv = GCNConv(in_channels, hidden)
        self.pools = nn.ModuleList(StructurePool(hidden, ratio) for _ in range(layers - 1))
        self.convs = nn.ModuleList(DenseConv(hidden, hidden) for _ in range(layers - 1))
        self.lin1 = nn.Linear(2 * hidden, hidden)
        self.lin2 = nn.Linear(hidden, hidden // 2)
        self.lin3 = nn.Linear(hidden // 2, out_channels)
        self.dropout = dropout

    def forward(self, x: Tensor, edge_index: Tensor, batch: Tensor | None = None) -> Tensor:
        """Return logits `[G, C]`.

        Args:
            x: `[N, F]` float32.
            edge_index: `[2, E]` int64; what it repeats counts once in pools.
            batch: `[N]` int64, sorted, the graph of each node; None: one graph.
        """
        x = F.relu(self.conv(x, edge_index))
        if batch is None:
            n = x.size(0)
            read = self._levels(x, _adjacency(edge_index, 0, 1, n))
        else:
            parts = [
                (graphs, self._levels(x, adj, sizes, rows)) for graphs, adj, sizes, rows in _by_size(edge_index, batch)
            ]
            order = torch.cat([graphs for graphs, _ in parts])
            read = torch.cat([part for _, part in parts])[torch.argsort(order)]
        x = F.relu(self.lin1(read))
        x = F.dropout(x, self.dropout, self.training)
        x = F.relu(self.lin2(x))
        x = F.dropout(x, self.dropout, self.training)
        return self.lin3(x)

    def _levels(self, x: Tensor, adj: Tensor, sizes: Tensor | None = None, rows: Tensor | None = None) -> Tensor:
        """Pools, dense convolutions, and the sum of the readouts `[B, 2 * hidden]`; arguments as of a pool."""
        total = torch.zeros((), device=x.device)
        for pool, conv in zip(self.pools, self.convs, strict=True):
            x, adj, sizes = pool(x.view(-1, x.size(-1)), adj, sizes, rows)
            rows = None
            total = total + _read(x, sizes)
            x = F.relu(conv(x, adj))
            if sizes is not None:
                x = x * _there(x.size(1), sizes).unsqueeze(2)
        return total + _read(x, sizes)


def _share(ratio: float) -> Fraction:
    """A ratio as the fraction that its decimal digits say."""
    if not 0 < ratio <= 1:
        why = ": a pool would leave no node" if ratio == 0 else ""
        raise UsageError(f"the pool ratio must be above 0 and at most 1, not {ratio:g}{why}")
    share = Fraction(str(ratio)).limit_denominator(10_000)
    if share == 0:
        raise UsageError(
            f"the pool ratio {ratio:g} is too small: it would leave one node of any graph; use 0.0001 or more"
        )
    return share


def _there(n: int, sizes: Tensor) -> Tensor:
    """Bool `[B, n]`: which of n places hold a node, for graphs with the given numbers of nodes."""
    return torch.arange(n, device=sizes.device) < sizes.unsqueeze(1)


def _read(x: Tensor, sizes: Tensor | None) -> Tensor:
    """Largest and mean value of each feature over a graph's nodes; values are not negative, and 0 behind the nodes."""
    mean = x.mean(dim=1) if sizes is None else x.sum(dim=1) / sizes.unsqueeze(1)
    return torch.cat([x.amax(dim=1), mean], dim=1)


def _adjacency(edges: Tensor, at: Tensor | int, graphs: int, n: int) -> Tensor:
    """Matrices `[graphs, n, n]` with 1 where row hears column, no self loops.

    Args:
        edges: `[2, E]` int64, source and target as places in their graph.
        at: `[E]` int64, the matrix that an edge belongs to.
        graphs: how many matrices.
        n: their size.
    """
    other = (edges[0] != edges[1]).float()
    places = (at * n + edges[1]) * n + edges[0]
    return torch.zeros(graphs * n * n, device=edges.device).scatter(0, places, other).view(graphs, n, n)


def _by_size(edge_index: Tensor, batch: Tensor) -> Iterator[tuple[Tensor, Tensor, Tensor, Tensor]]:
    """Graphs of similar size together, so that matrices of the largest one's size waste little.

    Yields:
        Graphs `[B]`; matrices `[B, n, n]`; numbers of nodes `[B]`; rows of the nodes `[B, n]`.
    """
    sizes = torch.bincount(batch)
    first = sizes.cumsum(0) - sizes
    classes = (torch.log2(sizes.float()) * _PER_OCTAVE).floor().long()
    of_edge = batch[edge_index[0]]
    for group in classes.unique().tolist():
        graphs = (classes == group).nonzero().view(-1)
        n = int(sizes[graphs].max())
        rows = torch.where(_there(n, sizes[graphs]), first[graphs].unsqueeze(1) + torch.arange(n), 0)
        place = torch.zeros_like(sizes)
        place[graphs] = torch.arange(len(graphs))
        inside = classes[of_edge] == group
        graph = of_edge[inside]
        adj = _adjacency(edge_index[:, inside] - first[graph], place[graph], len(graphs), n)
        yield graphs, adj, sizes[graphs], rows


def hgpsl(in_channels: int, out_channels: int, form: Form, kind: str) -> nn.Module:
    """Build HGP-SL, for graphs.

    Raises:
        UsageError: as `HGPSL`.
    """
    ratio = 0.5 if form.pool_ratio is None else form.pool_ratio
    return HGPSL(in_channels, form.hidden, out_channels, form.layers, ratio, form.dropout)
