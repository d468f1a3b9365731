"""The public functions as tools see them."""

from __future__ import annotations

import importlib.util
import inspect
import json
import subprocess
import sys
from pathlib import Path

import pytest

import edgegnn
from edgegnn.runtime import build_runner

FUNCTIONS = [
    "compress",
    "export",
    "import_model",
    "inspect",
    "load",
    "profile",
    "report",
    "ship",
    "study",
    "train",
    "tune",
    "verify",
]
PROGRAM = Path(__file__).parents[2] / "support" / "user_program.py"
ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_function_says_what_it_takes_and_gives(name: str) -> None:
    function = getattr(edgegnn, name)
    signature = inspect.signature(function)
    parameters = signature.parameters.values()
    assert all(p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD) for p in parameters)
    assert all(p.annotation is not p.empty for p in parameters)
    assert signature.return_annotation is not signature.empty
    assert "Raises:" in function.__doc__
    assert name in edgegnn.__all__


def test_everything_that_is_listed_is_there() -> None:
    for name in edgegnn.__all__:
        assert getattr(edgegnn, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = edgegnn.nothing


def test_what_a_device_lacks_is_said_in_one_line(tmp_path: Path) -> None:
    build_runner(tmp_path / "run.pyz")
    program = f"import sys; sys.path.insert(0, {str(tmp_path / 'run.pyz')!r}); import edgegnn; edgegnn.export"
    done = subprocess.run([sys.executable, "-I", "-S", "-c", program], capture_output=True, text=True, check=False)
    assert done.stderr.splitlines()[-1] == (
        "ImportError: edgegnn.export is not part of edgegnn-runtime, which only runs artifacts: pip install edgegnn"
    )


@pytest.mark.slow
def test_manifest_names_no_command_line_of_the_program(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["service", "--token", "s3cret"])
    made = edgegnn.export("model.pt", quant="none", output=work / "plain")
    assert "s3cret" not in json.dumps(made.manifest.to_dict())
    assert edgegnn.inspect(made.path)["made_by"] == "the Python API"


@pytest.mark.slow
def test_mypy_accepts_a_program(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "mypy",
        "--strict",  # with the cache of `mypy` here, which checks all that the program imports
        "--config-file",
        str(ROOT / "pyproject.toml"),
    ]
    done = subprocess.run([*command, str(PROGRAM)], capture_output=True, text=True, cwd=ROOT, check=False)
    assert (done.returncode, done.stdout.count("error")) == (0, 0), done.stdout


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("basedpyright") is None, reason="basedpyright is not installed")
def test_pyright_accepts_a_program_and_knows_its_types(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(PROGRAM.read_text(encoding="utf-8"), encoding="utf-8")
    (tmp_path / "wrong.py").write_text('import edgegnn\n\nedgegnn.export("model.pt", quantization="dq-int8")\n')
    settings = {"typeCheckingMode": "standard", "extraPaths": [str(ROOT)], "pythonVersion": "3.11"}
    (tmp_path / "pyrightconfig.json").write_text(json.dumps(settings))
    command = [sys.executable, "-m", "basedpyright", "--outputjson", "--pythonpath", sys.executable]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    found = json.loads(done.stdout)["generalDiagnostics"]
    assert [Path(entry["file"]).name for entry in found if entry["severity"] == "error"] == ["wrong.py"], found
    assert "quantization" in found[0]["message"]
