"""Models of point clouds as their users write them, the positions in `x`, and clouds for them."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import Linear, ReLU, Sequential
from torch_geometric.data import Data
from torch_geometric.nn import (
    MLP,
    DynamicEdgeConv,
    EdgeConv,
    GravNetConv,
    PointNetConv,
    fps,
    global_max_pool,
    global_mean_pool,
    knn_graph,
    knn_interpolate,
    radius,
    radius_graph,
)

from edgegnn.tasks.digits import digit_graphs

__all__ = ["MODELS", "build", "digit_clouds"]


def digit_clouds(count: int) -> list[Data]:
    """Handwritten digits as points: row, column and ink; many points are equally far from each other."""
    clouds = []
    for digit in digit_graphs()[:count]:
        row, column = (digit.x[:, at : at + 8].argmax(1, keepdim=True) / 8 for at in (1, 9))
        clouds.append(Data(x=torch.cat([row, column, digit.x[:, :1]], 1), y=digit.y))
    return clouds


class Dgcnn(nn.Module):
    """DGCNN: every layer looks for neighbours among the features of the one before."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = DynamicEdgeConv(MLP([6, 16, 16]), k=6), DynamicEdgeConv(MLP([32, 32]), k=6)
        self.lin, self.head = Linear(48, 32), Linear(32, 10)

    def forward(self, x: Tensor, batch: Tensor) -> Tensor:
        a = self.first(x, batch)
        b = self.second(a, batch)
        return self.head(global_max_pool(self.lin(torch.cat([a, b], dim=1)).relu(), batch))


class SetAbstraction(nn.Module):
    """PointNet++, as in PyTorch Geometric's examples."""

    def __init__(self, ratio: float, r: float, net: nn.Module) -> None:
        super().__init__()
        self.ratio, self.r, self.conv = ratio, r, PointNetConv(net, add_self_loops=False)

    def forward(self, x: Tensor | None, pos: Tensor, batch: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        index = fps(pos, batch, ratio=self.ratio)
        row, col = radius(pos, pos[index], self.r, batch, batch[index], max_num_neighbors=16)
        kept = None if x is None else x[index]
        x = self.conv((x, kept), (pos, pos[index]), torch.stack([col, row], dim=0))
        return x, pos[index], batch[index]


class PointNet(nn.Module):
    """Two set abstractions."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = (
            SetAbstraction(0.5, 0.5, MLP([3, 16, 16])),
            SetAbstraction(0.5, 1.0, MLP([19, 32])),
        )
        self.head = Linear(32, 10)

    def forward(self, x: Tensor, batch: Tensor) -> Tensor:
        values, _, graphs = self.second(*self.first(None, x, batch))
        return self.head(global_max_pool(values, graphs))


class FeaturePropagation(nn.Module):
    """Back to all points by interpolation."""

    def __init__(self) -> None:
        super().__init__()
        self.down, self.net, self.head = SetAbstraction(0.5, 0.5, MLP([3, 16, 16])), MLP([19, 16]), Linear(16, 10)

    def forward(self, x: Tensor, batch: Tensor) -> Tensor:
        values, pos, graphs = self.down(None, x, batch)
        up = knn_interpolate(values, pos, x, graphs, batch, k=3)
        return self.head(global_mean_pool(self.net(torch.cat([up, x], dim=1)), batch))


class GravNet(nn.Module):
    """Particle physics: neighbours in a learnt space."""

    def __init__(self) -> None:
        super().__init__()
        self.lin, self.conv, self.head = Linear(3, 16), GravNetConv(16, 16, 3, 8, k=5), Linear(16, 10)

    def forward(self, x: Tensor, batch: Tensor) -> Tensor:
        return self.head(global_mean_pool(self.conv(self.lin(x).relu(), batch).relu(), batch))


class Radial(nn.Module):
    """Continuous filters over distances, like SchNet."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.head = Linear(3, 16), Linear(16, 10)
        self.filter = Sequential(Linear(8, 16), ReLU(), Linear(16, 16))
        self.register_buffer("offset", torch.linspace(0, 1, 8))

    def forward(self, x: Tensor, batch: Tensor) -> Tensor:
        source, target = radius_graph(x, r=0.6, batch=batch, max_num_neighbors=12)
        distance = (x[source] - x[target]).norm(dim=-1)
        weight = self.filter(torch.exp(-10 * (distance[:, None] - self.offset) ** 2))
        h = self.embed(x)
        h = h + torch.zeros_like(h).index_add(0, target, h[source] * weight)
        return self.head(global_mean_pool(h.relu(), batch))


class Library(nn.Module):
    """A layer on `knn_graph`, by the name that a package gives it."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.head = EdgeConv(MLP([6, 16])), Linear(16, 10)

    def edges(self, x: Tensor, batch: Tensor) -> Tensor:
        return knn_graph(x, 5, batch=batch, loop=False)

    def forward(self, x: Tensor, batch: Tensor) -> Tensor:
        return self.head(global_mean_pool(self.conv(x, self.edges(x, batch)), batch))


class TorchCluster(Library):
    """The function of torch_cluster, imported where it is used."""

    def edges(self, x: Tensor, batch: Tensor) -> Tensor:
        from torch_cluster import knn_graph as theirs

        return theirs(x, 5, batch, loop=True)


class ByHand(Library):
    """Neighbours without a library: all distances, then the nearest."""

    def edges(self, x: Tensor, batch: Tensor) -> Tensor:
        distance = torch.cdist(x, x) + 1e4 * (batch[:, None] != batch[None, :])
        near = distance.topk(5, dim=1, largest=False).indices
        target = torch.arange(len(x)).unsqueeze(1).expand(-1, 5)
        return torch.stack([near.reshape(-1), target.reshape(-1)])


class ByHandRadius(Library):
    """All distances, then those below a limit."""

    def edges(self, x: Tensor, batch: Tensor) -> Tensor:
        near = (torch.cdist(x, x) < 0.47) & (batch[:, None] == batch[None, :])
        return near.nonzero().t()


MODELS: dict[str, type[nn.Module]] = {
    model.__name__: model
    for model in (
        Dgcnn, PointNet, FeaturePropagation, GravNet, Radial, Library, TorchCluster, ByHand, ByHandRadius,
    )
}  # fmt: skip


def build(name: str) -> nn.Module:
    """A model by its name."""
    return MODELS[name]()
