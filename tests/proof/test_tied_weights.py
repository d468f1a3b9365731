"""Weights that two layers share: a valid file with integer operators for recipes that train, one copy in the file."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
import torch
import torch_geometric.nn as gnn
from a2q_example import node_task
from capture_example import session
from torch import nn

from edgegnn.exporting.capture import capture
from edgegnn.exporting.rewrite import rewrite_proto
from edgegnn.quantize import finetune, recipe
from edgegnn.training import FitConfig


class Tied(nn.Module):
    """The second of two layers may stay float while the first becomes an integer operator."""

    def __init__(self, width):
        super().__init__()
        self.a = gnn.GCNConv(8, width)
        self.l1, self.l2, self.o = nn.Linear(width, width), nn.Linear(width, width), nn.Linear(width, 3)
        self.l2.weight = self.l1.weight

    def forward(self, x, edge_index):
        return self.o(self.l2(self.l1(self.a(x, edge_index).relu()).relu()).relu())


def inputs_of(task):
    return {"x": task.graphs[0].x, "edge_index": task.graphs[0].edge_index}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["a2q", "dq-int8"])
def test_quantized(name):
    torch.manual_seed(0)
    model, _ = finetune(Tied(8), node_task(), recipe(name), FitConfig(epochs=1))
    inputs = inputs_of(node_task())
    rewritten = rewrite_proto(capture(model, inputs, kind="node")).model
    onnx.checker.check_model(rewritten)
    assert {"QGemm", "QGemmFloat"} & {node.op_type for node in rewritten.graph.node}
    (got,) = session(rewritten).run(None, {k: v.numpy() for k, v in inputs.items()})
    with torch.no_grad():
        want = model.eval()(**inputs).numpy()
    np.testing.assert_allclose(got, want, rtol=0, atol=0.05 * np.abs(want).max())


def test_one_copy_of_a_large_weight():
    width = 40  # 1,600 elements
    model, inputs = Tied(width), inputs_of(node_task())
    captured = capture(model.eval(), inputs, kind="node")
    for form in (captured, rewrite_proto(captured).model):
        shapes = [tuple(i.dims) for i in form.graph.initializer]
        assert shapes.count((width, width)) == 1
        (got,) = session(form).run(None, {k: v.numpy() for k, v in inputs.items()})
        np.testing.assert_allclose(got, model(**inputs).detach().numpy(), rtol=0, atol=1e-5)
