"""`edgegnn study`: the file, the grid, the store, and small studies from end to end."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import time
from pathlib import Path

import pytest
import torch
from command_line import EDGEGNN, community_graph, run
from study_example import CASE, HEAD, Quiet, study_of

from edgegnn.errors import StudyError
from edgegnn.studies import Cell, cells, open_store, outcome, read_study
from edgegnn.studies import run as run_study
from edgegnn.studies.config import check_names
from edgegnn.studies.store import Row
from edgegnn.tasks import load_task

# The file -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a = ", "no valid TOML"),
        ("seeds = [0]\n", "case' is missing"),
        ("case = []\n", "line 1: case: expected `array` of length >= 1"),
        (CASE + "model = 1\n", "line 5: unknown key 'case[1].model'; known are models, data, prune"),
        ("sparsity = 0.5\n" + CASE, "line 1: unknown key 'sparsity'; known are case, models, prune"),
        ("# one\nseeds = ['a']\n" + CASE, "line 2: seeds[1]: expected `int`, got `str`"),
        ("path = 'x'\n" + CASE, "line 1: unknown key 'path'"),
        ("sparsities = [0.5, 1.0]\n" + CASE, "line 1: sparsities[2]: expected `float` < 1.0"),
        ("timing = 'often'\n" + CASE, "line 1: timing: invalid enum value 'often'"),
        (CASE + CASE + "seeds = 3\n", "line 9: case[2].seeds: expected `array`, got `int`"),
        (CASE + "\n[case.settings]\nepochs = 0\n", "line 7: case[1].settings.epochs: expected `int` >= 1"),
        (CASE + "\n[case.settings]\nseed = 1\n", "line 7: unknown key 'case[1].settings.seed'; known are epochs, lr"),
        (
            CASE + "\n[case.architecture]\nwidth = 1\n",
            "line 7: unknown key 'case[1].architecture.width'; known are hid",
        ),
        ("[[case]]\nmodels = ['gcn']\n", "line 1: case[1]: the key 'data' is missing"),
    ],
)
def test_a_wrong_key_or_value_is_named_with_its_line(tmp_path, text, message):
    with pytest.raises(StudyError) as error:
        study_of(tmp_path, text)
    assert message in str(error.value)
    assert str(tmp_path / "study.toml") in str(error.value)
    assert "\n" not in str(error.value).strip()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (('["gcn"]', '["gnc"]'), "line 7: case[1].models: unknown model 'gnc': choose one of"),
        (('["cora"]', '["corra"]'), "line 8: case[1].data: unknown data set 'corra'"),
        (('["cora"]', '["mine.pt"]'), "line 8: case[1].data: there is no data file"),
        (('"global"', '"globl"'), "line 1: prune: unknown pruning method 'globl'"),
        (("timing", 'quant = ["dq-in8"]\ntiming'), "line 4: quant: unknown recipe 'dq-in8'; did you mean dq-int8?"),
        (("[[case]]", "[[case]]\ntask = 'edges'"), "line 7: case[1].task: unknown task 'edges'"),
        (('"off"', '"quick"\ntarget = "moon"'), "line 5: target: unknown target 'moon'"),
    ],
)
def test_an_unknown_name_is_found_before_anything_is_trained(tmp_path, change, message):
    study = study_of(tmp_path, (HEAD + CASE).replace(*change))
    with pytest.raises(StudyError) as error:
        check_names(study)
    assert message in str(error.value)


@pytest.mark.parametrize("preset", [[], ["--preset", "paper"], ["--preset", "paper", "--quick"]])
def test_init_writes_a_study_that_can_be_read(tmp_path, capsys, monkeypatch, preset):
    monkeypatch.chdir(tmp_path)
    code, out, err = run(capsys, monkeypatch, "study", "init", *preset)
    assert (code, err) == (0, "")
    assert "edgegnn study run" in out
    study = read_study(Path("study.toml"))
    check_names(study)
    assert {c.prune for c in cells(study)} == {None, "fine-grained", "global", "regularized"}
    assert run(capsys, monkeypatch, "study", "init", *preset)[0] == 2
    assert run(capsys, monkeypatch, "study", "init", "--quick", "--force")[0] == 2
    assert run(capsys, monkeypatch, "study", "init", "--preset", "mine", "--force")[0] == 2


# The grid -----------------------------------------------------------------------------------------------------------


def test_cells_share_the_dense_model_and_come_once(tmp_path):
    grid = cells(study_of(tmp_path, HEAD + CASE + 'quant = ["fp32", "dq-int8"]\n' + CASE))
    # two seeds of: the dense model, and 0.5 of each method; each of them with each recipe
    assert len(grid) == 2 * 3 * 2
    assert len({c.dense_key for c in grid}) == 2
    assert len({c.compress_key for c in grid}) == len(grid)
    assert [c.dense["seed"] for c in grid] == sorted(c.dense["seed"] for c in grid)
    assert {c.timing_key for c in grid} == {None}


def test_a_key_changes_with_what_it_depends_on_and_nothing_else(tmp_path):
    def first(text: str) -> Cell:
        return cells(study_of(tmp_path, text))[-1]

    base = HEAD.replace("off", "full") + CASE
    old = first(base)
    timing = first(base.replace("full", "quick"))
    assert (timing.compress_key, timing.timing_key == old.timing_key) == (old.compress_key, False)
    finetuned = first(base + "[case.finetune]\nepochs = 3\n")
    assert (finetuned.dense_key, finetuned.compress_key == old.compress_key) == (old.dense_key, False)
    trained = first(base + "[case.settings]\nepochs = 3\n")
    assert trained.dense_key != old.dense_key
    (tmp_path / "g.pt").write_bytes(b"1")
    named = base.replace('"cora"', '"g.pt"')
    one = first(named)
    (tmp_path / "h.pt").write_bytes(b"2")
    assert first(named.replace("g.pt", "h.pt")).dense["data_sha256"] != one.dense["data_sha256"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (HEAD.replace("[0, 1]", "[]") + CASE, "case 1 is empty: it has no seeds"),
        (HEAD + CASE + CASE + "quant = []\n", "case 2 is empty: it has no quant"),
        (HEAD + CASE + "sparsities = []\n", "case 1 is empty: it has no sparsities"),
        (HEAD + CASE + "sparsities = [0.5]\nprune = []\n", "no method in prune"),
    ],
)
def test_an_empty_grid(tmp_path, text, message):
    with pytest.raises(StudyError, match=r"study\.toml: case") as error:
        cells(study_of(tmp_path, text))
    assert message in str(error.value)


# The store ----------------------------------------------------------------------------------------------------------


def test_a_store_that_cannot_be_used(tmp_path):
    path = tmp_path / "s.db"
    with pytest.raises(StudyError, match="there is no store"), open_store(path, create=False):
        pass
    assert not path.exists()
    with open_store(path, create=True) as store:
        store.end("k", "dense", {"a": 1}, Row("done", "", {"test": 0.5}, 1.5))
    with open_store(path, create=False) as store:
        assert store.rows() == {"k": Row("done", "", {"test": 0.5}, 1.5)}
    database = sqlite3.connect(path)
    assert database.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    database.execute("PRAGMA user_version = 3")
    database.close()
    with pytest.raises(StudyError, match="made by a newer edgegnn"), open_store(path, create=True):
        pass
    path.write_bytes(b"this is no database, " * 100)
    with pytest.raises(StudyError, match="damaged, or no store"), open_store(path, create=True):
        pass
    other = tmp_path / "other.db"
    database = sqlite3.connect(other)
    database.execute("CREATE TABLE mine (x)")
    database.close()
    with pytest.raises(StudyError, match="another program's database"), open_store(other, create=True):
        pass
    with pytest.raises(StudyError, match="can't open"), open_store(tmp_path, create=True):
        pass


def test_a_full_disk_under_the_store_is_one_line_and_costs_nothing_that_is_there(tmp_path):
    with open_store(tmp_path / "s.db", create=True) as store:
        store.end("first", "dense", {}, Row("done", "", {}, 1.0))
        store._database.execute("PRAGMA max_page_count = 1")  # what SQLite says on a full disk
        with pytest.raises(StudyError, match="full: make room"):
            store.end("second", "dense", {}, Row("done", "", {"text": "x" * 100_000}, 1.0))
        assert list(store.rows()) == ["first"]


@pytest.mark.parametrize(
    ("args", "code", "message"),
    [
        (["table", "none.toml"], 2, "there is no none.toml: write one with `edgegnn study init`"),
        (["run", "none.toml"], 2, "there is no none.toml"),
        (["table", "--format", "html"], 2, "unknown format 'html'"),
        (["table"], 1, "there is no store"),
    ],
)
def test_what_can_not_be_done_is_one_line(tmp_path, capsys, monkeypatch, args, code, message):
    monkeypatch.chdir(tmp_path)
    study_of(tmp_path, HEAD + CASE)
    found, out, err = run(capsys, monkeypatch, "study", *args)
    assert (found, out, err.count("\n")) == (code, "", 1)
    assert message in err


# The real thing -----------------------------------------------------------------------------------------------------

TINY = """
prune = ["global"]
sparsities = [0.0, 0.5]
timing = "{timing}"
keep_artifacts = false
[[case]]
models = ["gcn"]
data = ["data.pt"]
[case.architecture]
hidden = 8
[case.settings]
epochs = 3
[case.finetune]
epochs = 2
"""


@pytest.mark.slow
def test_a_tiny_study_end_to_end(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    graph = community_graph()
    graph.y = graph.y.clamp(max=1)  # of two classes there is a ROC-AUC
    torch.save(graph, "data.pt")
    study = study_of(tmp_path, TINY.format(timing="quick").replace("0.0, ", ""))
    code, out, err = run(capsys, monkeypatch, "study", "run", "--json")
    assert code == 0, err
    assert json.loads(out)["done"] == 1
    assert "[1/1] gcn data.pt global 0.5 seed 0: test " in err
    assert run(capsys, monkeypatch, "study", "run", "--json")[0] == 0
    code, out, err = run(capsys, monkeypatch, "study", "table", "--json")
    assert code == 0, err
    (pruned,) = json.loads(out)["groups"]
    for name in (
        "test",
        "roc_auc",
        "model_file",
        "checkpoint",
        "p50",
        "p99",
        "cpu_percent",
        "peak_delta",
        "train_seconds",
    ):
        assert pruned["values"][name]["n"] == 1, name
    assert len(list((study.files / "profiles").rglob("*.json"))) == 1
    assert not [p for p in study.files.iterdir() if (p / "manifest.json").exists()]


@pytest.mark.slow
def test_kill_loses_the_running_cell_only(tmp_path):
    torch.save(community_graph(), tmp_path / "data.pt")
    study = study_of(tmp_path, TINY.format(timing="off").replace("[0.0, 0.5]", "[0.0, 0.4, 0.8]"))
    command = [*EDGEGNN, "study", "run", study.path]
    with subprocess.Popen(command, env=os.environ, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if line.startswith("[2/3]"):
                process.send_signal(signal.SIGKILL)
                break
    with open_store(study.store_path, create=False) as store:
        before = store.rows()
    assert [outcome(cell, before).status for cell in cells(study)][:2] == ["done", "done"]
    assert len(before) < 4
    summary = run_study(study, Quiet())
    assert [o.status for o in summary.outcomes] == ["done"] * 3
    assert summary.ran == 4 - len(before)


@pytest.mark.slow
def test_ctrl_c_in_a_terminal_says_how_to_go_on(tmp_path):
    torch.save(community_graph(), tmp_path / "data.pt")
    study = study_of(tmp_path, TINY.format(timing="off").replace("epochs = 3", "epochs = 100000"))
    command = [*EDGEGNN, "study", "run", study.path]
    with subprocess.Popen(command, env=os.environ, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        assert process.stderr.readline().startswith("2 cells, 0 of them done")
        time.sleep(1)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "stopped: 0 of 2 cells are done; the same command goes on from there" in err
    assert "Traceback" not in err
    assert not list(study.files.glob("*.pt"))


@pytest.mark.slow
def test_a_study_on_digits_with_quantizers(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save(load_task("digits").graphs[:300], "digits.pt")
    case = '[[case]]\nmodels = ["gin"]\ndata = ["digits.pt"]\n[case.architecture]\nhidden = 64\nlayers = 2\n'
    settings = "[case.settings]\nepochs = 20\n[case.finetune]\nepochs = 1\n"
    head = 'quant = ["none", "static-int8", "dq-int8"]\nseeds = [0]\ntiming = "quick"\n'
    study_of(tmp_path, head + case + settings)
    code, out, err = run(capsys, monkeypatch, "study", "run", "--json")
    assert code == 0, err
    code, out, err = run(capsys, monkeypatch, "study", "table", "--json")
    found = {g["quant"]: g["values"] for g in json.loads(out)["groups"]}
    assert found["dq-int8"]["model_file"]["mean"] < found["none"]["model_file"]["mean"]
    assert all(g["test"]["n"] == 1 and g["test"]["mean"] > 0.3 for g in found.values())
