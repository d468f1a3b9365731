"""Graphs that the model itself can't run on: a limit of the model, recorded and enforced, never a refusal."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch_geometric.nn as gnn
from torch import nn
from torch_geometric.data import Data

from edgegnn import api
from edgegnn.checkpoint import Checkpoint
from edgegnn.errors import DataError
from edgegnn.exporting.smallest_graphs import _limits, _ring
from edgegnn.runtime import predict, verify
from edgegnn.runtime.inputs import check_inputs
from edgegnn.runtime.manifest import TensorSpec


class Nearest(nn.Module):
    """Edges to the four nearest nodes, made in forward."""

    def __init__(self):
        super().__init__()
        self.conv, self.out = gnn.EdgeConv(nn.Linear(6, 8)), nn.Linear(8, 2)

    def forward(self, x, edge_index, batch):
        apart = (x[:, None] - x[None]).pow(2).sum(-1) + 1e6 * (batch[:, None] != batch[None]).float()
        near = apart.topk(4, largest=False).indices
        own = torch.arange(x.shape[0])[:, None].expand_as(near)
        x = self.conv(x, torch.stack([near.reshape(-1), own.reshape(-1)]))
        return self.out(gnn.global_max_pool(x, batch))


@pytest.mark.slow
def test_one_that_needs_four_nodes_says_so_and_is_exported(tmp_path):
    torch.manual_seed(0)
    sizes = torch.randint(8, 20, (40,)).tolist()
    graphs = [
        Data(x=torch.randn(n, 3) + i % 2, edge_index=torch.randint(n, (2, 3 * n)), y=torch.tensor([i % 2]))
        for i, n in enumerate(sizes)
    ]
    torch.save(graphs, tmp_path / "data.pt")
    checkpoint = Checkpoint(Nearest().eval(), {"factory": "models:build", "args": {}})
    manifest = api.export(checkpoint, data=str(tmp_path / "data.pt"), output=tmp_path / "a").manifest
    assert (manifest["limits"], manifest["fails_on"]) == ({"least_nodes": 4}, {})
    assert min(sample["num_nodes"] for sample in manifest["samples"]) == 4
    assert verify(tmp_path / "a").ok
    few = {"x": np.zeros((3, 3), np.float32), "edge_index": np.zeros((2, 0), np.int64), "batch": np.zeros(3, np.int64)}
    with pytest.raises(DataError, match="the graph has 3 nodes, the model needs at least 4"):
        predict(tmp_path / "a", few)


@pytest.mark.parametrize(
    ("runs", "limits"),
    [
        (lambda n, edges: n >= 5, {"least_nodes": 5}),
        (lambda n, edges: n >= 20, {"least_nodes": 20}),
        (lambda n, edges: edges.shape[1] > 0, {"least_edges": 1}),
        (lambda n, edges: len(edges[1].unique()) == n, {"least_in_degree": 1}),
        (lambda n, edges: len(edges[0].unique()) == n, {"least_out_degree": 1}),
        (lambda n, edges: len(edges.unique()) == n, {"least_degree": 1}),
    ],
)
def test_limits_are_found(runs, limits):
    real = {"least_nodes": 30, "least_edges": 40, "least_in_degree": 1, "least_out_degree": 1, "least_degree": 2}
    assert _limits(runs, real, None) == limits


def test_a_ring_has_an_edge_into_and_out_of_each_node():
    for nodes in (1, 2, 5):
        ring = _ring(nodes)
        assert len(ring[0].unique()) == len(ring[1].unique()) == nodes


@pytest.mark.parametrize(
    ("limits", "problem"),
    [
        ({"least_nodes": 3}, "graph 1 has 2 nodes"),
        ({"least_edges": 1}, "graph 1 has 0 edges"),
        ({"least_in_degree": 1}, "node 0 has 0 incoming edges"),
        ({"least_out_degree": 1}, "node 2 has 0 outgoing edges"),
        ({"least_degree": 1}, "node 3 has 0 edges"),
        ({"least_nodes": 2}, None),
    ],
)
def test_the_runtime_refuses_less(limits, problem):
    specs = [
        TensorSpec("x", "float32", ("num_nodes", 1)),
        TensorSpec("edge_index", "int64", (2, "num_edges")),
        TensorSpec("batch", "int64", ("num_nodes",)),
    ]
    graph = {
        "x": np.ones((5, 1), np.float32),
        "edge_index": np.array([[0, 1], [1, 2]]),
        "batch": np.array([0, 0, 0, 1, 1]),
    }
    if problem is None:
        check_inputs(specs, graph, limits=limits)
        return
    with pytest.raises(DataError, match=problem):
        check_inputs(specs, graph, limits=limits)
