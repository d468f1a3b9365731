"""A graph's answer in dynamic-int8 is the same, whatever else is in its batch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torch_geometric.nn import ARMAConv, GINConv, global_add_pool

from edgegnn.errors import ExportError
from edgegnn.exporting.capture import capture
from edgegnn.exporting.entry_points import EntryPoint, chained
from edgegnn.exporting.ptq import dynamic_int8
from edgegnn.exporting.unsigned_weights import unsigned_weights
from edgegnn.runtime import make_session


class Gin(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = GINConv(nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 8)))
        self.head = nn.Linear(8, 2)

    def forward(self, x, edge_index, batch):
        return self.head(global_add_pool(self.conv(x, edge_index).relu(), batch))


def test_other_graphs_in_the_batch_change_nothing():
    torch.manual_seed(0)
    x = torch.randn(12, 3)
    x[0] = 0  # a row of zeros has a scale, too
    x[6:] *= 500  # another graph of far larger numbers
    edges = torch.tensor([[0, 1, 2, 7, 8], [1, 2, 3, 6, 9]])
    batch = torch.arange(12) // 6
    model = Gin().eval()
    both = {"x": x, "edge_index": edges, "batch": batch}
    session = make_session(unsigned_weights(dynamic_int8(capture(model, both, kind="graph"))).SerializeToString())
    one = {"x": x[:6], "edge_index": edges[:, :3], "batch": batch[:6]}
    alone = session.run(None, {name: value.numpy() for name, value in one.items()})[0]
    together = session.run(None, {name: value.numpy() for name, value in both.items()})[0]
    np.testing.assert_array_equal(together[:1], alone)
    with torch.no_grad():
        want = model(**one).numpy()
    assert np.abs(alone - want).max() < 0.02 * np.abs(want).max() + 0.01


class Stacked(nn.Module):
    """ARMAConv multiplies by several matrices at once; MatMulInteger can't do that with a scale for each column."""

    def __init__(self):
        super().__init__()
        self.first, self.conv = nn.Linear(4, 8), ARMAConv(8, 8, num_stacks=2)

    def forward(self, x, edge_index):
        return self.conv(self.first(x), edge_index)


def test_a_product_with_several_matrices_stays_float():
    torch.manual_seed(0)
    model, args = Stacked().eval(), {"x": torch.randn(12, 4), "edge_index": torch.randint(12, (2, 30))}
    made = dynamic_int8(capture(model, args, kind="node"))
    assert sum(node.op_type == "MatMulInteger" for node in made.graph.node) == 1
    got = make_session(unsigned_weights(made).SerializeToString()).run(
        None, {name: value.numpy() for name, value in args.items()}
    )[0]
    with torch.no_grad():
        want = model(**args).numpy()
    assert np.abs(got - want).max() < 0.03 * np.abs(want).max()


def test_what_onnxruntime_says_when_it_fails_is_one_line():
    class Failing:
        def get_inputs(self):
            return []

        def run(self, *_):
            raise RuntimeError("B zero point is not valid\nmore")

    with pytest.raises(ExportError, match=r"^onnxruntime fails to run model\.onnx: B zero point is not valid$"):
        chained([EntryPoint("", "model.onnx", "node", "logits", {}, list)], [Failing()])({})
