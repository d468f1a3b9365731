"""What the README shows, run as it stands there."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from edgegnn.cli import app, start
from edgegnn.native import library

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def test_every_command_and_option_in_the_readme_exists():
    import typer

    known = typer.main.get_command(app.app).commands
    lines = [line for block in blocks("bash") for line in block.splitlines()]
    used = [line.partition("#")[0].split("&&")[-1].strip() for line in lines]
    commands = [shlex.split(line)[1:] for line in used if line.startswith("edgegnn ")]
    assert len(commands) >= 8
    for words in commands:
        command = known[words[0]]
        if len(words) > 1 and words[1] in getattr(command, "commands", {}):
            command = command.commands[words[1]]
        options = {name for p in command.params for name in (*p.opts, *p.secondary_opts)}
        assert {w for w in words if w.startswith("-")} <= options, words


@pytest.mark.slow
def test_python_example(tmp_path, monkeypatch):
    from edgegnn import api

    monkeypatch.chdir(tmp_path)
    api.train("gcn", "digits-knn", output="model.pt", settings={"epochs": 12})
    torch.manual_seed(0)
    _, code = blocks("python")
    exec(compile(code, "README.md", "exec"), {})
    assert list(tmp_path.glob("profiles/*/artifact.json"))


def test_calling_an_artifact(work):
    code, _ = blocks("python")
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, cwd=work, check=False)
    assert done.returncode == 0, done.stderr
    kernels, _, shape = done.stdout.strip().partition(" ")
    assert kernels == ("onnxruntime" if library() is None else "edgegnn")
    assert shape.startswith("(")


def test_recipes_in_the_table_are_the_recipes():
    from edgegnn.quantize import RECIPES

    table = README.partition("## Which recipe")[2].partition("## ")[0]
    assert set(re.findall(r"`([a-z0-9][a-z0-9-]+)`", "".join(re.findall(r"^\| (`.*?) \|", table, flags=re.M)))) == set(
        RECIPES
    )


@pytest.mark.slow
def test_readme_flow_on_cora(data_root, tmp_path, monkeypatch, capsys):
    """train → export → verify → profile with the README's figures: size, accuracy, equal predictions."""
    import json

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EDGEGNN_DATA", str(data_root))
    for line in ("train gcn cora -o model.pt", "export --quant dq-int8 model.pt", "export --quant dq-int4 model.pt"):
        monkeypatch.setattr("sys.argv", ["edgegnn", *line.split()])
        with pytest.raises(SystemExit) as done:
            start.main()
        assert done.value.code == 0, capsys.readouterr().err
    for recipe, ratio, accuracy in (("dq-int8", 0.27, 0.80), ("dq-int4", 0.15, 0.77)):
        manifest = json.loads(Path(f"model-{recipe}/manifest.json").read_text())
        assert manifest["sizes"]["model_file"] <= ratio * manifest["sizes"]["fp32_model_file"]
        assert manifest["parity"]["agreement"] >= 0.999
        assert manifest["metric"]["artifact"] >= accuracy
