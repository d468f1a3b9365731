"""Sensitivity of layers: what one changed layer does, against the same change made by hand."""

from __future__ import annotations

import copy
import sys
from pathlib import Path

import pytest
import torch
from command_line import MODULE, community_graph, run, strict
from report_example import Page
from torch import nn
from torch_geometric.nn import GATConv, GCNConv, GINConv

from edgegnn.errors import DataError, QuantizeError
from edgegnn.quantize import QAT, prepare
from edgegnn.studies.sensitivity import sensitivity
from edgegnn.tasks import Task, logits_and_labels, task_from_graphs


class Net(nn.Module):
    """A GIN layer and an attention layer, an embedding of nothing, a plain head."""

    def __init__(self) -> None:
        super().__init__()
        self.one = GINConv(nn.Sequential(nn.Linear(9, 8), nn.ReLU(), nn.Linear(8, 8)))
        self.two = GATConv(8, 4, heads=2)
        self.head = nn.Linear(8, 3)
        self.norm = nn.BatchNorm1d(8)

    def forward(self, x, edge_index):
        x = self.norm(self.one(x, edge_index).relu())
        return self.head(self.two(x, edge_index).relu())


@pytest.fixture
def task() -> Task:
    return task_from_graphs(community_graph(n=600), data="communities")


@pytest.fixture
def net(task) -> nn.Module:
    torch.manual_seed(0)
    net = Net().eval()
    with torch.no_grad():  # every class is predicted, and little changes it
        net.head.bias -= net(*inputs(task)).mean(0)
    return net


def fake(weight, bits):
    """Symmetric codes with a scale for each row, and back."""
    top = 2 ** (bits - 1) - 1
    scale = weight.abs().amax(1, keepdim=True) / top
    return (weight / scale).round().clamp(-top - 1, top) * scale


def outputs(model, task):
    return logits_and_labels(model, task, "val")[0]


def agreement(model, other, task):
    return float((outputs(model, task).argmax(1) == outputs(other, task).argmax(1)).float().mean())


def test_every_layer_that_computes_is_tried(net, task):
    found = sensitivity(net, task)
    layers = {layer.name: layer for layer in found.layers}
    assert list(layers) == ["one", "one.nn.0", "one.nn.2", "two", "two.lin", "head"]  # in the order of the model
    assert layers["head"].parts == ["weight", "input"]
    assert layers["one"].parts == ["message"]
    assert layers["head"].parameters == 24
    both = {"int8", "int4", "50 % pruned", "90 % pruned"}
    assert {name: set(layer.trials) for name, layer in layers.items()} == {
        "one": {"int8", "int4"},
        "two": {"int8", "int4"},  # attention vectors are not pruned one by one
        **dict.fromkeys(("one.nn.0", "one.nn.2", "two.lin", "head"), both),
    }
    assert found.rows == int(task.index["val"].numel())
    assert any("attention vector" in why for why in found.skipped.values())


def test_pruning_one_layer_is_zeroing_its_smallest_weights(net, task):
    layer = next(one for one in sensitivity(net, task).layers if one.name == "one.nn.0")
    for sparsity in (0.5, 0.9):
        other = copy.deepcopy(net)
        weight = other.one.nn[0].weight.data
        smallest = weight.abs().flatten().argsort(stable=True)[: round(sparsity * weight.numel())]
        weight.view(-1)[smallest] = 0.0
        trial = layer.trials[f"{100 * sparsity:g} % pruned"]
        assert trial.agreement == pytest.approx(agreement(net, other, task))
        logits, labels = logits_and_labels(other, task, "val")
        assert trial.value == pytest.approx(float((logits.argmax(1) == labels).float().mean()))


def test_quantizing_one_layer_is_rounding_what_it_reads_and_its_weight(net, task):
    """The head alone: every layer before it is float, its input lies between what training graphs gave."""
    found = sensitivity(net, task)
    layer = next(one for one in found.layers if one.name == "head")
    seen = []
    net.head.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    outputs(net, task)
    net.head._forward_pre_hooks.clear()
    (x,) = seen
    for bits in (8, 4):
        low, high = min(0.0, float(x.min())), max(0.0, float(x.max()))
        scale = (high - low) / (2**bits - 1)
        zero = round(-(2 ** (bits - 1)) - low / scale)
        codes = ((x / scale).round() + zero).clamp(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
        logits = nn.functional.linear((codes - zero) * scale, fake(net.head.weight, bits), net.head.bias)
        same = (logits.argmax(1) == net(*inputs(task)).argmax(1))[task.index["val"]]
        assert layer.trials[f"int{bits}"].agreement == pytest.approx(float(same.float().mean())), bits


def inputs(task):
    return task.graphs[0].x, task.graphs[0].edge_index


def test_only_validation_rows_and_training_ranges_decide(net, task):
    """Other labels and, of graphs, other features of the test split change nothing."""
    from torch_geometric.data import Data

    graphs = [
        Data(x=torch.randn(5, 9), edge_index=torch.tensor([[0, 1, 2, 3], [1, 2, 3, 4]]), y=torch.tensor([i % 3]))
        for i in range(30)
    ]
    index = {"train": torch.arange(0, 18), "val": torch.arange(18, 24), "test": torch.arange(24, 30)}

    class Pooled(Net):
        def forward(self, x, edge_index, batch):
            from torch_geometric.nn import global_mean_pool

            return global_mean_pool(super().forward(x, edge_index), batch)

    pooled = Pooled().eval()
    spec = task_from_graphs(graphs, data="made").spec
    before = sensitivity(pooled, Task(spec, graphs, index))
    for i in range(24, 30):
        graphs[i].x, graphs[i].y = 1e6 * torch.randn(5, 9), torch.tensor([0])
    assert sensitivity(pooled, Task(spec, graphs, index)) == before
    assert (before.rows, before.graphs) == (6, 18)


def test_the_model_stays_as_it_is(net, task):
    state = {name: value.clone() for name, value in net.state_dict().items()}
    expected = outputs(net, task)
    sensitivity(net, task)
    assert all(torch.equal(state[name], value) for name, value in net.state_dict().items())
    assert torch.equal(outputs(net, task), expected)
    assert not net.training


def test_points_can_be_chosen(net, task):
    quantized = prepare(copy.deepcopy(net), QAT("four", 4, observer="abs"), inputs(task))
    quantized.eval().points.train()
    quantized(*inputs(task))
    quantized.eval()
    with quantized.only(()):
        assert torch.allclose(quantized(*inputs(task)), net(*inputs(task)), atol=1e-5)
    with quantized.only(["head.weight"]):
        other = copy.deepcopy(net)
        other.head.weight.data = fake(net.head.weight.data, 4)
        assert torch.allclose(quantized(*inputs(task)), other(*inputs(task)), atol=1e-5)
    assert not torch.allclose(quantized(*inputs(task)), net(*inputs(task)), atol=1e-3)


def test_a_model_that_can_only_be_pruned_says_why(task):
    class Odd(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = GCNConv(9, 3)

        def forward(self, x, edge_index):
            return self.conv(x, edge_index)

    found = sensitivity(Odd().eval(), task)
    assert {layer.name for layer in found.layers} == {"conv", "conv.lin"}


def test_what_has_no_answer(net, task):
    quantized = prepare(net, QAT("eight", 8), inputs(task))
    with pytest.raises(QuantizeError, match="the model is quantized already, with eight: name its float model"):
        sensitivity(quantized, task)
    empty = Task(task.spec, task.graphs, {**task.index, "val": torch.tensor([], dtype=torch.int64)})
    with pytest.raises(DataError, match="no validation data"):
        sensitivity(Net(), empty)


@pytest.mark.slow
def test_a_report_of_a_users_module(tmp_path, capsys, monkeypatch):
    """The whole way: a state_dict with its factory and data, a page with figures and the table."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    Path("mymodels.py").write_text(MODULE)
    torch.save(community_graph(), "data.pt")
    try:
        from mymodels import build

        torch.save(build(9, 3).state_dict(), "weights.pt")
        options = ("--factory", "mymodels:build", "--data", "data.pt")
        code, out, err = run(capsys, monkeypatch, "report", "weights.pt", *options, "--json")
    finally:
        sys.modules.pop("mymodels", None)
    assert (code, err) == (0, "")
    found = strict(out)
    assert [f["name"] for f in found["figures"]] == ["layers-1", "layers-2"]
    rows = found["figures"][1]["layers"]
    assert {"inside", "one messages", "two.lin_l", "out"} <= set(rows)
    assert set(rows["out"]) == {"int8", "int4", "50 % pruned", "90 % pruned"}
    page = Page(Path("report.html").read_text())
    page.check()
    assert "weights.pt: mymodels:build on data.pt: sensitivity of its layers" in page.texts["span"]
    code, out, err = run(capsys, monkeypatch, "report", "weights.pt", "-o", "other.html")
    assert (code, out) == (1, "")
    assert "--factory" in err
    assert not Path("other.html").exists()
