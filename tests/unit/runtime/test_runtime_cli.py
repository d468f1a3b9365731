"""`python run.pyz`, as the embedded engineer runs it: in a process of its own, without torch."""

from __future__ import annotations

import ast
import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_artifact import CLASSES, change_samples, graph, make_artifact, reference, seal

import edgegnn
from edgegnn.runtime.cli import main

QUICK = ["--runs", "4", "--seconds", "0.01", "--warmup-seconds", "0.01", "--threads", "1"]
WINDOWS = ["--windows", "2", "--window-seconds", "0.02", "--window-iterations", "2"]


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_artifact(tmp_path_factory.mktemp("artifacts") / "tiny")


@pytest.fixture
def artifact(pristine: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(pristine, tmp_path / "tiny"))


@pytest.fixture
def without_torch(tmp_path: Path) -> dict[str, str]:
    """An environment in which importing torch, or anything else that a device doesn't have, fails."""
    folder = tmp_path / "sabotage"
    folder.mkdir()
    for name in ("torch", "torch_geometric", "onnx", "scipy", "sklearn", "msgspec", "codecarbon", "rich", "psutil"):
        (folder / f"{name}.py").write_text("raise AssertionError('the runner imported ' + __name__)")
    return {**os.environ, "PYTHONPATH": str(folder), "PYTHONWARNINGS": "error"}


def run(artifact: Path, *arguments: str, env: Any = None, **options: Any) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(artifact / "run.pyz"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=env, timeout=60, **options)


def test_verify_bench_and_predict_without_torch(artifact: Path, without_torch: dict[str, str], tmp_path: Path) -> None:
    done = run(artifact, "verify", "--json", env=without_torch, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["ok"] is True

    done = run(artifact, "bench", "--json", "--energy", "none", *QUICK, env=without_torch)
    assert (done.returncode, done.stderr) == (0, "")
    result = json.loads(done.stdout)
    assert result["latency_ms"]["n"] >= 4
    assert result["latency_ms"]["threads"] == 1

    inputs = graph(9, 20, seed=3)
    np.savez(artifact / "x.npz", **inputs)  # beside the model, where people put it
    done = run(artifact, "predict", "--input", "x.npz", "--output", "y.npz", env=without_torch, cwd=artifact)
    assert (done.returncode, done.stderr) == (0, "")
    with np.load(artifact / "y.npz") as got:
        np.testing.assert_allclose(got["logits"], reference(inputs), atol=1e-5)
        np.testing.assert_array_equal(got["classes"], reference(inputs).argmax(axis=1))


def test_events_wait_at_the_gate_of_every_window(artifact: Path) -> None:
    arguments = ["bench", "--events", "--energy", "host", *QUICK, *WINDOWS]
    done = run(artifact, *arguments, input="go\n" * 3)
    assert done.returncode == 0, done.stderr
    events = [json.loads(line) for line in done.stdout.splitlines()]
    names = [e["event"] for e in events if e["event"] != "phase"]
    assert names == ["window_ready", "window_start", "window_end"] * 3 + ["result"]
    ends = [e for e in events if e["event"] == "window_end"]
    starts = [e for e in events if e["event"] == "window_start"]
    assert [e["kind"] for e in ends] == ["idle", "load", "load"]
    assert ends[0]["iterations"] == 0
    assert all(e["iterations"] >= 2 for e in ends[1:])
    for start, end in zip(starts, ends, strict=True):
        assert end["monotonic"] - start["monotonic"] == pytest.approx(end["seconds"])
        assert end["seconds"] >= 0.02
    assert [w["joules"] for w in events[-1]["result"]["windows"]] == [None] * 3

    done = run(artifact, *arguments, input="go\n")  # the host goes away
    assert done.returncode == 2
    assert done.stderr == "edgegnn: error: the program that reads the energy is gone\n"


def test_runner_says_what_is_missing_on_the_device(artifact: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-S", "-E", str(artifact / "run.pyz"), "verify"], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 1
    assert done.stderr.startswith("edgegnn: error: No module named 'numpy'; this runner needs: python -m pip install")


def test_runner_is_python_3_9() -> None:
    package = Path(edgegnn.__file__).parent
    for path in [package / "__init__.py", package / "errors.py", *(package / "runtime").glob("*.py")]:
        tree = ast.parse(path.read_text(encoding="utf-8"), feature_version=(3, 9))
        lazy = any(isinstance(n, ast.ImportFrom) and n.module == "__future__" for n in tree.body)
        assert lazy, f"{path} evaluates its annotations"
        for node in ast.walk(tree):
            assert not isinstance(node, ast.Match), path
            if isinstance(node, ast.Call):
                names = {k.arg for k in node.keywords}
                called = getattr(node.func, "id", getattr(node.func, "attr", ""))
                assert not (called == "zip" and "strict" in names), path
                assert not (called == "dataclass" and names & {"slots", "kw_only"}), path


def cli(*arguments: object) -> int:
    return main([str(a) for a in arguments])


def test_people_get_text(artifact: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli("verify", "--artifact", artifact) == 0
    assert "tiny: holds" in capsys.readouterr().out
    assert cli("bench", "--artifact", artifact, "--quick", "--energy", "none", *QUICK) == 0
    text = capsys.readouterr().out
    assert "p50" in text
    assert "energy     not known: not asked for" in text
    assert "quick: short windows" in text
    np.savez(tmp_path / "x.npz", **graph(30, 20))
    assert cli("predict", "--artifact", artifact, "--input", tmp_path / "x.npz") == 0
    text = capsys.readouterr().out
    assert text.startswith("row 0: class ")
    assert "... 30 rows" in text
    assert cli("predict", "--artifact", artifact, "--input", tmp_path / "x.npz", "--json") == 0
    assert np.shape(json.loads(capsys.readouterr().out)["logits"]) == (30, CLASSES)


def failing(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str]:
    code = cli(*arguments)
    error = capsys.readouterr().err
    assert error.startswith("edgegnn: error: ")
    assert error.count("\n") == 1
    return code, error


def test_artifact_that_does_not_hold_ends_with_1(artifact: Path, capsys: pytest.CaptureFixture[str]) -> None:
    change_samples(artifact, lambda a: a.update({"0000.expected": a["0000.expected"] + 1}))
    code, error = failing(capsys, "verify", "--artifact", artifact)
    assert code == 1
    assert "sample 0 (first): row" in error
    code, error = failing(capsys, "bench", "--artifact", artifact, "--energy", "none", *QUICK)
    assert code == 1
    assert "doesn't hold on this machine" in error
    manifest = json.loads((artifact / "manifest.json").read_text())
    seal(artifact, {**manifest, "format": "edgegnn-artifact/9"})
    code, error = failing(capsys, "verify", "--artifact", artifact)
    assert code == 1
    assert '"edgegnn-artifact/9"' in error


def test_wrong_usage_ends_with_2(artifact: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (
        [],
        ["explode"],
        ["predict", "--artifact", artifact],
        ["bench", "--artifact", artifact, "--energy", "nuclear"],
        ["bench", "--artifact", artifact, "--energy", "host"],
        ["bench", "--artifact", artifact, "--runs", "0"],
        ["bench", "--artifact", artifact, "--seconds", "nan"],
        ["verify", "--artifact", artifact, "--threads", "-1"],
    ):
        assert failing(capsys, *arguments)[0] == 2, arguments


def test_bad_input_and_output_files(artifact: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    predict = ["predict", "--artifact", artifact, "--input"]
    x, y = tmp_path / "x.npz", tmp_path / "y.npz"
    assert "there is no file" in failing(capsys, *predict, x)[1]
    x.write_bytes(b"no zip")
    assert "no .npz file" in failing(capsys, *predict, x)[1]
    np.savez(x, x=np.array([{"a": 1}]), edge_index=np.zeros((2, 0)))
    assert "numbers or booleans are needed" in failing(capsys, *predict, x)[1]
    np.savez(x, **graph(5, 3))
    content = x.read_bytes()
    for length in range(0, len(content), 50):
        (tmp_path / "cut.npz").write_bytes(content[:length])
        assert failing(capsys, *predict, tmp_path / "cut.npz")[0] == 1
    with zipfile.ZipFile(tmp_path / "odd.npz", "w") as archive:
        archive.writestr("readme.txt", "hello")
    assert "which is no array" in failing(capsys, *predict, tmp_path / "odd.npz")[1]
    y.write_bytes(b"precious")
    code, error = failing(capsys, *predict, x, "--output", y)
    assert code == 2
    assert "--force" in error
    assert y.read_bytes() == b"precious"
    assert cli(*predict, x, "--output", y, "--force") == 0
    capsys.readouterr()
    assert failing(capsys, *predict, x, "--output", tmp_path / "no" / "folder" / "y.npz")[0] == 1
    assert [p.name for p in tmp_path.glob(".y.npz*")] == []


def test_unexpected_errors_are_one_line_and_a_traceback_with_debug(
    artifact: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def explode(*_: object, **__: object) -> None:
        raise ZeroDivisionError("oh\nno")

    monkeypatch.setattr("edgegnn.runtime.cli.verify", explode)
    assert "unexpected ZeroDivisionError: oh (run again with --debug)" in failing(capsys, "verify")[1]
    with pytest.raises(ZeroDivisionError):
        cli("verify", "--debug")

    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("edgegnn.runtime.cli.verify", interrupt)
    assert failing(capsys, "verify") == (130, "edgegnn: error: interrupted\n")


def test_reader_of_the_output_goes_away(artifact: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, str(artifact / "run.pyz"), "verify"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait(60) == 1


def test_predict_a_shipped_graph(artifact: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["predict", "--artifact", str(artifact), "--json"]
    assert main([*arguments, "--sample", "1"]) == 0
    with np.load(artifact / "samples.npz") as shipped:
        expected = shipped["0001.expected"]
    np.testing.assert_allclose(json.loads(capsys.readouterr().out)["logits"], expected, atol=1e-5)
    assert main([*arguments, "--sample", "4"]) == 2
    assert "the artifact ships 4 graphs: --sample must be 0 to 3" in capsys.readouterr().err
    assert main([*arguments, "--sample", "0", "--input", "x.npz"]) == 2
    assert main(arguments) == 2
