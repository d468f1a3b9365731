"""Equal numbers: where PyTorch's own order is open the artifact's may be another, and nowhere else."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
import torch
import torch_geometric.nn as gnn
from sweep import sweep
from torch import nn
from torch_geometric.data import Data

from edgegnn import api
from edgegnn.checkpoint import Checkpoint
from edgegnn.errors import ParityError
from edgegnn.exporting import onnx_format
from edgegnn.exporting.rounding import rounded_otherwise
from edgegnn.exporting.samples import Sample
from edgegnn.runtime import verify

REWRITE = onnx_format.rewrite_proto


class Pooled(nn.Module):
    """A fifth of the nodes, those with the largest scores: tanh of a projection, or the projection itself."""

    def __init__(self, nonlinearity="tanh"):
        super().__init__()
        self.conv, self.out = gnn.GraphConv(4, 8), nn.Linear(8, 2)
        self.pool = gnn.TopKPooling(8, ratio=0.2, nonlinearity=nonlinearity)

    def forward(self, x, edge_index, batch):
        x, _, _, batch, _, _ = self.pool(self.conv(x, edge_index), edge_index, None, batch)
        return self.out(gnn.global_mean_pool(x, batch))


class Normalized(nn.Module):
    """Rows that add up to one."""

    def __init__(self):
        super().__init__()
        self.first, self.second = gnn.GCNConv(8, 16), gnn.GCNConv(16, 3)

    def forward(self, x, edge_index):
        x = x / (x.sum(1, keepdim=True) + 1e-8)
        return self.second(self.first(x, edge_index).relu(), edge_index)


def graphs(scale):
    torch.manual_seed(0)
    return [
        Data(x=scale * torch.randn(30, 4), edge_index=torch.randint(30, (2, 90)), y=torch.tensor([i % 2]))
        for i in range(60)
    ]


def export(place, model, data, quant="none"):
    torch.save(data, place / "data.pt")
    checkpoint = Checkpoint(model.eval(), {"factory": "models:build", "args": {}})
    return api.export(checkpoint, quant=quant, data=str(place / "data.pt"), output=place / "a", settings={"epochs": 2})


@pytest.mark.slow
@pytest.mark.parametrize("scale", sweep([10, 1000], lambda i: i == 1))
def test_saturated_scores_are_exported_and_graphs_that_turn_are_named(tmp_path, scale):
    data = graphs(scale)
    parity = export(tmp_path, Pooled(), data).parity
    turned = {row["name"] for row in parity.per_graph if row["max_abs_error"] > 1e-3 * scale}
    assert turned <= set(parity.sensitive)
    assert verify(tmp_path / "a").ok


@pytest.mark.slow
def test_predictions_tied_but_for_rounding(tmp_path):
    """With integers, both classes of two nodes are 2e-8 apart."""
    torch.manual_seed(0)
    data = Data(x=torch.rand(90, 8), edge_index=torch.randint(90, (2, 300)), y=torch.arange(90) % 3)
    result = export(tmp_path, Normalized(), data, "dq-int8")
    assert result.parity.max_abs_error < 1e-6
    assert verify(tmp_path / "a").ok


def ranking_by(kind):
    """The artifact's model, with a function of the scores in front of the TopK that sorts them."""

    def broken(model, **options):
        done = REWRITE(model, **options)
        made = done.model
        at, node = next((i, n) for i, n in enumerate(made.graph.node) if n.op_type == "TopK")
        made.graph.node.insert(at, onnx.helper.make_node(kind, [node.input[0]], ["other score"]))
        node.input[0] = "other score"
        return done

    return broken


@pytest.mark.slow
@pytest.mark.parametrize(
    ("scale", "score", "wrong"),
    sweep([(1, "tanh", "Neg"), (10, "tanh", "Neg"), (1000, "tanh", "Abs"), (10, None, "Tanh")], lambda i: i >= 2),
    ids=["negative", "negative, of saturated ones", "magnitude of saturated ones", "saturated where PyTorch's are not"],
)
def test_an_artifact_that_ranks_by_something_else_is_refused(tmp_path, monkeypatch, scale, score, wrong):
    data = graphs(scale)
    model = Pooled(score or nn.Identity())
    monkeypatch.setattr(onnx_format, "rewrite_proto", ranking_by(wrong))
    with pytest.raises(ParityError, match=r"predicts differently|differ from PyTorch's"):
        export(tmp_path, model, data)
    assert not (tmp_path / "a").exists()


# Where PyTorch turns ------------------------------------------------------------


class Of(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x).float().view(-1, 1)


def turns(function, values):
    """How many of the outputs change when numbers are rounded otherwise."""
    sample = Sample("values", "data", {"x": np.asarray(values)})
    found = rounded_otherwise(Of(function).eval(), sample)
    return int((np.abs(np.stack(found) - found[0]).max(axis=0) > 0.5).sum())


TIED = np.array([3.0, 1.0, 2.0, 1.0], np.float32)


@pytest.mark.parametrize(
    ("function", "values", "number"),
    [
        (lambda x: x.long().argsort(), TIED, 0),
        (lambda x: (x * 3 + 1).topk(3).indices, TIED, 0),
        (lambda x: (x * 1.1 - 0.1).sort(descending=True).indices, TIED, 2),
        (lambda x: (x * 1.1 - 0.1).topk(3).indices, TIED, 1),
        (lambda x: x.sigmoid().argsort(), np.array([0.1, 25.0, 0.2, 30.0], np.float32), 2),
        (lambda x: x.tanh().argsort(), np.array([0.1, 0.3, 0.2, 0.4], np.float32), 0),
        (lambda x: torch.stack([x.sum() - 6.6, x[0] * 0], 0).argmax(), np.array([2.2, 1.1, 3.3], np.float32), 1),
        (lambda x: x.round().sum() > 6, np.array([1, 2, 3], np.float32), 0),
        (lambda x: torch.stack([x[0], x[0] * 3 / 3]).max(0).indices, np.array([1.3], np.float32), 1),
    ],
    ids=[
        "equal integers",
        "equal whole numbers",
        "equal but for rounding",
        "equal but for rounding, the largest",
        "saturated",
        "apart",
        "near zero",
        "exact sums",
        "largest of two",
    ],
)
def test_orders_and_comparisons_turn_where_rounding_decides(function, values, number):
    assert turns(function, values) == number


@pytest.mark.parametrize(("apart", "open_"), [(0.0, True), (2e-8, True), (1e-5, False)])
def test_the_printed_prediction_is_open_where_logits_are_as_good_as_equal(apart, open_):
    """The largest is taken outside the model."""
    model = Of(lambda x: x)
    model.forward = lambda x: torch.stack([x * 0 + 0.11, x * 0 + 0.11 + apart], 1)  # type: ignore[method-assign]
    found = rounded_otherwise(model.eval(), Sample("values", "data", {"x": np.ones(1, np.float32)}))
    assert (len({int(out.argmax()) for out in found}) == 2) is open_
