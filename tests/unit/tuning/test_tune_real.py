"""`edgegnn tune` with nothing made up: every kind of task, a module of one's own, and what it says about the winner."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
from pathlib import Path

import pytest
import torch
from command_line import EDGEGNN, community_graph, run, strict
from graph_targets import graphs
from link_example import social_graph
from sweep import sweep

from edgegnn import api
from edgegnn.tuning import choose, search, tune
from edgegnn.tuning.space import Candidate, presets

pytestmark = pytest.mark.slow
QUICK = ("none", "dq-int8")


LARGE = {"hidden": 128, "layers": 3}  # there is something to save


@pytest.fixture
def short(monkeypatch):
    """Trainings of a second, where the budget would allow for half a minute."""
    monkeypatch.setattr(search, "_FULL_SHARE", 0.002)


@pytest.fixture
def few(monkeypatch, short):
    """Some of the presets, so that the rest of the search has its turn early."""
    monkeypatch.setattr(choose, "presets", lambda space: [c for c in presets(space) if c.preset in QUICK])


def checked(found, folder):
    """What holds of every search that was not made up."""
    content, winner = found.front, found.winner
    assert json.loads((folder / "front.json").read_text()) == content
    done = [c for c in content["candidates"] if c["status"] == "done"]
    dense = next(c for c in done if c["preset"] == "none")
    assert dense["agreement"] == 1.0
    assert winner["bytes"] == min(c["bytes"] for c in done if c["within"]) < dense["bytes"]
    assert abs(dense["drop"]) < 1e-3 * max(1.0, abs(content["float"]["val"]))
    report = api.verify(found.artifact)
    assert report.ok
    manifest = json.loads((found.artifact / "manifest.json").read_text())
    assert manifest["sizes"]["model_file"] == winner["bytes"]
    assert manifest["metric"]["artifact"] == content["test"]["winner"]
    assert content["test"]["float"] is not None
    return done


def by_hand(command, capsys, monkeypatch):
    """Run the command lines that a search printed."""
    for line in command.split(" && "):
        words = shlex.split(line)
        code, _, err = run(capsys, monkeypatch, *words[1:])
        assert code == 0, err


def test_the_winner_is_made_by_hand_to_the_last_bit(work, capsys, monkeypatch, few):
    api.train("gcn", "data.pt", output="model.pt", architecture=LARGE, settings={"epochs": 20}, force=True)
    arguments = ["tune", "model.pt", "--max-accuracy-drop", "60", "--trials", "3", "--json"]
    code, out, err = run(capsys, monkeypatch, *arguments)
    assert code == 0, err
    content = strict(out)
    winner = next(c for c in content["candidates"] if c["number"] == content["winner"])
    assert winner["settings"]["prune"] is not None
    by_hand(content["command"], capsys, monkeypatch)
    assert Path("best/model.onnx").read_bytes() == Path("tuned/artifact/model.onnx").read_bytes()
    assert run(capsys, monkeypatch, "inspect", "tuned/artifact")[0] == 0
    assert run(capsys, monkeypatch, "inspect", "tuned/model.pt")[0] == 0


def test_a_module_and_data_of_ones_own(work, capsys, monkeypatch, short):
    from edgegnn.checkpoint import build_factory
    from edgegnn.tasks import load_task
    from edgegnn.training import FitConfig, fit

    text = Path("mymodels.py").read_text()
    Path("mymodels.py").write_text(text.replace("12", "128").replace("6, heads=2", "64, heads=2"))
    task = load_task("data.pt")
    model = build_factory("mymodels:build", {}, task.spec)
    fit(model, task, FitConfig(epochs=20))
    torch.save(model.state_dict(), "weights.pt")
    # A mixture of bits that no preset has, made by hand from the recipe's file.
    only = [Candidate("none"), Candidate("dq", ("4", "w4", "8", "4"), full=True)]
    monkeypatch.setattr(choose, "presets", lambda _: only)
    source = ["--factory", "mymodels:build", "--data", "data.pt"]
    code, out, err = run(
        capsys, monkeypatch, "tune", "weights.pt", *source, "--max-accuracy-drop", "60", "--trials", "2", "--json"
    )
    assert code == 0, err
    content = strict(out)
    assert "--quant tuned/recipe.json" in content["command"]
    by_hand(content["command"], capsys, monkeypatch)
    assert Path("best/model.onnx").read_bytes() == Path("tuned/artifact/model.onnx").read_bytes()


@pytest.mark.parametrize(
    ("kind", "metric", "drop"),
    sweep(
        [("values", "mae", 400.0), ("links", "roc_auc", 60.0), ("labels", "mean_roc_auc", 60.0)],
        lambda i: i < 1,
    ),
)
def test_every_kind_of_task(kind, metric, drop, tmp_path, monkeypatch, few):
    monkeypatch.chdir(tmp_path)
    torch.save(social_graph() if kind == "links" else graphs(kind, count=80), "data.pt")
    task = "link-prediction" if kind == "links" else None
    api.train(
        "gcn" if kind == "links" else "gin",
        "data.pt",
        output="model.pt",
        task=task,
        architecture=LARGE,
        settings={"epochs": 20},
    )
    found = tune("model.pt", max_drop=drop, trials=3)
    done = checked(found, tmp_path / "tuned")
    assert found.front["metric"] == metric
    assert any(c["settings"]["prune"] for c in done)
    if kind == "values":
        assert found.front["max_drop"] == drop  # in its own unit
        worst = max(done, key=lambda c: c["val"])
        assert worst["drop"] == max(c["drop"] for c in done)  # a larger error is worse
    else:
        assert found.front["max_drop"] == drop / 100


def test_the_drop_of_an_error_has_to_be_said(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    torch.save(graphs("values", count=60), "data.pt")
    api.train("gin", "data.pt", output="model.pt", architecture={"hidden": 4}, settings={"epochs": 2})
    code, _, err = run(capsys, monkeypatch, "tune", "model.pt")
    assert (code, err.count("\n")) == (2, 1)
    assert "mae, in the units of the data" in err


def test_latency_is_measured_on_the_target(work, few):
    found = tune("model.pt", minimize="latency", max_drop=20, trials=2, target="x86")
    measured = [c for c in found.front["candidates"] if "latency_ms" in c]
    assert {c["number"] for c in measured} == {c["number"] for c in found.front["candidates"] if c["within"]}
    assert found.winner["latency_ms"]["p50"] == min(c["latency_ms"]["p50"] for c in measured)
    assert found.winner["energy_j"] is None or found.winner["energy_j"]["kind"] in ("measured", "estimated")


def test_a_device_over_ssh_measures(board, few):
    torch.save(community_graph(), "data.pt")
    api.train("gcn", "data.pt", output="model.pt", architecture=LARGE, settings={"epochs": 5})
    found = tune("model.pt", minimize="latency", max_drop=60, trials=2, target="board")
    within = [c for c in found.front["candidates"] if c["within"]]
    assert all(c["latency_ms"]["p50"] > 0 and not c["emulated"] for c in within)
    assert found.winner["latency_ms"]["p50"] == min(c["latency_ms"]["p50"] for c in within)
    assert "--target board" in found.front["command"]
    assert board.leftovers() == []


def test_nothing_smaller_than_a_small_model_is_said(work, capsys, monkeypatch, short):
    code, _, err = run(capsys, monkeypatch, "tune", "model.pt", "--max-accuracy-drop", "60", "--trials", "2")
    assert code == 1
    assert "is smaller than the float model's own artifact" in err.splitlines()[-1]


def test_a_search_in_a_process_of_its_own_is_killed_and_another_goes_on(work, capsys, monkeypatch, short):
    api.train("gcn", "data.pt", output="model.pt", architecture=LARGE, settings={"epochs": 5}, force=True)
    command = ["tune", "model.pt", "--max-accuracy-drop", "60", "--trials", "3"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen([*EDGEGNN, *command], stderr=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if line.startswith("dynamic-int8"):
                break
        process.kill()
    assert process.returncode == -signal.SIGKILL
    assert not Path("tuned/front.json").exists()
    code, _, err = run(capsys, monkeypatch, *command)
    assert code == 0, err
    assert "going on after 2 candidates" in err
    assert "dynamic-int8:" not in err
    assert len(json.loads(Path("tuned/front.json").read_text())["candidates"]) == 3
