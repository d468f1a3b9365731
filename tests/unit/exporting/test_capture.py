"""Capture: any PyG module, any number of nodes, edges and graphs, small clean files, errors that name the layer."""

from __future__ import annotations

import copy
import io
import logging
import sys
import warnings

import pytest
import torch
import torch_geometric.nn as gnn
from capture_example import CLASSES, FEATURES, HIDDEN, Stack, assert_same, graph, mlp, other_graphs, session
from torch import nn
from torch.export import Dim

from edgegnn.errors import ExportError
from edgegnn.exporting.capture import capture, program_inputs


class Everything(nn.Module):
    """What users do in a graph model: edge features, an embedding, norms, dropout, readouts of their own."""

    def __init__(self):
        super().__init__()
        self.kind = nn.Embedding(7, HIDDEN)
        self.first = gnn.GINEConv(mlp(FEATURES + HIDDEN, HIDDEN), edge_dim=4)
        self.batch_norm, self.graph_norm = nn.BatchNorm1d(HIDDEN), gnn.GraphNorm(HIDDEN)
        self.attention = gnn.AttentionalAggregation(nn.Linear(HIDDEN, 1))
        self.head = nn.Linear(5 * HIDDEN, CLASSES)
        self.seen = None

    def forward(self, x, edge_index, edge_attr, batch):
        kind = (x[:, 0].abs() * 2).long().clamp(max=6)
        x = torch.cat([x, self.kind(kind)], dim=1)
        x = self.batch_norm(self.first(x, edge_index, edge_attr)).relu()
        x = nn.functional.dropout(self.graph_norm(x, batch), 0.5, training=self.training)
        self.seen = x  # must not survive the capture
        number = int(batch.max()) + 1
        summed = torch.zeros(number, HIDDEN).index_add_(0, batch, x)
        lowest = torch.zeros(batch.max().item() + 1, HIDDEN)
        lowest = lowest.scatter_reduce(0, batch[:, None].expand(-1, HIDDEN), x, "amin", include_self=False)
        mean = gnn.global_mean_pool(x, batch, int(batch[-1] + 1))
        pooled = [summed, lowest, mean, gnn.global_max_pool(x, batch), self.attention(x, batch)]
        return self.head(torch.cat(pooled, dim=1)).view(number, -1)


@pytest.fixture(scope="module")
def layers():
    torch.manual_seed(0)
    return Stack(
        gnn.GCNConv(FEATURES, HIDDEN, cached=True),
        gnn.GATConv(HIDDEN, 4, heads=2),
        gnn.SAGEConv(HIDDEN, HIDDEN),
        gnn.TransformerConv(HIDDEN, CLASSES, heads=2, concat=False),
    )


@pytest.fixture(scope="module")
def captured(layers):
    layers.train()
    return capture(layers, graph(21, 50), kind="node")


def test_node_model_on_other_graphs(layers, captured):
    layers.eval()
    layers.convs[0].cached = False  # in PyTorch, a cached normalisation only fits one graph
    assert_same(layers, captured, other_graphs())


@pytest.mark.slow
def test_graph_model_on_other_graphs_and_batches():
    torch.manual_seed(0)
    model = Everything().train()
    model.batch_norm.running_mean.uniform_()
    captured = capture(model, graph(21, 50, 4, edge_attr=4), kind="graph")
    assert model.training
    assert model.seen is None
    assert not [n for n in captured.graph.node if n.op_type == "ScatterND"]
    (out,) = captured.graph.output
    dims = out.type.tensor_type.shape.dim
    assert (dims[0].dim_param, dims[1].dim_value) == ("num_graphs", CLASSES)
    assert_same(model.eval(), captured, other_graphs(graphs=1, edge_attr=4))
    # sums do not depend on the number of threads
    batch = {k: v.numpy() for k, v in graph(400, 3000, 7, edge_attr=4).items()}
    first = session(captured, threads=4).run(None, batch)[0]
    assert all((session(captured, threads=t).run(None, batch)[0] == first).all() for t in (1, 4, 4))


def test_names_dimensions_and_nothing_superfluous(captured):
    text = str(captured)
    inputs = {i.name: [d.dim_param or d.dim_value for d in i.type.tensor_type.shape.dim] for i in captured.graph.input}
    assert inputs == {"x": ["num_nodes", FEATURES], "edge_index": [2, "num_edges"]}
    assert [o.name for o in captured.graph.output] == ["logits"]
    assert captured.opset_import[0].version == 18
    assert "metadata_props" not in text
    assert "doc_string" not in text
    assert __file__ not in text
    assert not captured.graph.value_info
    assert not captured.functions
    used = {name for node in captured.graph.node for name in node.input}
    assert {i.name for i in captured.graph.initializer} <= used
    assert {"convs.0.lin.weight", "convs.1.att_src"} <= {i.name for i in captured.graph.initializer}
    names = [node.name for node in captured.graph.node]
    assert len(set(names)) == len(names)
    assert "convs.1.lin/Gemm" in names
    weights = sum(len(i.raw_data) for i in captured.graph.initializer)
    assert len(captured.SerializeToString()) - weights < 12_000


@pytest.mark.slow
def test_same_model_same_bytes_and_nothing_printed(capfd):
    torch.manual_seed(0)
    model = Stack(gnn.SAGEConv(FEATURES, CLASSES))
    handlers = logging.root.handlers[:]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        first = capture(model, graph(21, 50), kind="node")
        second = capture(model, graph(1, 0), kind="node")  # traced from one node without edges
    assert first.SerializeToString() == second.SerializeToString()
    assert capfd.readouterr() == ("", "")
    assert logging.root.handlers == handlers


class Clashing(nn.Module):
    """Parameters named as an input, as the output and as a result of the trace; the wrapper's name as a submodule."""

    def __init__(self):
        super().__init__()
        self.x, self.logits = nn.Parameter(torch.randn(FEATURES)), nn.Parameter(torch.randn(HIDDEN))
        self.linear = nn.Parameter(torch.randn(HIDDEN))
        self.model = gnn.GCNConv(FEATURES, HIDDEN)

    def forward(self, x, edge_index):
        return (self.model(x * self.x, edge_index) + self.linear) * self.logits


def test_names_and_sizes_that_clash():
    model = Clashing().eval()
    # as many nodes as edges, and as hidden channels
    assert_same(model, capture(model, graph(HIDDEN, HIDDEN), kind="node"), other_graphs())


@pytest.mark.slow
def test_exported_program():
    torch.manual_seed(0)

    class Own(nn.Module):
        def __init__(self):
            super().__init__()
            self.model = gnn.GINConv(mlp(FEATURES, HIDDEN))
            self.head = nn.Linear(HIDDEN, CLASSES)

        def forward(self, features, edges, membership):
            h = self.model(features, edges)
            return self.head(gnn.global_add_pool(h, membership, size=membership[-1].item() + 1))

    model = Own().eval()
    example = graph(21, 50, 4)
    nodes = Dim("own_name")
    shapes = ({0: nodes}, {1: Dim("e")}, {0: nodes})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        buffer = io.BytesIO()
        torch.export.save(torch.export.export(model, tuple(example.values()), dynamic_shapes=shapes), buffer)
        buffer.seek(0)
        program = torch.export.load(buffer)
        fixed = torch.export.export(model, tuple(example.values()))
        foreign = torch.export.export(nn.Linear(3, 4), (torch.zeros(5, 3),))
    assert program_inputs(program) == ("x", "edge_index", "batch")
    captured = capture(program, example, kind="graph")
    assert [i.name for i in captured.graph.input] == ["x", "edge_index", "batch"]
    assert "model.nn.0.weight" in {i.name for i in captured.graph.initializer}

    class ByName(nn.Module):
        def forward(self, x, edge_index, batch):
            return model(x, edge_index, batch)

    assert_same(ByName(), captured, other_graphs(graphs=1))
    with pytest.raises(ExportError, match="fixed num_nodes and num_edges"):
        capture(fixed, example, kind="graph")
    with pytest.raises(ExportError, match=r"not a graph"):
        capture(foreign, example, kind="graph")


class Branch(nn.Module):
    def forward(self, x):
        return x if x.sum() > 0 else -x


class Interrupted(nn.Module):
    def forward(self, x):
        self.kept = x
        raise KeyboardInterrupt


class Constant(nn.Module):
    def forward(self, x):
        return x * torch.tensor(range(x.shape[0]))[:, None]


class Broken(nn.Module):
    def forward(self, x):
        return x @ torch.ones(3, 3)


class NoOnnx(nn.Module):
    def forward(self, x):
        return torch.linalg.svd(x, full_matrices=False)[0]


class After(nn.Module):
    def __init__(self, layer):
        super().__init__()
        self.conv = gnn.SAGEConv(FEATURES, HIDDEN)
        self.layers = nn.ModuleList([layer])

    def forward(self, x, edge_index):
        return self.layers[0](self.conv(x, edge_index))


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (
            Branch,
            r"^layers\.0 \(Branch\) can't be exported: its control flow depends on values .*\(test_capture\.py:\d+\)$",
        ),
        (Constant, r"^layers\.0 \(Constant\) can't be exported: "),
        (Broken, r"^layers\.0 \(Broken\) can't be exported: fails in PyTorch, too"),
        (NoOnnx, r"^layers\.0 \(NoOnnx\) can't be exported: the operator aten\._linalg_svd\.default has no ONNX form"),
    ],
)
def test_error_names_the_layer(layer, message):
    model = After(layer()).train()
    with pytest.raises(ExportError, match=message) as caught:
        capture(model, graph(21, 50), kind="node")
    assert "\n" not in str(caught.value)
    assert model.training


def test_layer_that_needs_a_missing_package():
    with pytest.raises(ExportError, match=r"^convs\.1 \(PANConv\) can't be exported: .*torch-sparse"):
        capture(Stack(gnn.GCNConv(FEATURES, HIDDEN), gnn.PANConv(HIDDEN, 3, 2)), graph(21, 50), kind="node")


def test_interrupted_capture_leaves_nothing_behind():
    model = After(Interrupted()).train()
    before = {name: copy.copy(vars(module)) for name, module in model.named_modules()}
    with pytest.raises(KeyboardInterrupt):
        capture(model, graph(21, 50), kind="node")
    assert {name: vars(module) for name, module in model.named_modules()} == before
    assert not [n for n, m in sys.modules.items() if n.startswith("torch_geometric") and "int" in vars(m)]
    assert logging.root.manager.disable == 0


def test_output_that_does_not_fit_the_task():
    stack = Stack(gnn.GCNConv(FEATURES, CLASSES))
    with pytest.raises(ExportError, match="one row for each node"):
        capture(stack, graph(21, 50), kind="graph")

    class Two(nn.Module):
        def forward(self, x, edge_index):
            return x, edge_index

    with pytest.raises(ExportError, match=r"one float32 matrix of logits.*tuple"):
        capture(Two(), graph(21, 50), kind="node")


class Ranged(nn.Module):
    """Extremes over everything and over axes: the exporter knows `amax` and `amin` with axes only."""

    def forward(self, x, edge_index):
        rows = x[edge_index[0]]
        low, high = torch.aminmax(rows)
        return (x - x.amin()) / (1 + x.abs().amax()) + x.amax(dim=(0, 1)) + x.amin(1, keepdim=True) + high - low


def test_extremes():
    assert_same(
        Ranged(), capture(Ranged(), graph(21, 50), kind="node"), {"larger": graph(30, 70), "smaller": graph(5, 9)}
    )
