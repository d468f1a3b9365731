"""What `edgegnn tune` does and leaves: a search that is stopped, killed, asked something else, or finds nothing."""

from __future__ import annotations

import dataclasses
import json
import sqlite3
import sys
from pathlib import Path

import pytest
from command_line import files, run, strict
from sweep import sweep
from tune_example import SPACE, Made, figures

from edgegnn import api
from edgegnn.errors import TargetError, TuneError, UsageError
from edgegnn.plain_c.values import Limits
from edgegnn.tuning import search, tune
from edgegnn.tuning.candidate import OutOfTime
from edgegnn.tuning.space import Candidate, presets, starts

FIRST = [*presets(SPACE), *starts(SPACE, "size")]


@pytest.fixture
def made(monkeypatch, work):
    monkeypatch.setattr(search, "space_of", lambda *_: SPACE)
    return Made(monkeypatch)


def front(folder="tuned"):
    return json.loads((Path(folder) / "front.json").read_text())


@pytest.mark.slow
def test_a_search_leaves_the_best_within_the_drop_and_the_front(made, work):
    found = tune("model.pt", trials=30)
    content = front()
    assert content == found.front
    assert made.done[: len(FIRST)] == FIRST
    assert len(made.done) == len(content["candidates"]) == 30
    assert len(set(made.done)) == 30  # nothing twice
    within = [c for c in content["candidates"] if c["within"]]
    assert found.winner["bytes"] == min(c["bytes"] for c in within)
    assert found.winner["bytes"] < min(c["bytes"] for c in within if c["preset"] is not None)
    assert {c["preset"] for c in content["candidates"]} >= set(SPACE.recipes)
    assert [c["number"] for c in content["candidates"] if c["front"] and c["within"]][-1:] != []
    assert content["winner"] in [c["number"] for c in content["candidates"] if c["front"]]
    # the files are the winner's, and those of others that may be wanted
    assert json.loads((found.artifact / "manifest.json").read_text())["candidate"] == found.winner["label"]
    assert found.checkpoint.read_text() == found.winner["label"]
    assert (work / "tuned" / "candidates" / str(content["winner"])).is_dir()
    assert len(list((work / "tuned" / "candidates").iterdir())) < 15
    assert content["test"]["winner"] == 0.5
    assert "latency_ms" in found.winner  # the finalists are measured whatever is minimized


@pytest.mark.slow
def test_the_same_command_goes_on_and_adds_nothing_when_it_is_done(made):
    tune("model.pt", trials=5)
    assert made.done == FIRST[:5]
    tune("model.pt", trials=12)
    assert made.done[:10] == FIRST[:10]
    assert len(made.done) == 12
    again = tune("model.pt", trials=12)
    assert len(made.done) == 12
    assert len(again.front["candidates"]) == 12


@pytest.mark.slow
def test_ctrl_c_ends_with_the_best_so_far_and_loses_the_running_candidate_only(made):
    made.errors[6] = KeyboardInterrupt()
    found = tune("model.pt", trials=10)
    assert found.front["interrupted"]
    assert len(found.front["candidates"]) == 5
    assert found.winner["preset"] is not None
    made.done.clear()
    later = tune("model.pt", trials=10)
    assert made.done == FIRST[5:10]
    assert not later.front["interrupted"]


class Killed(BaseException):
    """Stands for kill -9: nothing that follows is done."""


@pytest.mark.slow
def test_a_killed_search_goes_on_and_gives_up_what_ended_it_twice(made):
    for _ in range(2):
        made.errors[len(made.done) + (4 if not made.done else 1)] = Killed()
        with pytest.raises(Killed):
            tune("model.pt", trials=10)
    assert made.done == [*FIRST[:4], FIRST[3]]
    found = tune("model.pt", trials=6)
    assert made.done[5:] == FIRST[4:6]
    assert "ended 2 times" in found.front["candidates"][3]["reason"]


def test_the_budget_ends_a_search(made):
    made.errors[4] = OutOfTime()
    found = tune("model.pt")
    assert len(found.front["candidates"]) == 3
    assert not found.front["interrupted"]


@pytest.mark.slow
def test_what_can_not_end_in_time_is_not_begun(made, monkeypatch):
    monkeypatch.setattr(search.Costs, "seconds", lambda self, candidate, epochs: 1e6 * candidate.trains)
    found = tune("model.pt", budget=5)
    assert [c.trains for c in made.done] == [False] * 3
    assert found.winner["preset"] in ("dynamic-int8", "static-int8")


@pytest.mark.slow
def test_a_failed_candidate_is_kept_with_its_reason_and_stops_no_other(made, capsys):
    made.reasons["dq-int8"] = "this layer would be emptied"
    found = tune("model.pt", trials=12)
    failed = [c for c in found.front["candidates"] if c["status"] == "failed"]
    assert [(c["preset"], c["reason"]) for c in failed] == [("dq-int8", "this layer would be emptied")]
    assert len(made.done) == 12


def test_nothing_within_the_drop_is_an_error_that_says_the_best_found(made, capsys, monkeypatch):
    code, out, err = run(capsys, monkeypatch, "tune", "model.pt", "--max-accuracy-drop", "0.01", "--trials", "9")
    assert (code, out) == (1, "")
    line = err.strip().splitlines()[-1]
    assert "nothing that was tried stays within 0.01 points" in line
    assert "comes nearest, 0.1 points worse" in line
    assert "--max-accuracy-drop" in line
    assert front()["winner"] is None
    assert len(front()["candidates"]) == 9
    assert not (Path("tuned") / "artifact").exists()


@pytest.mark.slow
def test_latency_and_energy_choose_by_what_was_measured(made, monkeypatch):
    def measure(job, folder, **_):
        label = json.loads((folder / "artifact" / "manifest.json").read_text())["candidate"]
        p50 = 1.0 if label == "static-int8" else 2.0
        energy = {"gross": 3.0 - p50, "net": None, "kind": "measured", "source": "a sensor"}
        return {"latency_ms": {"p50": p50}, "energy_j": energy, "energy_reason": "", "emulated": ""}

    monkeypatch.setattr(search, "measure", measure)
    fast = tune("model.pt", minimize="latency", trials=9, output="fast")
    assert fast.winner["preset"] == "static-int8"
    assert [c["preset"] for c in fast.front["candidates"] if c["front"]] != []
    frugal = tune("model.pt", minimize="energy", trials=9, output="frugal")
    assert frugal.winner["preset"] != "static-int8"


def test_a_microcontroller_chooses_by_what_candidates_take_of_it(made, monkeypatch):
    def weigh(job, folder, **_):
        assert (job.emulated, job.limits) == (True, Limits(9, 20))
        flash = 500 if made.done[-1].quant == "dq" else 900
        return {"footprint": {"flash": flash, "ram": 100, "instructions": 7}, "device": "cortex-m4"}

    monkeypatch.setattr(search, "measure", weigh)
    found = tune("model.pt", target="cortex-m4", max_nodes=9, max_edges=20, trials=9)
    assert found.winner["footprint"]["flash"] == 500
    assert (found.front["minimize"], found.front["target"]) == ("flash", "cortex-m4")
    assert found.front["command"].endswith("--target cortex-m4 --max-nodes 9 --max-edges 20 -o best")


def test_energy_that_can_not_be_read_is_said_before_anything_is_trained(made, monkeypatch):
    monkeypatch.setattr(search, "measure", lambda *_, **__: {"energy_j": None, "energy_reason": "no sensor there"})
    for _ in range(3):
        with pytest.raises(TuneError, match=r"energy can't be measured on .*: no sensor there"):
            tune("model.pt", minimize="energy", trials=3)
    assert made.done == FIRST[:1] * 3


# Bad input ------------------------------------------------------------


@pytest.mark.parametrize(
    ("args", "code", "message"),
    [
        (["--target", "toaster"], 2, "toaster"),
        (["--max-accuracy-drop", "-1"], 2, "0 or more"),
        (["--max-accuracy-drop", "nan"], 2, "0 or more"),
        (["--budget", "0"], 2, "more than 0 minutes"),
        (["--budget", "inf"], 2, "more than 0 minutes"),
        (["--minimize", "speed"], 2, "size, latency, energy, ram or instructions"),
        (["--minimize", "ram"], 2, "ram can't be told of x86: choose --minimize size, latency or energy"),
        (["--max-nodes", "9"], 2, "that take the C form: not for x86"),
        (["--target", "cortex-m4"], 2, "give --max-nodes and --max-edges"),
        (["--target", "cortex-m4", "--minimize", "latency"], 2, "choose --minimize size, ram or instructions"),
        (["--trials", "0"], 2, "1 or more"),
        (["-o", "model-dq-int8"], 2, "something else"),
        (["-o", "data.pt"], 2, "is a file"),
        (["-o", "model.pt/inside"], 1, "can't write"),
        (["--data", "nope.pt"], 1, "nope.pt"),
    ],
)
def test_bad_requests(args, code, message, work, capsys, monkeypatch):
    before = files(work)
    got, out, err = run(capsys, monkeypatch, "tune", "model.pt", *args)
    assert (got, out, err.count("\n"), message in err) == (code, "", 1, True), err
    assert files(work) == before


def test_a_model_that_can_not_be_searched_for_is_refused(work, capsys, monkeypatch):
    import torch

    api.compress("model.pt", quant="dq-int8", output="small.pt", settings={"epochs": 1})
    assert "quantized already" in run(capsys, monkeypatch, "tune", "small.pt")[2]
    assert "no such file" in run(capsys, monkeypatch, "tune", "nope.pt")[2]
    content = torch.load("model.pt", weights_only=True)
    torch.save(content | {"task": None}, "bare.pt")
    assert "--data" in run(capsys, monkeypatch, "tune", "bare.pt")[2]
    graph = torch.load("data.pt", weights_only=False)
    graph.val_mask[:] = False
    torch.save(graph, "data.pt")
    assert "val split is empty" in run(capsys, monkeypatch, "tune", "model.pt", "--data", "data.pt")[2]
    assert not (work / "tuned").exists()


@pytest.mark.slow
def test_a_search_is_not_gone_on_with_for_something_else(made, work):
    tune("model.pt", trials=2)
    for changes, message in (
        ({"minimize": "latency"}, "another --minimize"),
        ({"max_drop": 2.0}, "another --max-accuracy-drop"),
        ({"seed": 1, "max_drop": 2.0}, "another --max-accuracy-drop and another --seed"),
    ):
        with pytest.raises(TuneError, match=f"{message}.*--force to start anew"):
            tune("model.pt", trials=2, **changes)
    checkpoint = api.load("model.pt")
    with pytest.raises(TuneError, match="another model"):
        tune(dataclasses.replace(checkpoint), trials=2)
    api.train("gcn", "data.pt", output="model.pt", settings={"epochs": 2}, force=True)
    with pytest.raises(TuneError, match="another model"):
        tune("model.pt", trials=2)
    assert len(made.done) == 2
    (work / "tuned" / "mine.txt").write_text("a note")
    tune("model.pt", trials=2, force=True)
    assert len(made.done) == 4
    assert (work / "tuned" / "mine.txt").exists()  # only what is the search's goes


@pytest.mark.slow
@pytest.mark.parametrize("how", sweep(["cut", "noise", "other"], lambda i: i == 0))
def test_a_damaged_memory_is_said(made, work, how):
    tune("model.pt", trials=2)
    path = work / "tuned" / "study.db"
    if how == "cut":
        path.write_bytes(path.read_bytes()[:5000])
    elif how == "noise":
        path.write_bytes(b"not a database" * 500)
    else:
        path.unlink()
        with sqlite3.connect(path) as other:
            other.execute("CREATE TABLE studies (a INT)")
        other.close()
    with pytest.raises(TuneError, match=r"study.db, the memory of the search.*--force starts anew"):
        tune("model.pt", trials=2)
    assert tune("model.pt", trials=2, force=True).winner


def test_two_searches_do_not_share_a_folder(made):
    inner = []
    attempt = made.attempt

    def nested(*args, **kwargs):
        if not inner:
            inner.append("begun")
            with pytest.raises(TuneError, match="runs already"):
                tune("model.pt", trials=2)
            inner.append("refused")
        return attempt(*args, **kwargs)

    search.attempt = nested
    tune("model.pt", trials=2)
    assert inner == ["begun", "refused"]


def test_a_missing_extra_is_named(work, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(UsageError, match=r"pip install 'edgegnn\[tune\]'"):
        tune("model.pt")


def test_a_target_that_is_not_reachable_is_an_error_before_anything_is_trained(made, monkeypatch):
    with pytest.raises((TargetError, UsageError)):
        tune("model.pt", target="rpi-without-a-host")
    assert made.done == []


def test_what_is_printed_is_json_when_asked(made, capsys, monkeypatch):
    code, out, err = run(capsys, monkeypatch, "tune", "model.pt", "--trials", "11", "--json")
    assert code == 0, err
    content = strict(out)
    assert content["artifact"] == "tuned/artifact"
    assert len(content["candidates"]) == 11
    code, out, err = run(capsys, monkeypatch, "tune", "model.pt", "--trials", "11")
    assert code == 0, err
    assert "by hand: edgegnn compress model.pt --prune " in out
    assert "next: edgegnn verify tuned/artifact" in out
    assert "11 candidates" in err


def test_figures_of_the_example():
    assert figures(Candidate("none")) == (32640, 0.0)
