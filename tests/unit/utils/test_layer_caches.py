"""Layers that cache the first graph they see, as in PyG's own examples for Cora."""

from __future__ import annotations

import torch
from torch_geometric.nn import GCNConv, Sequential, SGConv

from edgegnn.checkpoint import Checkpoint


def test_a_model_with_caches_is_taken_on_any_graph():
    layers = [(GCNConv(3, 4, cached=True), "x, edge_index -> x"), (SGConv(4, 2, cached=True), "x, edge_index -> x")]
    model = Sequential("x, edge_index", layers).eval()
    x, one, other = torch.rand(5, 3), torch.tensor([[0, 1, 2], [1, 2, 3]]), torch.tensor([[4, 3], [3, 0]])
    first = model(x, one)
    assert torch.equal(model(x, other), first)  # the mistake
    Checkpoint(model, {"factory": "models:make", "args": {}})
    assert torch.allclose(model(x, one), first)
    assert not torch.allclose(model(x, other), first)
