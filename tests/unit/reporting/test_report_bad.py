"""Bad input of `edgegnn report`: one clear line, and nothing half-written."""

from __future__ import annotations

import json
import sqlite3
import sys
from pathlib import Path

import pytest
from command_line import run
from profile_example import record
from report_example import finished_study, profile_of, write_records
from study_example import CASE, HEAD, study_of

from edgegnn.profiling import write_record
from edgegnn.studies.store import Row, open_store


@pytest.fixture
def report(tmp_path, monkeypatch, capsys):
    """Runs the command in an empty folder; what it says on stderr, in one line."""
    monkeypatch.chdir(tmp_path)

    def call(*args: object, code: int) -> str:
        before = sorted(p for p in tmp_path.rglob("*"))
        found, out, err = run(capsys, monkeypatch, "report", *args)
        assert (found, out) == (code, "")
        assert sorted(p for p in tmp_path.rglob("*")) == before
        (line,) = err.splitlines()
        assert line.startswith("edgegnn: ")
        return line

    return call


def test_a_source_that_is_not_there(report):
    assert "there is no nothing.toml: name a study.toml, profile records, or a model.pt" in report(
        "nothing.toml", code=2
    )


def test_a_source_that_is_nothing_of_ours(report):
    Path("notes.txt").write_text("hello")
    assert "notes.txt is no study.toml, no profile record (.json) and no checkpoint" in report("notes.txt", code=2)


def test_a_store_instead_of_its_study(report):
    Path("study.db").write_bytes(b"SQLite format 3\0")
    assert "of a study name its study.toml, not its store" in report("study.db", code=2)


def test_a_folder_without_records(report):
    Path("profiles").mkdir()
    Path("profiles/schema.json").write_text("{}")
    assert "profiles has no profile records" in report("profiles", code=1)


def test_an_artifact(report):
    Path("model").mkdir()
    Path("model/manifest.json").write_text("{}")
    assert "model is an artifact: measure it with `edgegnn profile model`" in report("model", code=2)


def test_a_newer_record(report):
    Path("new.json").write_text(json.dumps({**record().to_dict(), "format": "edgegnn-profile/7"}))
    assert "use a newer edgegnn" in report("new.json", code=1)


@pytest.mark.parametrize("folder", [False, True])
@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda text: text[: len(text) // 2], "is no profile record"),
        (lambda text: text.replace('"cpu_percent"', '"percent"'), "is a damaged profile record"),
        (lambda text: text.replace("55.5", "5.55"), "is a damaged profile record: its checksum differs"),
    ],
)
def test_a_damaged_record_is_not_passed_over(report, damage, says, folder):
    Path("profiles").mkdir()
    path = Path("profiles/a.json")
    write_record(record(), path)
    path.write_text(damage(path.read_text()))
    assert says in report("profiles" if folder else path, code=1)


def test_a_store_with_damaged_results(report, tmp_path, monkeypatch):
    finished_study(tmp_path, monkeypatch)
    with open_store(Path("study.db"), create=False) as store:
        for key in store.rows():
            store.end(key, "compress", {}, Row("done", "", {"test": 1}, 1.0))
    assert "study.db is damaged, or of another edgegnn" in report("study.toml", code=1)


def test_json_of_others_in_a_folder_is_passed_over_and_named(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_records(Path("profiles"), [profile_of("x86", "a", 1.0)])
    Path("profiles/schema.json").write_text("{}")
    code, _, err = run(capsys, monkeypatch, "report", "profiles", "profiles/x86/0.json")
    assert (code, err) == (0, "")
    text = Path("report.html").read_text()
    assert "passed over, no profile records: profiles/schema.json" in text
    assert text.count("profiles/x86/0.json") == 1  # named twice, read once


def test_a_study_that_has_not_run(report, tmp_path):
    study_of(tmp_path, HEAD + CASE)
    assert "there is no store" in report("study.toml", code=1)


def test_a_study_without_a_finished_cell(report, tmp_path, monkeypatch):
    errors = {f"dense gcn cora {what} seed {s}": ValueError("boom") for what in ("dense", "global 0.5") for s in (0, 1)}
    finished_study(tmp_path, monkeypatch, HEAD.replace(', "regularized"', ""), errors=errors)
    line = report("study.toml", code=1)
    assert "study.toml: no cell has ended yet: run it with `edgegnn study run study.toml`" in line
    assert "failed: training: unexpected ValueError: boom" in line


def test_a_study_with_a_wrong_key_and_a_newer_store(report, tmp_path, monkeypatch):
    finished_study(tmp_path, monkeypatch)
    with sqlite3.connect("study.db") as database:
        database.execute("PRAGMA user_version = 99")
    database.close()
    assert "newer edgegnn" in report("study.toml", code=1)
    Path("study.toml").write_text("colour = 'red'\n" + Path("study.toml").read_text())
    assert "line 1: unknown key 'colour'" in report("study.toml", code=1)


@pytest.mark.slow
def test_an_output_that_exists(report, tmp_path, capsys, monkeypatch):
    none = {"energy_j": None, "energy_reason": "no sensor"}
    write_records(Path("profiles"), [profile_of("x86", name, 1.0, **none) for name in "ab"])
    Path("report.html").write_text("mine")
    assert "report.html exists" in report("profiles", code=2)
    Path("figures").mkdir()
    Path("figures/pareto-1-size.svg").write_text("mine")
    assert "pareto-1-size.svg exists" in report("profiles", "-o", "new.html", "--figures", "figures", code=2)
    assert Path("report.html").read_text() == "mine"
    code, *_ = run(capsys, monkeypatch, "report", "profiles", "--figures", "figures", "--force")
    assert code == 0
    assert Path("report.html").read_text().startswith("<!doctype html>")
    assert Path("figures/pareto-1-size.svg").read_text() != "mine"


def test_the_output_is_no_source(report):
    write_record(record(), Path("a.json"))
    assert "a.json is a source of the report" in report("a.json", "-o", "a.json", "--force", code=2)


def test_an_output_that_cannot_be_written(report):
    write_records(Path("profiles"), [profile_of("x86", "a", 1.0)])
    Path("file").write_text("")
    assert "can't write file/report.html" in report("profiles", "-o", "file/report.html", code=2)
    Path("folder").mkdir()
    assert "folder" in report("profiles", "-o", "folder", "--force", code=2)


@pytest.mark.parametrize("package", ["matplotlib", "jinja2"])
def test_an_extra_that_is_missing(report, monkeypatch, package):
    write_records(Path("profiles"), [profile_of("x86", "a", 1.0)])
    monkeypatch.setitem(sys.modules, package, None)
    assert report("profiles", code=2) == f"edgegnn: a report needs {package}: pip install 'edgegnn[report]'"


def test_a_checkpoint_that_is_none(report):
    Path("model.pt").write_bytes(b"PK\x03\x04 no model")
    assert "model.pt is not a model file" in report("model.pt", code=1)


def test_options_of_checkpoints_without_one(report):
    write_record(record(), Path("a.json"))
    assert "--data and the other options of a model need a checkpoint" in report("a.json", "--data", "cora", code=2)
    assert "--sensitivity needs a study" in report("a.json", "--sensitivity", code=2)
