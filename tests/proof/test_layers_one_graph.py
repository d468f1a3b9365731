"""Models with a learnt row for each node of one graph, and models of a single logit."""

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
from edgegnn.exporting.table import table_sizes
from edgegnn.runtime import predict, verify

NODES, FEATURES = 90, 6


class Table(nn.Module):
    """A learnt row for each node, beside features or in their place."""

    def __init__(self, beside=True):
        super().__init__()
        self.rows, self.beside = nn.Embedding(NODES, FEATURES), beside
        self.first, self.second = gnn.GCNConv(FEATURES, 16), gnn.GCNConv(16, 3)

    def forward(self, x, edge_index):
        x = x + self.rows.weight if self.beside else self.rows.weight
        return self.second(self.first(x, edge_index).relu(), edge_index)


class OneLogit(nn.Module):
    def __init__(self, flat, sigmoid=False):
        super().__init__()
        self.conv, self.head = gnn.GCNConv(FEATURES, 16), nn.Linear(16, 1)
        self.flat, self.sigmoid = flat, sigmoid

    def forward(self, x, edge_index, batch=None):
        x = self.conv(x, edge_index).relu()
        out = self.head(x if batch is None else gnn.global_mean_pool(x, batch))
        out = out.sigmoid() if self.sigmoid else out
        return out.squeeze(-1) if self.flat else out


def one_graph(classes):
    gen = torch.Generator().manual_seed(0)
    y, at = torch.arange(NODES) % classes, torch.arange(NODES)
    return Data(
        x=torch.randn(NODES, FEATURES, generator=gen) + y[:, None],
        edge_index=torch.randint(NODES, (2, 4 * NODES), generator=gen),
        y=y,
        train_mask=at < 40,
        val_mask=(at >= 40) & (at < 65),
        test_mask=at >= 65,
    )


def graphs(count=40):
    gen = torch.Generator().manual_seed(0)
    sizes = torch.randint(5, 12, (count,), generator=gen).tolist()
    return [
        Data(
            x=torch.randn(n, FEATURES, generator=gen) + i % 2,
            edge_index=torch.randint(n, (2, 3 * n), generator=gen),
            y=torch.tensor([i % 2]),
        )
        for i, n in enumerate(sizes)
    ]


def exported(model, data, tmp_path, quant):
    torch.manual_seed(0)
    torch.save(data, tmp_path / "data.pt")
    return api.export(
        Checkpoint(model.eval(), {"factory": "models:build", "args": {}}),
        data=str(tmp_path / "data.pt"),
        quant=quant,
        output=tmp_path / "artifact",
        settings={"epochs": 1},
    )


@pytest.mark.slow
@pytest.mark.parametrize(("beside", "quant"), [(False, "static-int8"), (True, "dq-int8")])
def test_a_learnt_row_for_each_node_is_for_that_graph(beside, quant, tmp_path):
    data = one_graph(3)
    found = exported(Table(beside), data, tmp_path, quant).manifest
    assert found["inputs"][0]["shape"] == [NODES, FEATURES]
    assert verify(tmp_path / "artifact").ok
    more = {"x": np.zeros((NODES + 1, FEATURES), np.float32), "edge_index": data.edge_index.numpy()}
    with pytest.raises(
        DataError, match=rf"x has the shape \[{NODES + 1}, {FEATURES}\], the model takes \[{NODES}, {FEATURES}\]"
    ):
        predict(tmp_path / "artifact", more)


def test_a_table_is_told_from_a_layer_that_is_as_wide_as_the_graph():
    data = one_graph(2)
    args = {"x": data.x, "edge_index": data.edge_index}
    sizes = {"num_nodes": NODES}
    assert table_sizes(Table().eval(), args) == table_sizes(Table(beside=False).eval(), args) == sizes
    assert table_sizes(gnn.GCN(FEATURES, NODES, 2, 2).eval(), args) == {}
    fewer = {"x": data.x[:-1], "edge_index": data.edge_index[:, :0]}
    assert table_sizes(gnn.GCN(FEATURES, NODES, 2, 2).eval(), fewer) == {}


@pytest.mark.slow
@pytest.mark.parametrize(("of_nodes", "flat", "quant"), [(True, True, "none"), (False, False, "dq-int8")])
def test_one_logit_of_two_classes(of_nodes, flat, quant, tmp_path):
    data = one_graph(2) if of_nodes else graphs()
    model = OneLogit(flat)
    manifest = exported(model, data, tmp_path, quant).manifest
    assert manifest["outputs"][0]["shape"] == (["num_nodes"] if flat else ["num_graphs", 1])
    assert verify(tmp_path / "artifact").ok
    first = data if of_nodes else data[0]
    with torch.no_grad():
        assert (model(first.x, first.edge_index).dim() == 1) == flat  # the user's own model is left alone
    if quant == "none":
        with torch.no_grad():
            wanted = model(data.x, data.edge_index) > 0
        right = float((wanted.long() == data.y)[data.test_mask].float().mean())
        assert manifest["metric"]["artifact"] == pytest.approx(right)


def test_a_probability_is_no_logit(tmp_path):
    with pytest.raises(DataError, match=r"ends in a sigmoid: its one column must be a logit"):
        exported(OneLogit(flat=True, sigmoid=True), graphs(), tmp_path, "none")
