"""`edgegnn verify` of artifacts with a C form."""

from __future__ import annotations

import json
from pathlib import Path

import onnx
import pytest
from c_artifact import make_c_artifact
from tiny_artifact import make_artifact, seal

import edgegnn
from edgegnn.api import verify
from edgegnn.plain_c import proof


@pytest.fixture
def artifact(tmp_path: Path) -> Path:
    folder = make_c_artifact(tmp_path / "gin")
    seal(folder, versions={"edgegnn": edgegnn.__version__})
    return folder


def test_the_c_form_is_compiled_and_run(artifact: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    report = verify(artifact)
    assert report.ok, report.problems
    assert report.c_form == "compiled and run on 3 graphs, 1 are beyond its limits"
    monkeypatch.setattr(proof, "find_compiler", lambda: None)
    report = verify(artifact)
    assert report.ok
    assert report.c_form.startswith("not run: no C compiler here")


def test_an_artifact_without_one(tmp_path: Path) -> None:
    report = verify(make_artifact(tmp_path / "plain"))
    assert report.ok
    assert report.c_form == ""


def test_a_stale_c_form_is_one_line(artifact: Path) -> None:
    path = artifact / "c" / "model.c"
    path.write_text(path.read_text().replace("static const", "static  const", 1))
    seal(artifact)
    (problem,) = verify(artifact).problems
    assert (
        problem
        == "C form: c/model.c is not what model.onnx gives: c/ is stale or changed, export with --format c again"
    )
    seal(artifact, versions={"edgegnn": "0.0.1"})
    report = verify(artifact)
    assert report.ok
    assert report.c_form == "not run: another edgegnn (0.0.1) wrote c/model.c"


def test_a_changed_model_beside_it(artifact: Path) -> None:
    model = onnx.load(str(artifact / "model.onnx"))
    weights = next(i for i in model.graph.initializer if i.name == "bias3")
    weights.raw_data = bytes(a ^ 1 for a in weights.raw_data)
    (artifact / "model.onnx").write_bytes(model.SerializeToString())
    seal(artifact)
    assert any("c/ is stale" in problem for problem in verify(artifact).problems)


def test_limits_that_are_none(artifact: Path) -> None:
    facts = json.loads((artifact / "manifest.json").read_text())["c"]
    seal(artifact, c={**facts, "max_nodes": 0})
    (problem,) = verify(artifact).problems
    assert problem.startswith("C form: ")
