"""static-int8: what is looked up by a feature, or compared with a number, reads the feature and not its codes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch_geometric.nn as gnn
from torch import nn

from edgegnn.exporting.capture import capture
from edgegnn.exporting.ptq import static_int8
from edgegnn.exporting.unsigned_weights import unsigned_weights
from edgegnn.runtime import make_session


class Model(nn.Module):
    """The first column is a category beside features on another scale, which a Linear reads as well."""

    def __init__(self, decide):
        super().__init__()
        self.decide = decide
        self.table, self.lin, self.conv = nn.Embedding(5, 8), nn.Linear(4, 8), gnn.GCNConv(8, 3)

    def forward(self, x, edge_index):
        return self.conv(self.lin(x) + self.table(self.decide(x)), edge_index)


DECISIONS = {
    "cast": lambda x: x[:, 0].long(),
    "clamped": lambda x: x[:, 0].clamp(0, 4).long(),
    "rounded": lambda x: (x[:, :1].round() % 5).long().squeeze(1),
    "compared": lambda x: (x[:, 0] >= 3).long() + (x[:, 0] >= 1).long(),
}


@pytest.mark.parametrize(
    "name", ["cast", "compared", *(pytest.param(name, marks=pytest.mark.slow) for name in ("clamped", "rounded"))]
)
def test_categories_stay(name):
    torch.manual_seed(0)
    x = torch.randn(40, 4) * torch.tensor([1.0, 1.0, 1.0, 100.0])
    x[:, 0] = torch.arange(40) % 5
    model = Model(DECISIONS[name]).eval()
    with torch.no_grad():
        model.lin.weight[:, :3] = 0  # what 8 bits leave of them is another matter
        model.lin.weight[:, 3] /= 100
    args = {"x": x, "edge_index": torch.randint(40, (2, 100))}
    inputs = {name: value.numpy() for name, value in args.items()}
    made = static_int8(capture(model, args, kind="node"), [inputs])
    assert any(node.op_type == "QuantizeLinear" and node.input[0] == "x" for node in made.graph.node)
    got = make_session(unsigned_weights(made).SerializeToString()).run(None, inputs)[0]
    with torch.no_grad():
        want = model(**args).numpy()
    assert np.abs(got - want).max() < 0.15 * np.abs(want).max()


class Recurrent(nn.Module):
    """One cell, run twice: its weights are read by two products each; the head reads one row a graph."""

    def __init__(self):
        super().__init__()
        self.conv, self.head = gnn.GatedGraphConv(8, 2), nn.Linear(8, 2)

    def forward(self, x, edge_index, batch):
        return self.head(gnn.global_add_pool(self.conv(x, edge_index), batch))


@pytest.mark.slow
def test_a_weight_that_several_products_read_is_quantized_once():
    torch.manual_seed(0)
    model = Recurrent().eval()
    args = {"x": torch.randn(12, 6), "edge_index": torch.randint(12, (2, 30)), "batch": torch.zeros(12).long()}
    inputs = {name: value.numpy() for name, value in args.items()}
    made = static_int8(capture(model, {**args, "batch": torch.arange(12) // 6}, kind="graph"), [inputs])
    got = make_session(unsigned_weights(made).SerializeToString()).run(None, inputs)[0]
    with torch.no_grad():
        want = model(**args).numpy()
    assert np.abs(got - want).max() < 0.1 * np.abs(want).max()
