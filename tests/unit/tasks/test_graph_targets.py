"""Regression over graphs and graphs with several labels, through every command, pruner and recipe."""

import json
import subprocess
import sys
from itertools import product

import numpy as np
import pytest
import torch
from command_line import run, strict
from graph_targets import OFFSET, SPREAD, graphs
from sweep import sweep
from torch import nn

from edgegnn import api
from edgegnn.checkpoint import load_checkpoint
from edgegnn.errors import PruneError
from edgegnn.models import build
from edgegnn.tasks import evaluate, load_task, logits_and_labels, task_from_graphs
from edgegnn.tasks.target import divergence, loss
from edgegnn.training import FitConfig, fit

TARGETS = ("values", "labels")
METRIC = {"values": "mae", "labels": "mean_roc_auc"}
SMALL = {"hidden": 8, "layers": 2}
RECIPES = ("none", "dynamic-int8", "static-int8", "qat-int8", "qat-int4", "dq-int8", "dq-int4")
PRUNERS = (
    ("fine-grained", {}),
    ("global", {"schedule": "gradual"}),
    ("regularized", {}),
    ("regularized", {"variant": "group-norm"}),
    ("regularized", {"variant": "growing"}),
    ("structured", {}),
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Data files, and a model of each kind that was trained for a moment."""
    place = tmp_path_factory.mktemp("targets")
    for target in TARGETS:
        torch.save(graphs(target, 60), place / f"{target}.pt")
        model = place / f"{target}-model.pt"
        api.train("gin", str(place / f"{target}.pt"), output=model, architecture=SMALL, settings={"epochs": 3})
    return place


def constant_error(task, metric):
    """What the mean of the training targets would get on the test split."""
    targets = {part: torch.cat([task.graphs[i].y for i in ids.tolist()]) for part, ids in task.index.items()}
    apart = targets["test"] - targets["train"].mean(dim=0)
    return float(apart.abs().mean() if metric == "mae" else apart.square().mean().sqrt())


# What is learnt ------------------------------------------------------------


def test_the_loss_is_that_of_standardised_values():
    spec = task_from_graphs(graphs("values", 20), data="mine", metric="rmse").spec
    mean, std = spec.scale["mean"][0], spec.scale["std"][0]
    z = torch.tensor([[0.5], [-1.0]])
    wanted = torch.tensor([[1.0], [1.0]])
    assert float(loss(spec, mean + std * z, mean + std * wanted)) == pytest.approx((0.25 + 4) / 2, rel=1e-4)
    assert float(divergence(spec, mean + std * z, mean + std * wanted)) == pytest.approx((0.25 + 4) / 2, rel=1e-4)
    module = build("gin", in_channels=4, out_channels=1, kind="graph", **SMALL, scale=spec.scale)
    inside = module.model
    data = graphs("values", 1)[0]
    args = (data.x, data.edge_index, torch.zeros(len(data.x), dtype=torch.long))
    module.eval()
    assert torch.allclose(module(*args), inside(*args) * std + mean)


def test_missing_labels_count_for_nothing():
    spec = task_from_graphs(graphs("labels", 40), data="mine").spec
    logits = torch.tensor([[2.0, -1.0, 0.5], [0.0, 3.0, 1.0]], requires_grad=True)
    labels = torch.tensor([[1.0, torch.nan, 0.0], [torch.nan, torch.nan, 1.0]])
    found = loss(spec, logits, labels)
    wanted = nn.functional.binary_cross_entropy_with_logits(
        torch.tensor([2.0, 0.5, 1.0]), torch.tensor([1.0, 0.0, 1.0])
    )
    assert float(found.detach()) == pytest.approx(float(wanted))
    (gradient,) = torch.autograd.grad(found, logits)
    assert torch.equal(gradient != 0, ~labels.isnan())
    assert float(loss(spec, logits, torch.full((2, 3), torch.nan)).detach()) == 0


@pytest.mark.parametrize("target", TARGETS)
def test_training_learns_something(target):
    task = task_from_graphs(graphs(target, 200), data="mine")
    torch.manual_seed(0)
    model = build(
        "gin", in_channels=4, out_channels=task.spec.num_classes, kind="graph", **SMALL, scale=task.spec.scale or None
    )
    result = fit(model, task, FitConfig(epochs=20, lr=0.02, batch_size=32))
    assert result.val_metric == evaluate(model, task, "val")
    assert result.val_loss == min(log["val_loss"] for log in result.history)
    found = evaluate(model, task, "test")
    assert found < 0.75 * constant_error(task, "mae") if target == "values" else found > 0.7


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "metric"),
    sweep(
        [("gin", "mae"), ("gat", "rmse"), ("gin", "rmse"), ("gcn", "mae"), ("sage", "rmse"), ("transformer", "mae")],
        lambda i: i == 0,
    ),
)
def test_regression_beats_the_mean_by_far(name, metric):
    task = task_from_graphs(graphs("values", 400), data="mine", metric=metric)
    torch.manual_seed(0)
    model = build(
        name, in_channels=4, out_channels=1, kind="graph", hidden=16, layers=2, dropout=0.0, scale=task.spec.scale
    )
    fit(model, task, FitConfig(epochs=40, lr=0.01, batch_size=32))
    share = {"gin": 0.4, "sage": 0.5}.get(name, 0.9)
    assert evaluate(model, task, "test") < share * constant_error(task, metric)
    outputs, _ = logits_and_labels(model, task, "test")
    assert abs(float(outputs.mean()) - OFFSET) < 2 * SPREAD  # the units of the data


@pytest.mark.slow
def test_labels_are_learnt_from_those_that_are_known():
    task = task_from_graphs(graphs("labels", 400), data="mine")
    torch.manual_seed(0)
    model = build("gin", in_channels=4, out_channels=3, kind="graph", hidden=16, layers=2)
    fit(model, task, FitConfig(epochs=40, lr=0.01, batch_size=32))
    assert evaluate(model, task, "test") > 0.9


# Every command -----------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_regression_through_the_commands(folder, capsys, monkeypatch):
    """The thin path: train, compress, export, inspect, verify."""
    monkeypatch.chdir(folder)
    code, out, err = run(
        capsys, monkeypatch, "train", "gin", "values.pt", "--metric", "rmse", "--hidden", 8, "--layers", 2,
        "--epochs", 2, "-o", "m.pt", "--json",
    )  # fmt: skip
    assert code == 0, err
    found = strict(out)
    assert found["task"]["target"] == "values"
    assert set(found["metrics"]) == {"val", "test", "val_mae", "test_mae"}
    assert found["metrics"]["test"] >= found["metrics"]["test_mae"] > 1  # in the units of the data
    code, out, err = run(
        capsys, monkeypatch, "compress", "m.pt", "--prune", "global", "--sparsity", 0.5, "--epochs", 1, "-o", "s.pt"
    )
    assert code == 0, err
    assert "test rmse (lower is better)" in out
    assert "%" not in next(line for line in out.splitlines() if "rmse" in line)
    code, out, err = run(
        capsys, monkeypatch, "export", "s.pt", "--quant", "dq-int8", "--epochs", 1, "-o", "a", "--json"
    )
    assert code == 0, err
    manifest = strict(out)
    assert manifest["metric"]["artifact"] == pytest.approx(manifest["metric"]["pytorch"], rel=0.02)
    assert manifest["parity"]["tolerance"]["within"] == pytest.approx([0.1 * manifest["task"]["scale"]["std"][0]])
    assert manifest["task"]["scale"]["mean"][0] == pytest.approx(OFFSET, abs=2 * SPREAD)
    code, out, err = run(capsys, monkeypatch, "inspect", "a")
    assert code == 0, err
    assert "rmse" in out
    code, out, err = run(capsys, monkeypatch, "verify", "a", "--json")
    assert code == 0, err
    assert strict(out)["metric"]["value"] == pytest.approx(manifest["samples_metric"]["value"], rel=0.02)


@pytest.mark.slow
@pytest.mark.parametrize("target", sweep(TARGETS, lambda i: TARGETS[i] == "values"))
def test_tables(folder, capsys, monkeypatch, target):
    monkeypatch.chdir(folder)
    name = METRIC[target] + (" (lower is better)" if target == "values" else "")
    code, out, err = run(
        capsys,
        monkeypatch,
        "train",
        "sage",
        f"{target}.pt",
        "--hidden",
        8,
        "--layers",
        2,
        "--epochs",
        2,
        "-o",
        "t.pt",
        "--force",
    )
    assert code == 0, err
    assert f"graph-{'regression' if target == 'values' else 'multilabel'} task" in out
    assert out.count(name) == 2
    sweep = ("compress", "t.pt", "--prune", "fine-grained", "--sparsity", "0.2:0.6:0.4", "--epochs", 1)
    code, out, err = run(capsys, monkeypatch, *sweep)
    assert code == 0, err
    assert f"val, test: {name}" in out
    code, out, err = run(capsys, monkeypatch, *sweep, "--json")
    assert code == 0, err
    assert [row["sparsity"] for row in strict(out)] == [None, 0.2, 0.6]
    for made in ("one", "two"):
        assert run(capsys, monkeypatch, "export", "t.pt", "-o", made, "--force")[0] == 0
        code, out, err = run(capsys, monkeypatch, "profile", "--quick", made, "-o", "records", "--json")
        assert code == 0, err
        measured, shipped = (
            strict(out)["metric"],
            strict((folder / made / "manifest.json").read_text())["samples_metric"],
        )
        assert measured["name"] == shipped["name"] == METRIC[target]
        assert measured["value"] == pytest.approx(shipped["value"], rel=0.02)
    for command in (("inspect", "t.pt"), ("inspect", "one"), ("verify", "two")):
        code, out, err = run(capsys, monkeypatch, *command)
        assert code == 0, err
        assert METRIC[target] in out
    (record,) = (folder / "records").rglob("one.json")
    code, out, err = run(capsys, monkeypatch, "profile", "--quick", "--compare", record, "two")
    assert code == 0, err
    assert "metric, shipped graphs" in out


# Every recipe and every pruner ---------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(("target", "recipe"), sweep(list(product(TARGETS, RECIPES)), lambda i: i % 8 == 4))
def test_recipes(folder, tmp_path, target, recipe):
    made = api.export(
        folder / f"{target}-model.pt", quant=recipe, output=tmp_path / "a", settings={"epochs": 2}, data_root=None
    )
    report = api.verify(made.path)
    assert report.ok, report.problems
    metric = made.manifest["metric"]
    assert metric["name"] == METRIC[target]
    assert report.metric is not None
    expected = json.loads((tmp_path / "a" / "manifest.json").read_text())["samples_metric"]["value"]
    assert report.metric.value == pytest.approx(expected, rel=0.02)
    # The artifact's own Python needs nothing but numpy and onnxruntime.
    said = subprocess.run(
        [sys.executable, tmp_path / "a" / "run.pyz", "verify", "--json"], capture_output=True, text=True, check=True
    )
    assert strict(said.stdout)["metric"]["value"] == pytest.approx(expected, rel=0.02)
    if target == "values":
        task = load_task(str(folder / "values.pt"))
        assert metric["artifact"] < 3 * constant_error(task, "mae")  # the units are right, whatever was learnt


@pytest.mark.slow
@pytest.mark.parametrize(("target", "pruner"), sweep(list(product(TARGETS, PRUNERS)), lambda i: i % 8 == 1))
def test_pruners(folder, tmp_path, target, pruner):
    method, options = pruner
    small = api.compress(
        folder / f"{target}-model.pt", prune=method, sparsity=0.4, quant="qat-int8", output=tmp_path / "s.pt",
        settings={"epochs": 2}, **options,
    )  # fmt: skip
    assert 0.2 < small.row["achieved"] < 0.6
    again = load_checkpoint(tmp_path / "s.pt")
    assert again.task is not None
    assert (again.task.target, again.metrics) == (target, small.checkpoint.metrics)
    made = api.export(tmp_path / "s.pt", output=tmp_path / "a")
    assert api.verify(made.path).ok
    if target == "values":
        assert abs(made.manifest["metric"]["pytorch"] - small.row["test"]) < 0.02 * small.row["test"]


@pytest.mark.slow
@pytest.mark.parametrize("target", sweep(TARGETS, lambda i: TARGETS[i] == "labels"))
def test_what_else_trains(folder, tmp_path, target):
    with pytest.raises(PruneError, match="graph"):
        api.compress(folder / f"{target}-model.pt", prune="edges", sparsity=0.3, output=tmp_path / "e.pt")
    for early_stop in ("grades", "patience"):
        made = api.train(
            "gin", str(folder / f"{target}.pt"), architecture=SMALL, settings={"epochs": 4, "early_stop": early_stop}
        )
        assert made.metrics["test"] is not None
    quantized = api.train(
        "gin",
        str(folder / f"{target}.pt"),
        architecture=SMALL,
        quant="dq-int8",
        settings={"epochs": 2},
        output=tmp_path / "q.pt",
    )
    assert api.verify(api.export(tmp_path / "q.pt", output=tmp_path / "q").path).ok
    assert quantized.recipe is not None
    script = api.export(folder / f"{target}-model.pt", output=tmp_path / "ts", format="both")
    assert api.verify(script.path, runtime="torchscript").ok


MODULE = """
from torch import nn
from torch_geometric.nn import GINEConv, global_add_pool

class Mine(nn.Module):
    "Edge features and a sum over all nodes: nothing of the zoo."
    def __init__(self, i, o):
        super().__init__()
        self.one = GINEConv(nn.Sequential(nn.Linear(i, 8), nn.ReLU()), edge_dim=2)
        self.two = GINEConv(nn.Sequential(nn.Linear(8, 8), nn.ReLU()), edge_dim=2)
        self.out = nn.Linear(8, o)
    def forward(self, x, edge_index, edge_attr, batch):
        x = self.two(self.one(x, edge_index, edge_attr), edge_index, edge_attr)
        return self.out(global_add_pool(x, batch))

def build(in_channels, out_channels): return Mine(in_channels, out_channels)
"""


@pytest.mark.slow
@pytest.mark.parametrize("target", sweep(TARGETS, lambda i: TARGETS[i] == "values"))
def test_a_module_of_ones_own_with_edge_features(tmp_path, monkeypatch, target):
    found = graphs(target, 60)
    for graph in found:
        graph.edge_attr = torch.rand(graph.edge_index.shape[1], 2)
        if target == "values":
            graph.y = torch.cat([graph.y, -3 * graph.y], dim=1)  # two values of other sizes
    torch.save(found, tmp_path / "d.pt")
    (tmp_path / "own_module_of_targets.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    import own_module_of_targets as own

    torch.save(own.build(4, 2 if target == "values" else 3).state_dict(), "w.pt")
    named = {"factory": "own_module_of_targets:build", "data": "d.pt"}
    small = api.compress(
        "w.pt",
        prune="structured",
        sparsity=0.25,
        quant="dq-int8",
        output="s.pt",
        settings={"epochs": 3, "lr": 0.05},
        **named,
    )
    assert small.row["achieved"] > 0
    made = api.export("s.pt", output="a", allow_import=True)
    assert api.verify(made.path).ok
    assert [i["name"] for i in made.manifest["inputs"]] == ["x", "edge_index", "edge_attr", "batch"]
    within = made.manifest["parity"]["tolerance"]["within"]
    assert within is None if target == "labels" else within[1] == pytest.approx(3 * within[0], rel=1e-3)


def test_the_checkpoint_restores_the_units(folder):
    task = load_task(str(folder / "values.pt"))
    again = load_checkpoint(folder / "values-model.pt")
    assert isinstance(again.model, nn.Module)
    assert again.task == task.spec
    assert evaluate(again.model, task, "test") == pytest.approx(again.metrics["test"])
    outputs, _ = logits_and_labels(again.model, task, "test")
    assert abs(float(np.median(outputs.numpy())) - OFFSET) < 3 * SPREAD
