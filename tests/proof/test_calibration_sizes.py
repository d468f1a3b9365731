"""Graphs far larger than most of the training split: post-training ranges have to hold them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch
from torch_geometric.data import Data

from edgegnn.exporting.entry_points import entry_points
from edgegnn.runtime.roles import EDGES, NODE


def _task() -> Any:
    """200 small graphs, and behind them one of many nodes, one of many edges and one with a hub."""
    small = [Data(x=torch.ones(4, 2), edge_index=torch.tensor([[0, 1, 2], [1, 2, 3]])) for _ in range(200)]
    many_nodes = Data(x=torch.ones(90, 2), edge_index=torch.tensor([[0], [1]]))
    ring = torch.arange(30)
    many_edges = Data(x=torch.ones(30, 2), edge_index=torch.stack([ring.repeat(3), (ring.repeat(3) + 1) % 30]))
    hub = Data(x=torch.ones(20, 2), edge_index=torch.stack([torch.arange(20), torch.zeros(20, dtype=torch.long)]))
    test = Data(x=torch.ones(500, 2), edge_index=torch.zeros(2, 900, dtype=torch.long))
    graphs = [*small, many_nodes, many_edges, hub, test]
    spec = SimpleNamespace(kind="graph")
    return SimpleNamespace(
        spec=spec,
        graphs=graphs,
        roles={"x": NODE, "edge_index": EDGES},
        many=True,
        of_links=False,
        gives=SimpleNamespace(main="logits"),
        index={"train": torch.arange(203), "val": torch.tensor([], dtype=torch.long), "test": torch.tensor([203])},
    )


def test_the_largest_training_graphs_are_calibrated_on():
    (point,) = entry_points(torch.nn.Identity(), _task(), ("x", "edge_index"), {})
    inputs = point.calibrate()
    assert max(len(g["x"]) for g in inputs) == 90  # and not the 500 of the test split
    assert max(g["edge_index"].shape[1] for g in inputs) == 90
    assert sum(len(g["x"]) == 20 for g in inputs) == 1
    assert len(inputs) == 128 + 3
