"""Properties that need no expected answer: orders, isolated nodes, second graphs and weights of edges."""

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
from edgegnn.errors import ExportError
from edgegnn.exporting import onnx_format
from edgegnn.exporting.metamorphic import Held
from edgegnn.exporting.parity import torch_outputs
from edgegnn.exporting.samples import Sample
from edgegnn.models import build

NODES, EDGES = 60, 240
REWRITE = onnx_format.rewrite_proto


class Plain(nn.Module):
    def __init__(self, norm=None, weights=False, positions=0):
        super().__init__()
        self.first, self.norm, self.second = gnn.GraphConv(8, 16), norm or nn.Identity(), gnn.GATv2Conv(16, 3)
        self.numbers = nn.Embedding(positions, 8) if positions else None

    def forward(self, x, edge_index, edge_weight=None):
        if self.numbers is not None:
            x = x + self.numbers(torch.arange(x.shape[0], device=x.device))
        return self.second(self.norm(self.first(x, edge_index, edge_weight)).relu(), edge_index)


class Pooled(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.out = gnn.SAGEConv(8, 16), nn.Linear(16, 2)

    def forward(self, x, edge_index, batch):
        return self.out(gnn.global_mean_pool(self.conv(x, edge_index).relu(), batch))


def sample(**more):
    random = np.random.default_rng(0)
    x = random.standard_normal((NODES, 8)).astype(np.float32)
    return Sample("graph", "data", {"x": x, "edge_index": random.integers(0, NODES, (2, EDGES)), **more})


def held(model, wrong=lambda answers, inputs: answers, kind="node", **options):
    """The model as its own artifact, but for what is wrong with its answers."""
    torch.manual_seed(0)

    def plain(one):
        return torch_outputs(model, [one])[0]

    def run(inputs):
        return wrong(plain(Sample("", "data", inputs)), inputs)

    return Held(kind, plain, run, lambda want: 1e-4, lambda _: 0.0, **options)


def told(found):
    return {each.property: each.told for each in found}


EVERY = ("order of nodes", "order of edges", "an isolated node", "a second graph")


@pytest.mark.parametrize(
    ("model", "breaks"),
    [
        (Plain(), {}),
        (Plain(gnn.GraphNorm(16)), dict.fromkeys(EVERY[2:], "not the model's")),
        (Plain(positions=4 * NODES), {"order of nodes": "not the model's"}),
        (Plain(positions=NODES), {"order of nodes": "not the model's"} | dict.fromkeys(EVERY[2:], "the model fails")),
    ],
    ids=["plain", "norm over all nodes", "positions", "as many positions as nodes"],
)
def test_what_the_float_model_does_not_keep_is_said_and_not_asked(model, breaks):
    assert told(held(model.eval()).check([sample()])) == dict.fromkeys(EVERY, "kept") | breaks


def by_row(answers, inputs):
    return answers + np.linspace(0, 1, len(answers), dtype=np.float32)[:, None]


def by_edge(answers, inputs):
    return answers + np.float32(inputs["edge_index"][0, 0])


def by_size(answers, inputs):
    return answers + np.float32(len(inputs["x"]))


def by_many(answers, inputs):
    return answers + np.float32(len(inputs["x"]) > NODES + 1)


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        (lambda answers, inputs: answers[:, :1] + by_row(0 * answers, inputs), "order of nodes"),
        (by_edge, "order of "),
        (by_size, "an isolated node"),
        (by_many, "a second graph"),
    ],
    ids=["by row", "by the first edge", "by the number of nodes", "by twice the number"],
)
def test_what_the_artifact_does_not_keep_is_an_error_that_names_it(wrong, named):
    with pytest.raises(ExportError, match=f"doesn't keep a property of the model \\({named}.*on the graph 'graph'"):
        held(Plain().eval(), wrong).check([sample()])


def test_graphs_of_a_batch():
    batch = np.repeat(np.arange(4), NODES // 4)
    edges = np.random.default_rng(1).integers(0, NODES // 4, (2, EDGES)) + np.arange(EDGES) % 4 * (NODES // 4)
    one = sample(edge_index=edges, batch=batch)
    assert told(held(Pooled().eval(), kind="graph").check([one])) == dict.fromkeys((*EVERY[:2], EVERY[3]), "kept")
    with pytest.raises(ExportError, match="a second graph"):
        held(Pooled().eval(), by_many, kind="graph").check([one])


def test_ranges_taken_from_each_input_are_said():
    """As of dynamic quantization: the largest value scales every answer."""

    def by_largest(answers, inputs):
        return answers * (1 + 0.01 * np.abs(inputs["x"]).max())

    found = held(Plain().eval(), by_largest, own_ranges=True).check([sample()])
    assert told(found) == dict.fromkeys(EVERY[:2], "kept") | dict.fromkeys(EVERY[2:], "not the recipe's")


def test_an_artifact_for_one_graph_is_asked_for_the_order_of_edges_only():
    assert told(held(Plain().eval(), fixed=True).check([sample()])) == {"order of edges": "kept"}


def test_weights_of_edges():
    weights = np.random.default_rng(2).uniform(0.5, 1, EDGES).astype(np.float32)
    model = Plain().eval()
    assert told(held(model).check([sample(edge_weight=weights)]))["edge weights"] == "kept"

    def without(answers, inputs):
        return torch_outputs(model, [Sample("", "data", {**inputs, "edge_weight": weights})])[0]

    ignoring = held(model, lambda answers, inputs: without(answers, inputs) if len(answers) == NODES else answers)
    with pytest.raises(ExportError, match=r"\(edge weights\): the artifact ignores the input edge_weight"):
        ignoring._weights([sample(edge_weight=weights)])


# Exports ------------------------------------------------------------


def export(place, model, data, quant, **options):
    torch.save(data, place / "data.pt")
    torch.manual_seed(0)
    checkpoint = Checkpoint(model.eval(), {"factory": "models:build", "args": {}})
    options = {"settings": {"epochs": 1}, "max_accuracy_drop": 100, "thorough": True, **options}
    return api.export(checkpoint, quant=quant, data=str(place / "data.pt"), output=place / "a", **options).manifest


def node_data():
    one, y = sample(), torch.arange(NODES) % 3
    return Data(x=torch.from_numpy(one.inputs["x"]), edge_index=torch.from_numpy(one.inputs["edge_index"]), y=y)


def graph_data():
    torch.manual_seed(0)
    sizes = torch.randint(8, 20, (40,)).tolist()
    return [
        Data(x=torch.randn(n, 8) + i % 2, edge_index=torch.randint(n, (2, 3 * n)), y=torch.tensor([i % 2]))
        for i, n in enumerate(sizes)
    ]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "kind", "quant"),
    sweep(
        [
            ("gat", "node", "dq-int8"),
            ("gcn", "graph", "static-int8"),
            ("gin", "graph", "dq-int4"),
            ("sage", "node", "none"),
        ],
        lambda i: i < 2,
    ),
)
def test_models_of_the_zoo_keep_what_they_have(tmp_path, name, kind, quant):
    model = build(name, in_channels=8, out_channels=3 if kind == "node" else 2, kind=kind)
    found = export(tmp_path, model, node_data() if kind == "node" else graph_data(), quant)["properties"]
    asked = EVERY if kind == "node" else (*EVERY[:2], EVERY[3])
    assert {entry["property"]: entry["told"] for entry in found} == dict.fromkeys(asked, "kept")
    assert all(entry["artifact"] <= entry["limit"] for entry in found)


def numbering(model, **options):
    """The artifact's model, with a node's number added to what it gives."""
    done = REWRITE(model, **options)
    broken = done.model
    out = broken.graph.output[0].name
    last = next(node for node in broken.graph.node if out in node.output)
    last.output[list(last.output).index(out)] = "before"
    one = onnx.helper.make_tensor("one", onnx.TensorProto.FLOAT, [1], [1e-4])
    broken.graph.node.extend(
        [
            onnx.helper.make_node("Shape", ["before"], ["shape"]),
            onnx.helper.make_node("ConstantOfShape", ["shape"], ["ones"], value=one),
            onnx.helper.make_node("Constant", [], ["axis"], value_int=0),
            onnx.helper.make_node("CumSum", ["ones", "axis"], ["numbers"]),
            onnx.helper.make_node("Add", ["before", "numbers"], [out]),
        ]
    )
    return done


@pytest.mark.slow
def test_without_the_option_nothing_is_tried_and_with_it_a_breach_is_an_error(tmp_path, monkeypatch):
    """The tolerance of 8 bits hides what depends on the number of a node; the property doesn't."""
    data = node_data()
    monkeypatch.setattr(onnx_format, "rewrite_proto", numbering)
    assert export(tmp_path, Plain(), data, "static-int8", thorough=False)["properties"] == []
    monkeypatch.setattr("edgegnn.exporting.float_reference._CODES", 1e-3)
    with pytest.raises(ExportError, match=r"doesn't keep a property of the model \(order of nodes\)"):
        export(tmp_path, Plain(), data, "static-int8", force=True)
