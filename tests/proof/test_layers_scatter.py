"""Models that call torch_scatter in forward are exported, whatever name they have for its functions."""

from __future__ import annotations

import sys

import pytest
import torch
from capture_example import CLASSES, FEATURES, HIDDEN, assert_same, graph, other_graphs
from scatter_package import package
from torch import nn

from edgegnn.exporting.capture import capture
from edgegnn.exporting.scatter_operators import torch_scatter_operators


@pytest.fixture
def scatter(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch_scatter", package())
    return package()


class ByHand(nn.Module):
    """Attention over edges and two readouts, with functions of torch_scatter only."""

    def __init__(self, functions):
        super().__init__()
        self.functions, self.mean = functions, functions.scatter_mean  # a name of the model's own
        self.lift, self.score = nn.Linear(FEATURES, HIDDEN), nn.Linear(2 * HIDDEN, 1)
        self.head = nn.Linear(3 * HIDDEN, CLASSES)

    def forward(self, x, edge_index, batch):
        x, (source, target) = self.lift(x), edge_index
        score = self.score(torch.cat([x[source], x[target]], dim=1))
        weight = self.functions.scatter_softmax(score, target, dim=0, dim_size=x.shape[0])
        x = x + self.functions.scatter_sum(weight * x[source], target, dim=0, dim_size=x.shape[0])
        count = torch.zeros(int(batch.max()) + 1, dtype=torch.long).scatter_add(0, batch, torch.ones_like(batch))
        pointers = torch.cat([count.new_zeros(1), count.cumsum(0)])
        largest = self.functions.scatter_max(x, batch, dim=0)[0]
        spread = self.functions.segment_csr(x.square(), pointers, reduce="mean")
        return self.head(torch.cat([self.mean(x, batch, dim=0), largest, spread], dim=1))


@pytest.mark.slow
def test_a_model_of_torch_scatter(scatter):
    torch.manual_seed(0)
    model = ByHand(scatter).eval()
    captured = capture(model, graph(21, 50, 4), kind="graph")
    assert {node.domain for node in captured.graph.node} == {""}
    assert_same(model, captured, other_graphs(4))


@pytest.mark.parametrize("reduce", ["sum", "mul", "mean", "min", "max"])
@pytest.mark.parametrize("dim", [0, 1])
def test_each_operator_is_that_of_the_package(scatter, reduce, dim):
    gen = torch.Generator().manual_seed(0)
    src, index = torch.randn(12, 8, generator=gen).round(decimals=1), torch.randint(5, (12 - 4 * dim,), generator=gen)
    sorted_index = index[:12].sort().values
    pointers = torch.tensor([1, 4, 4, 9, 11])
    calls = {
        "scatter": (src, index, dim, None, 7),
        "scatter by itself": (src, index, dim, None, None),
        "segment_coo": (src, sorted_index, None, 6),
        "segment_csr": (src, pointers, None),
    }
    for name, args in calls.items():
        if dim == 1 and name.startswith("segment"):
            continue
        form = name.split()[0]
        own = f"segment_{reduce}_{form[8:]}" if form.startswith("segment") else f"scatter_{reduce}"
        wanted = getattr(torch.ops.torch_scatter, own)(*args)
        with torch_scatter_operators():
            found = getattr(torch.ops.torch_scatter, own)(*args)
        for one, other in zip(*((v if isinstance(v, tuple) else (v,)) for v in (found, wanted)), strict=True):
            torch.testing.assert_close(one, other.to(one.dtype), msg=f"{name}")


def test_rows_are_gathered_by_segment(scatter):
    src, pointers = torch.randn(3, 4), torch.tensor([0, 2, 2, 5])
    wanted = scatter.gather_csr(src, pointers)
    with torch_scatter_operators():
        torch.testing.assert_close(scatter.gather_csr(src, pointers), wanted)
