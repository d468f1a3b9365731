"""Which points are neighbours is decided by numbers that were not rounded; where rounding decides, that is said."""

from __future__ import annotations

import numpy as np
import onnx.parser
import onnx_ir as ir
import pytest
import torch
from torch import nn
from torch_geometric.nn import knn_graph

from edgegnn.exporting.decisions import decide_exactly, places_points
from edgegnn.exporting.rounding import rounded_otherwise
from edgegnn.exporting.samples import Sample
from edgegnn.tasks import notes

MODEL = """<ir_version: 9, opset_import: ["" : 18, "ai.edgegnn" : 1]>
g (float[n, 2] x, int64[n] batch, float[2, 4] place, float[4, 4] other) => (int64[2, e] edges, float[n, 4] y)
<float scale = {0.1}, uint8 zero = {0}, int64[1] some = {0}>
{
  [place] position = MatMul (x, place)
  [relu] h = Relu (position)
  codes = QuantizeLinear (h, scale, zero)
  rounded = DequantizeLinear (codes, scale, zero)
  picked = Gather (rounded, some)
  few = Gather (batch, some)
  edges = ai.edgegnn.Knn <k = 2> (rounded, picked, batch, few)
  [other] y = MatMul (rounded, other)
}
"""


def test_neighbours_are_looked_for_among_numbers_as_they_are():
    graph = ir.from_proto(onnx.parser.parse_model(MODEL)).graph
    decide_exactly(graph)
    read = {node.outputs[0].name: [value.name for value in node.inputs] for node in graph}
    assert read["edges"][:2] == ["h", "picked"]
    assert read["picked"][0] == "h"
    assert read["y"][0] == "rounded"


def test_products_that_place_points_stay_float():
    lines = [line for line in MODEL.splitlines() if "Linear" not in line]
    assert places_points(onnx.parser.parse_model("\n".join(lines).replace("rounded", "h"))) == {"place"}


class _Nearest(nn.Module):
    def forward(self, x):
        source, target = knn_graph(x, 1)
        return torch.zeros_like(x).index_add(0, target, x[source])


@pytest.mark.parametrize(("far", "said"), [(1.0000001, True), (1.5, False)])
def test_neighbours_that_rounding_decides_are_named(far, said, caplog):
    notes.note.cache_clear()
    x = np.array([[0.0], [far], [-1.0000001]], np.float32)
    rounded_otherwise(_Nearest(), Sample("close", "data", {"x": x}))
    assert ("on the graph close points are so nearly equally far" in caplog.text) is said
