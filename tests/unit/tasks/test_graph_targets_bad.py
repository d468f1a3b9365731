"""What is wrong with the targets of graphs, and metrics that are not defined: one line, or null with a reason."""

import pytest
import torch
from command_line import run, strict
from graph_targets import graphs

from edgegnn.errors import DataError, TrainError, UsageError
from edgegnn.models import build
from edgegnn.tasks import task_from_graphs
from edgegnn.training import FitConfig, fit


def changed(target, change):
    found = graphs(target, 40)
    for i, graph in enumerate(found):
        change(i, graph)
    return found


def put(value, at=7, column=0):
    def change(i, graph):
        if i == at:
            graph.y[0, column] = value

    return change


def same(i, graph):
    graph.y[0, 0] = 5.0


def empty(i, graph):
    graph.y[0, 1] = torch.nan


def wide(i, graph):
    if i == 7:
        graph.y = torch.zeros(1, 5)


@pytest.mark.parametrize(
    ("target", "change", "message"),
    [
        ("values", put(float("nan")), "mine: graph 7: the target is nan: leave such graphs out"),
        ("values", put(float("inf")), "mine: graph 7: the target is inf"),
        ("values", same, "every graph has the same target"),
        ("values", lambda i, g: g.y if i != 7 else g.pop("y"), "graph 7 has no values"),
        ("labels", empty, "label column 1 is empty: leave it out"),
        ("labels", put(2.0), "graph 7: label 2 in column 0 is neither 0 nor 1"),
        ("labels", wide, "graph 7 has 5 labels, graph 0 has 3"),
    ],
)
def test_bad_targets(target, change, message):
    name = {"values": "graph-regression", "labels": "graph-multilabel"}[target]
    with pytest.raises(DataError, match=message) as info:
        task_from_graphs(changed(target, change), data="mine", task=name)
    assert "\n" not in str(info.value)


def test_a_column_without_labels_in_training():
    found = graphs("labels", 40)
    index = task_from_graphs(found, data="mine").index
    for i in index["train"].tolist():
        found[i].y[0, 2] = torch.nan
    with pytest.raises(DataError, match="label column 2 is empty in the training split"):
        task_from_graphs(found, data="mine")


def test_what_labels_are_is_seen_and_can_be_said():
    counts = changed("values", lambda i, g: g.y.copy_(torch.tensor([[float(i % 3)]])))
    assert task_from_graphs(counts, data="mine").spec.name == "graph"
    said = task_from_graphs(counts, data="mine", task="graph-regression").spec
    assert (said.name, said.split, said.metric, said.num_classes) == ("graph-regression", "random", "mae", 1)
    several = changed("labels", lambda i, g: g.y.copy_(torch.tensor([[1.0, 2.0, i % 7]])))
    with pytest.raises(DataError, match=r"several whole numbers are given for each graph.*--task graph-regression"):
        task_from_graphs(several, data="mine")
    with pytest.raises(DataError, match="node labels need a row for each of 6 nodes"):
        task_from_graphs(counts, data="mine", task="node")
    with pytest.raises(UsageError, match="choose mae or rmse"):
        task_from_graphs(graphs("values", 20), data="mine", metric="accuracy")


def test_a_model_with_spare_outputs_is_for_classes_only():
    task = task_from_graphs(graphs("labels", 40), data="mine")
    with pytest.raises(TrainError, match=r"needs \[32, 3\]: build it for 3 labels"):
        fit(build("gin", in_channels=4, out_channels=4, kind="graph", hidden=8, layers=2), task, FitConfig(epochs=1))


def one_class(split, path):
    """Graphs of two classes, but of one alone in this part of the random split."""
    found = graphs("labels", 60)
    for graph in found:
        graph.y = graph.y[:, 1].nan_to_num(0).long()
    for i in task_from_graphs(found, data="mine", split="random").index[split].tolist():
        found[i].y[:] = 1
    torch.save(found, path)


TRAIN = (
    "train",
    "gin",
    "d.pt",
    "--metric",
    "roc_auc",
    "--split",
    "random",
    "--hidden",
    8,
    "--layers",
    1,
    "--epochs",
    1,
)


def test_one_class_to_select_by_is_an_error(tmp_path, capsys, monkeypatch):
    one_class("val", tmp_path / "d.pt")
    monkeypatch.chdir(tmp_path)
    code, out, err = run(capsys, monkeypatch, *TRAIN)
    assert (code, out) == (1, "")
    assert err.count("\n") == 1
    assert "in the validation split, roc_auc needs labels of both classes" in err


def test_an_undefined_metric_of_training_is_null(tmp_path, capsys, monkeypatch):
    one_class("test", tmp_path / "d.pt")
    monkeypatch.chdir(tmp_path)
    code, out, err = run(capsys, monkeypatch, *TRAIN, "--json")
    assert code == 0, err
    assert strict(out)["metrics"]["test"] is None
    assert strict(out)["metrics"]["val"] is not None
    code, out, err = run(capsys, monkeypatch, "inspect", "model.pt")
    assert code == 0, err
    assert "test undefined" in out


@pytest.mark.slow
def test_an_undefined_metric_is_null_with_its_reason(tmp_path, capsys, monkeypatch):
    one_class("test", tmp_path / "d.pt")
    monkeypatch.chdir(tmp_path)
    assert run(capsys, monkeypatch, *TRAIN)[0] == 0
    code, out, err = run(capsys, monkeypatch, "export", "model.pt", "-o", "a", "--json")
    assert code == 0, err
    manifest = strict(out)
    assert (manifest["metric"]["artifact"], manifest["metric"]["pytorch"]) == (None, None)
    assert "labels of both classes" in manifest["samples_metric"]["reason"]
    strict((tmp_path / "a" / "manifest.json").read_text())
    for command in (("inspect", "a"), ("verify", "a")):
        code, out, err = run(capsys, monkeypatch, *command)
        assert code == 0, err
        assert "undefined" in out
    code, out, err = run(capsys, monkeypatch, "verify", "a", "--json")
    assert (code, strict(out)["metric"]) == (0, None)
    code, out, err = run(capsys, monkeypatch, "profile", "--quick", "a", "--json")
    assert code == 0, err
    record = strict(out)
    assert record["metric"] is None
    assert "labels of both classes" in record["metric_reason"]
