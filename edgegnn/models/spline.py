"""Convolutions whose kernel is a B-spline of pseudo-coordinates (Fey et al. 2018, arXiv 1711.08920), in plain PyTorch.

PyG's `SplineConv` multiplies every message x_j by a matrix that its edge's coordinates blend from `K` matrices, with
operators of its own:

    out_i = sum or mean over j of (sum over k of B_k(u_ij) x_j W_k)  +  x_i W_root  +  bias

The same value comes out when each node is multiplied by the `K` matrices once, and B_k(u_ij) becomes a weight of the
edge, one for each k, like the attention of `K` heads. Every part of that is a common operator: a Linear, a weighted sum
over neighbours, a sum over k. Where the coordinates belong to the target node alone they leave the sum altogether
(`TargetSplineConv`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch_geometric.nn import MessagePassing
from torch_geometric.utils import scatter

from edgegnn.errors import UsageError
from edgegnn.models.catalog import Form

__all__ = ["SplineConv", "SplineModel", "TargetSplineConv", "spline_basis", "target_indegree"]


def spline_basis(u: Tensor, kernel_size: Sequence[int], is_open: Sequence[bool], degree: int) -> Tensor:
    """Values of the product B-spline basis, for every kernel matrix.

    In each dimension B_k(u) = N(v - k + degree) with v = u * (size - degree) for an open spline and u * size for a
    closed one, which goes round; N is the cardinal B-spline of the degree, not zero between 0 and degree + 1 only, by
    its truncated powers: N(t) = 1 / degree! * sum over j of (-1)^j binomial(degree + 1, j) max(t - j, 0)^degree.

    Args:
        u: float [M, D], pseudo-coordinates in [0, 1].
        kernel_size: D sizes.
        is_open: D times whether the spline is open.
        degree: at least 1.

    Returns:
        [M, product of the sizes] of u's dtype; the first dimension runs fastest, as in PyG's weight.
    """
    out = torch.ones_like(u[:, :1])
    for d, (size, opened) in enumerate(zip(kernel_size, is_open, strict=True)):
        v = u[:, d : d + 1] * (size - degree if opened else size)
        t = v - torch.arange(size, dtype=u.dtype, device=u.device) + degree
        values = _cardinal(t, degree)
        for turn in range(1, 1 if opened else degree // size + 2):
            values = values + _cardinal(t - turn * size, degree)
        out = (values.unsqueeze(-1) * out.unsqueeze(-2)).flatten(-2)
    return out


def _cardinal(t: Tensor, degree: int) -> Tensor:
    t = t.clamp(0, degree + 1)  # zero beyond, where the powers would be differences of large numbers
    total = torch.zeros_like(t)
    for j in range(degree + 1):
        ramp = F.relu(t - j)
        power = ramp if degree == 1 else ramp**degree
        total = total + (-1) ** j * math.comb(degree + 1, j) / math.factorial(degree) * power
    return total


def target_indegree(edge_index: Tensor, num_nodes: int) -> Tensor:
    """In-degree of every node by the largest one: float32 [N, 1] (PyG's `TargetIndegree`, for nodes).

    Args:
        edge_index: int64 [2, E].
        num_nodes: N.
    """
    ones = torch.ones(edge_index.size(1), dtype=torch.float32, device=edge_index.device)
    degree = scatter(ones, edge_index[1], dim=0, dim_size=num_nodes, reduce="sum")
    return (degree / degree.max().clamp(min=1)).unsqueeze(-1)


class SplineConv(MessagePassing):
    """PyG's `SplineConv`, for any number of dimensions, kernel size and degree; its state_dict is read as well.

    Args:
        in_channels: features of a node.
        out_channels: features that come out.
        dim: pseudo-coordinates of an edge.
        kernel_size: matrices in each dimension.
        is_open_spline: False: the coordinate is an angle, 0 and 1 are the same.
        degree: of the splines, at least 1.
        aggr: "mean" or "add".
        root_weight: add the node's own features times a matrix of their own.
        bias: add a vector.

    Raises:
        UsageError: a value out of range.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        dim: int = 1,
        kernel_size: int | Sequence[int] = 2,
        is_open_spline: bool | Sequence[bool] = True,
        degree: int = 1,
        aggr: str = "mean",
        root_weight: bool = True,
        bias: bool = True,
    ) -> None:
        if aggr not in ("mean", "add", "sum"):
            raise UsageError(f"a spline convolution adds messages up or takes their mean, not {aggr!r}")
        super().__init__(aggr=aggr, node_dim=self._NODE_DIM)
        self.in_channels, self.out_channels, self.dim, self.degree = in_channels, out_channels, dim, degree
        self.kernel_size = [kernel_size] * dim if isinstance(kernel_size, int) else list(kernel_size)
        opened = [is_open_spline] * dim if isinstance(is_open_spline, bool) else list(is_open_spline)
        self.is_open_spline = [bool(value) for value in opened]
        if not dim == len(self.kernel_size) == len(self.is_open_spline) or dim < 1:
            raise UsageError(f"{dim} dimensions need {dim} kernel sizes, and whether each spline is open")
        if degree < 1:
            raise UsageError(f"the degree of a spline must be at least 1, not {degree}")
        least = [degree if opened else 1 for opened in self.is_open_spline]
        if any(size < low for size, low in zip(self.kernel_size, least, strict=True)):
            raise UsageError(f"a kernel size of {min(self.kernel_size)} is too small for a spline of degree {degree}")
        self.K = math.prod(self.kernel_size)
        # One Linear for the K matrices: row k * out_channels + c is column c of W_k.
        self.kernels = nn.Linear(in_channels, self.K * out_channels, bias=False)
        self.lin = nn.Linear(in_channels, out_channels, bias=False) if root_weight else None
        self.bias = nn.Parameter(torch.empty(out_channels)) if bias else None
        self.reset_parameters()

    _NODE_DIM = 0  # rows are [N, K, out_channels]

    def reset_parameters(self) -> None:
        """Draw the weights as PyG does: uniform between plus and minus 1 / sqrt(inputs)."""
        super().reset_parameters()
        nn.init.uniform_(self.kernels.weight, *_bounds(self.K * self.in_channels))
        if self.lin is not None:
            nn.init.uniform_(self.lin.weight, *_bounds(self.in_channels))
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def forward(self, x: Tensor, edge_index: Tensor, edge_attr: Tensor) -> Tensor:
        """Return [N, out_channels] for `x` [N, in_channels], `edge_index` [2, E] int64, `edge_attr` [E, dim] in [0, 1].

        All of x's dtype.
        """
        basis = spline_basis(edge_attr, self.kernel_size, self.is_open_spline, self.degree)
        rows = self.kernels(x).view(-1, self.K, self.out_channels)
        return self._finish(self.propagate(edge_index, x=rows, basis=basis).sum(1), x)

    def message(self, x_j: Tensor, basis: Tensor) -> Tensor:
        """Weigh the source's rows, [E, K, out_channels], by the basis [E, K]."""
        return basis.unsqueeze(-1) * x_j

    def _finish(self, out: Tensor, x: Tensor) -> Tensor:
        if self.lin is not None:
            out = out + self.lin(x)
        return out if self.bias is None else out + self.bias

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        """Read PyG's names too: `weight` [K, in_channels, out_channels], and two buffers that are arguments here."""
        weight = state_dict.pop(f"{prefix}weight", None)
        if weight is not None:
            state_dict[f"{prefix}kernels.weight"] = weight.transpose(1, 2).reshape(-1, weight.size(1))
            for name in ("kernel_size", "is_open_spline"):
                state_dict.pop(f"{prefix}{name}", None)
        super()._load_from_state_dict(state_dict, prefix, *args)


class TargetSplineConv(SplineConv):
    """`SplineConv` for coordinates that all edges into a node share, such as its degree.

    They are the same for every message to a node, so the sum over neighbours has no weights, and each node blends the
    `K` sums that reach it:  out_i = sum over k of B_k(u_i) * (sum or mean of x_j W_k)  +  x_i W_root  +  bias
    """

    _NODE_DIM = -2  # rows are [N, K * out_channels]

    def forward(self, x: Tensor, edge_index: Tensor, coordinates: Tensor) -> Tensor:
        """Return [N, out_channels] for `x` [N, in_channels], `edge_index` [2, E] int64, `coordinates` [N, dim]."""
        basis = spline_basis(coordinates, self.kernel_size, self.is_open_spline, self.degree)
        sums = self.propagate(edge_index, x=self.kernels(x)).view(-1, self.K, self.out_channels)
        return self._finish((basis.unsqueeze(-1) * sums).sum(1), x)

    def message(self, x_j: Tensor) -> Tensor:  # type: ignore[override]
        """Send the source's rows as they are."""
        return x_j


class SplineModel(nn.Module):
    """Spline convolutions over the in-degree, with ELU and dropout between them: logits per node.

    The network of PyG's example for Cora (two layers of kernel size 2 and degree 1). Its weight decay fits features of
    0 and 1, while tasks here may carry them divided by their sum: each node's features are divided by the largest of
    them, which gives back the 0 and 1 and leaves them alone where they are that already. A single feature, of which
    only the sign would be left, is taken as it is.

    Args:
        widths: features that come in, of each hidden layer, and classes.
        dropout: probability of dropping a feature before every layer, in training.
    """

    def __init__(self, widths: Sequence[int], dropout: float) -> None:
        super().__init__()
        self.convs = nn.ModuleList(TargetSplineConv(a, b) for a, b in pairwise(widths))
        self.activation = nn.ELU()
        self.dropout = dropout
        self.unit_rows = widths[0] > 1

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        """Return logits [N, C] for `x` [N, F] float32 and `edge_index` [2, E] int64."""
        coordinates = target_indegree(edge_index, x.size(0))
        if self.unit_rows:
            x = x / x.abs().amax(dim=1, keepdim=True).clamp(min=torch.finfo(x.dtype).tiny)
        for i, conv in enumerate(self.convs):
            if i > 0:
                x = self.activation(x)
            x = conv(F.dropout(x, self.dropout, self.training), edge_index, coordinates)
        return x


def _bounds(inputs: int) -> tuple[float, float]:
    return -1 / math.sqrt(inputs), 1 / math.sqrt(inputs)


def spline(in_channels: int, out_channels: int, form: Form, kind: str) -> nn.Module:
    """Build a SplineCNN, for nodes."""
    return SplineModel([in_channels, *[form.hidden] * (form.layers - 1), out_channels], form.dropout)
