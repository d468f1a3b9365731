"""Aggregators and pools that torch.export or ONNX has no form for: the artifact computes what PyTorch does."""

from __future__ import annotations

import pytest
import torch
import torch_geometric.nn as gnn
from capture_example import CLASSES, FEATURES, HIDDEN, Stack, assert_same, graph, other_graphs
from sweep import sweep
from torch import nn
from torch_geometric.data import Data
from torch_geometric.utils import to_dense_batch

from edgegnn import api
from edgegnn.checkpoint import Checkpoint
from edgegnn.errors import ExportError
from edgegnn.exporting.capture import capture
from edgegnn.exporting.smallest_graphs import _limits
from edgegnn.exporting.ties import LowerIndexFirst
from edgegnn.runtime import verify
from edgegnn.training.sparse_entries import Entries, product

pytestmark = [
    pytest.mark.filterwarnings("ignore:Sparse CSR tensor support is in beta"),
    pytest.mark.filterwarnings("ignore:Sparse invariant checks are implicitly disabled"),
]


class Readout(nn.Module):
    def __init__(self, readout, width=HIDDEN):
        super().__init__()
        self.conv, self.readout, self.head = gnn.GCNConv(FEATURES, HIDDEN), readout, nn.Linear(width, CLASSES)

    def forward(self, x, edge_index, batch):
        return self.head(self.readout(self.conv(x, edge_index).relu(), batch))


class Clusters(nn.Module):
    """A pool between two convolutions; the second one takes the edges and weights that the pool made."""

    def __init__(self, pool, merges=False):
        super().__init__()
        self.first, self.pool, self.merges = gnn.GCNConv(FEATURES, HIDDEN), pool, merges
        self.second, self.head = gnn.GraphConv(HIDDEN, HIDDEN), nn.Linear(HIDDEN, CLASSES)

    def forward(self, x, edge_index, batch):
        x = self.first(x, edge_index).relu()
        if self.merges:
            x, edge_index, batch, _ = self.pool(x, edge_index, batch)
        else:
            x, edge_index, weight, batch, _ = self.pool(x, edge_index, batch=batch)
            x = self.second(x, edge_index, weight).relu()
        return self.head(gnn.global_mean_pool(x, batch))


class Recurrent(nn.Module):
    """A user's own recurrent readout, of two layers in both directions."""

    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(FEATURES, HIDDEN, 2, bidirectional=True)
        self.head = nn.Linear(2 * HIDDEN, CLASSES)

    def forward(self, x, edge_index, batch):
        steps, _ = to_dense_batch(x, batch)
        return self.head(self.lstm(steps.transpose(0, 1))[0].sum(0))


READOUTS = {
    "sort": lambda: Readout(gnn.SortAggregation(k=5), width=5 * HIDDEN),
    "LSTM": lambda: Readout(gnn.LSTMAggregation(HIDDEN, HIDDEN)),
    "GRU": lambda: Readout(gnn.GRUAggregation(HIDDEN, HIDDEN, num_layers=2)),
    "own LSTM": Recurrent,
    "quantiles": lambda: Readout(gnn.QuantileAggregation([0.25, 0.5, 0.9], fill_value=3.0), width=3 * HIDDEN),
    "ASAPooling": lambda: Clusters(gnn.ASAPooling(HIDDEN, 0.5)),
    "ASAPooling with a GNN": lambda: Clusters(gnn.ASAPooling(HIDDEN, 3, GNN=gnn.GraphConv, add_self_loops=True)),
}


def set_seed():
    torch.manual_seed(0)


@pytest.mark.slow
# ASAPooling alone runs with --every: with a GNN of its own it does all of that.
@pytest.mark.parametrize("name", sweep(list(READOUTS), lambda i: i % 2 == 0 and list(READOUTS)[i] != "ASAPooling"))
def test_a_readout_is_that_of_pytorch(name):
    set_seed()
    model = READOUTS[name]().eval()
    with LowerIndexFirst():
        assert_same(model, capture(model, graph(21, 50, 4), kind="graph"), other_graphs(4))


@pytest.mark.slow
@pytest.mark.parametrize("aggr", ["lstm", "gru"])
def test_neighbours_in_any_order_give_the_answer_of_sorted_ones(aggr):
    """PyTorch refuses edges that are not sorted by target; the artifact sorts them itself."""
    set_seed()
    widths = {"in_channels": FEATURES, "out_channels": FEATURES}
    model = Stack(gnn.SAGEConv(FEATURES, HIDDEN, aggr=aggr, aggr_kwargs=widths)).eval()
    captured = capture(model, by_target(graph(21, 50)), kind="node")
    many, loop = other_graphs()["larger"], other_graphs()["one node, self loop"]

    class Sorted(nn.Module):
        def forward(self, x, edge_index):
            return model(**by_target({"x": x, "edge_index": edge_index}))

    assert_same(Sorted(), captured, {"larger": many, "loop": loop})


def by_target(inputs):
    edges = inputs["edge_index"]
    return {**inputs, "edge_index": edges[:, edges[1].argsort(stable=True)]}


def test_a_product_of_sparse_matrices_is_that_of_dense_ones():
    gen = torch.Generator().manual_seed(0)
    rows, inner, columns = 5, 7, 4

    def drawn(height, width, entries):
        places = torch.randint(height * width, (entries,), generator=gen)  # some of them twice
        return Entries(places // width, places % width, torch.randn(entries, generator=gen))

    def dense(matrix, height, width):
        return torch.zeros(height, width).index_put((matrix.row, matrix.column), matrix.value, accumulate=True)

    for entries in (0, 1, 20):
        a, b = drawn(rows, inner, entries), drawn(inner, columns, entries)
        found = product(a, b, inner, columns)
        torch.testing.assert_close(dense(found, rows, columns), dense(a, rows, inner) @ dense(b, inner, columns))
        places = found.row * columns + found.column
        assert (places.diff() > 0).all()


def test_the_lower_index_of_equal_numbers_comes_first():
    x = torch.tensor([1.0, 2.0] * 40)
    with LowerIndexFirst():
        order, best = x.sort(descending=True).indices, x.topk(45).indices
        assert torch.equal(x.argsort(), torch.cat([torch.arange(0, 80, 2), torch.arange(1, 80, 2)]))
    assert torch.equal(order, torch.cat([torch.arange(1, 80, 2), torch.arange(0, 80, 2)]))
    assert torch.equal(best, order[:45])


def test_what_real_graphs_lack_is_no_limit():
    """PyG's quantiles fail where node 0 has no neighbours, and only there."""

    def runs(nodes, edges):
        return bool((edges[1] == 0).any())

    real = {"least_nodes": 30, "least_edges": 9, "least_in_degree": 0, "least_out_degree": 0, "least_degree": 0}
    assert _limits(runs, real, None) == {"least_edges": 1}
    assert _limits(runs, real | {"least_in_degree": 2}, None) == {"least_in_degree": 1}


def molecules(count=45):
    gen = torch.Generator().manual_seed(0)
    graphs = []
    for i in range(count):
        nodes = int(torch.randint(6, 16, (1,), generator=gen))
        x = torch.randn(nodes, FEATURES, generator=gen) + i % 3
        graphs.append(
            Data(x=x, edge_index=torch.randint(nodes, (2, 3 * nodes), generator=gen), y=torch.tensor([i % 3]))
        )
    return graphs


def exported(model, tmp_path, quant, status=lambda _: None, format=None):
    torch.save(molecules(), tmp_path / "data.pt")
    checkpoint = Checkpoint(model.eval(), {"factory": "models:build", "args": {}})
    return api.export(
        checkpoint,
        data=str(tmp_path / "data.pt"),
        quant=quant,
        output=tmp_path / "artifact",
        settings={"epochs": 1},
        status=status,
        format=format,
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "quant"),
    sweep([("sort", "dq-int8"), ("LSTM", "static-int8"), ("ASAPooling", "dq-int8"), ("sort", "none")], lambda i: i < 2),
)
def test_an_artifact_with_it_holds(name, quant, tmp_path):
    set_seed()
    found = exported(READOUTS[name](), tmp_path, quant)
    assert found.manifest["runtime"] == "onnxruntime"
    assert found.manifest["limits"] == found.manifest["fails_on"] == {}
    if quant != "static-int8":  # nodes of equal score: PyTorch's order is that of the artifact
        assert found.parity.max_abs_error < 1e-4
    assert verify(tmp_path / "artifact").ok


@pytest.mark.slow
@pytest.mark.parametrize("name", sweep(["LSTM", "sort"], lambda i: i == 0))
def test_torchscript_computes_it_with_operators_of_torch(name, tmp_path):
    set_seed()
    assert exported(READOUTS[name](), tmp_path, "none", format="torchscript").parity.max_abs_error < 1e-5


def test_what_cannot_be_exported_is_said_before_training(tmp_path):
    said = []
    with pytest.raises(ExportError, match=r"^pool \(EdgePooling\) can't be exported: .*take TopKPooling"):
        exported(Clusters(gnn.EdgePooling(HIDDEN), merges=True), tmp_path, "dq-int8", said.append)
    assert said == []
