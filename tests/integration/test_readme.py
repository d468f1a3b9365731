"""What the README promises: its blocks run, its figures hold. `test_docs.py` has what every page has to keep."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from document_blocks import ROOT, blocks

from edgegnn.cli import start
from edgegnn.native import library

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

README = ROOT / "README.md"


def test_it_is_short() -> None:
    assert len(README.read_text(encoding="utf-8").splitlines()) <= 150


def test_no_link_breaks_on_a_package_index() -> None:
    """The build writes the README with these substitutions into the package's metadata."""
    with (ROOT / "pyproject.toml").open("rb") as file:
        hook = tomllib.load(file)["tool"]["hatch"]["metadata"]["hooks"]["fancy-pypi-readme"]
    text = README.read_text(encoding="utf-8")
    for one in hook["substitutions"]:
        text = re.sub(one["pattern"], one["replacement"], text)
    assert "(`docs/results.md`)" in text
    assert re.findall(r"\]\((?!https?:)[^)]*\)", text) == []


def test_links_lead_to_files() -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]*)", README.read_text(encoding="utf-8"))
    assert len(links) > 10
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_calling_an_artifact(work: Path) -> None:
    code = next(block.code for block in blocks(README) if block.how == "run")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=work, check=False)
    assert done.returncode == 0, done.stderr
    kernels, _, shape = done.stdout.strip().partition(" ")
    assert kernels == ("onnxruntime" if library() is None else "edgegnn")
    assert shape.startswith("(")


@pytest.mark.slow
def test_readme_flow_on_cora(
    data_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """train → export → verify → profile with the README's figures: size, accuracy, equal predictions."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EDGEGNN_DATA", str(data_root))
    # Fewer epochs than by default: the sizes and accuracies are reached with less.
    for line in (
        "train gcn cora --epochs 60 -o model.pt",
        "export --quant dq-int8 --epochs 20 model.pt",
        "export --quant dq-int4 --epochs 20 model.pt",
    ):
        monkeypatch.setattr("sys.argv", ["edgegnn", *line.split()])
        with pytest.raises(SystemExit) as done:
            start.main()
        assert done.value.code == 0, capsys.readouterr().err
    for recipe, ratio, accuracy in (("dq-int8", 0.27, 0.80), ("dq-int4", 0.15, 0.77)):
        manifest = json.loads(Path(f"model-{recipe}/manifest.json").read_text())
        assert manifest["sizes"]["model_file"] <= ratio * manifest["sizes"]["fp32_model_file"]
        assert manifest["parity"]["agreement"] >= 0.999
        assert manifest["metric"]["artifact"] >= accuracy
