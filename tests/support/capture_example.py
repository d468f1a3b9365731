"""Graphs, a small model and a comparison, for the tests of capture."""

from __future__ import annotations

import numpy as np
import onnxruntime as ort
import torch
from torch import nn

from edgegnn.exporting.unsigned_weights import unsigned_weights

FEATURES, HIDDEN, CLASSES = 10, 8, 3


def graph(nodes, edges, graphs=0, *, seed=0, edge_attr=0, edge_weight=False):
    """Inputs of one graph or a batch of `graphs`, in the order of the contract."""
    gen = torch.Generator().manual_seed(seed)
    inputs = {
        "x": torch.randn(nodes, FEATURES, generator=gen),
        "edge_index": torch.randint(0, nodes, (2, edges), generator=gen),
    }
    if edge_attr:
        inputs["edge_attr"] = torch.rand(edges, edge_attr, generator=gen)
    if edge_weight:
        inputs["edge_weight"] = torch.rand(edges, generator=gen)
    if graphs:
        some = torch.randint(0, graphs, (nodes - graphs,), generator=gen)
        inputs["batch"] = torch.cat([torch.arange(graphs), some]).sort().values
    return inputs


def other_graphs(graphs=0, **kind):
    """Graphs unlike the one that was traced."""
    one, few, some = (1, 3, 5) if graphs else (0, 0, 0)
    duplicates = graph(12, 30, few, seed=5, **kind)
    duplicates["edge_index"] = (duplicates["edge_index"] % 5).clone()  # nodes 5 to 11 are isolated
    duplicates["edge_index"][:, 10:20] = duplicates["edge_index"][:, :10]
    return {
        "larger": graph(53, 171, some, seed=1, **kind),
        "one graph": graph(17, 40, one, seed=2, **kind),
        "no edges": graph(9, 0, few, seed=3, **kind),
        "one node": graph(1, 0, one, seed=4, **kind),
        "one node, self loop": graph(1, 1, one, seed=4, **kind),
        "isolated nodes, duplicate edges": duplicates,
    }


def session(model, threads=1):
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = threads, 4
    content = unsigned_weights(model).SerializeToString()
    return ort.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def assert_same(model, captured, graphs, tolerance=2e-5):
    run = session(captured)
    for name, inputs in graphs.items():
        with torch.no_grad():
            want = model(**inputs).numpy()
        (got,) = run.run(None, {k: v.numpy() for k, v in inputs.items()})
        assert got.shape == want.shape, name
        np.testing.assert_allclose(got, want, rtol=0, atol=tolerance * max(1.0, np.abs(want).max()), err_msg=name)


def mlp(inputs, outputs):
    return nn.Sequential(nn.Linear(inputs, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, outputs))


class Stack(nn.Module):
    """Convolutions one after the other."""

    def __init__(self, *convs):
        super().__init__()
        self.convs = nn.ModuleList(convs)

    def forward(self, x, edge_index):
        for conv in self.convs:
            x = conv(x, edge_index).relu()
        return x
