"""A graph attention network of your own with edge features: train it in plain PyTorch, export it, call the artifact.

    python edge_gat.py

Sensors report to each other over noisy links. A node's class is whether the readings that reach it, each weighted by
the quality of its link, have a positive sum; without the edge features it can't be told.
"""

import torch
import torch.nn.functional as F
from torch import Tensor
from torch_geometric.data import Data
from torch_geometric.nn import GATv2Conv

import edgegnn


class EdgeGAT(torch.nn.Module):
    """Two attention layers that see the features of edges, and a linear layer: logits for each node."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.first = GATv2Conv(in_channels, 8, heads=4, edge_dim=1)
        self.second = GATv2Conv(32, 8, heads=2, edge_dim=1)
        self.out = torch.nn.Linear(16, out_channels)

    def forward(self, x: Tensor, edge_index: Tensor, edge_attr: Tensor) -> Tensor:
        """Return logits [N, C] for `x` [N, F], `edge_index` [2, E] and `edge_attr` [E, 1]."""
        x = F.elu(self.first(x, edge_index, edge_attr))
        x = F.elu(self.second(x, edge_index, edge_attr))
        return self.out(x)


def build(in_channels: int, out_channels: int) -> EdgeGAT:
    """Build the module; edgegnn calls this with the sizes that the data have."""
    return EdgeGAT(in_channels, out_channels)


def sensors(nodes: int = 1000, links: int = 5) -> Data:
    """Return one graph with a split: 60 % of the nodes for training, 20 % for validation, 20 % for test."""
    target = torch.arange(nodes).repeat_interleave(links)
    source = (target + torch.randint(1, nodes, target.shape)) % nodes
    reading, quality = torch.randn(nodes, 1), torch.rand(target.numel(), 1)
    received = torch.zeros(nodes).index_add(0, target, (reading[source] * quality)[:, 0])
    part = torch.randperm(nodes) / nodes
    masks = {"train_mask": part < 0.6, "val_mask": (part >= 0.6) & (part < 0.8), "test_mask": part >= 0.8}
    x = torch.cat([reading, torch.ones(nodes, 1)], dim=1)
    return Data(x, torch.stack([source, target]), quality, (received > 0).long(), **masks)


def train(model: torch.nn.Module, data: Data, epochs: int) -> None:
    """Train with Adam on the training nodes: a loop like any other."""
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01, weight_decay=1e-3)
    for _ in range(epochs):
        optimizer.zero_grad()
        logits = model(data.x, data.edge_index, data.edge_attr)
        F.cross_entropy(logits[data.train_mask], data.y[data.train_mask]).backward()
        optimizer.step()


if __name__ == "__main__":
    torch.manual_seed(0)
    data = sensors()
    model = build(in_channels=2, out_channels=2)
    train(model, data, epochs=100)
    torch.save(data, "sensors.pt")
    torch.save(model.state_dict(), "weights.pt")

    exported = edgegnn.export(
        "weights.pt",
        factory="edge_gat:build",
        data="sensors.pt",
        quant="dq-int8",
        settings={"epochs": 15},
        output="edge-gat-int8",
        force=True,
    )
    print("PyTorch and artifact:", exported.manifest["metric"])

    artifact = edgegnn.runtime.open("edge-gat-int8")
    fresh = sensors(nodes=60)
    inputs = {"x": fresh.x, "edge_index": fresh.edge_index, "edge_attr": fresh.edge_attr}
    classes = artifact.classify(**{name: tensor.numpy() for name, tensor in inputs.items()})
    print(f"a graph it never saw: {(classes == fresh.y.numpy()).mean():.0%} right, on {artifact.kernels} kernels")
