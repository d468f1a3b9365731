"""Names that are too long, or that no file or folder can have: one line, before anything is trained or sent."""

import json
import zipfile

import pytest
import torch
from command_line import files, run
from tiny_artifact import make_artifact, seal

from edgegnn.devices.ship import ship
from edgegnn.errors import UsageError
from edgegnn.exporting.early_checks import check_output
from edgegnn.runtime import open_artifact
from edgegnn.utils.files import replacing

LONG = "x" * 300


@pytest.mark.parametrize(
    "args",
    [
        ["train", "gcn", "digits-knn", "-o", LONG + ".pt"],
        ["train", "gcn", "digits-knn", "-o", f"{LONG}/m.pt"],
        ["inspect", LONG],
        ["verify", LONG],
        ["export", LONG],
        ["export", "m.pt", "-o", LONG],
        ["report", LONG],
    ],
)
def test_a_name_that_is_too_long(args, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({}, "m.pt")
    code, out, err = run(capsys, monkeypatch, *args)
    assert code in (1, 2)
    assert (out, err.count("\n")) == ("", 1)
    assert "a bug" not in err
    assert len(err) < 400
    assert files(tmp_path) == ["m.pt"]


def test_a_name_as_long_as_it_can_be(tmp_path):
    path = tmp_path / ("x" * 250)
    for _ in range(2):
        with replacing(path, force=True, error=UsageError) as temporary:
            temporary.write_text("a")
    with pytest.raises(UsageError, match="no artifact can have the name"):
        check_output(path, force=True)


@pytest.mark.parametrize("name", [".hidden", "a:b", "what?", "é" * 150])
def test_a_name_that_no_artifact_can_have_is_refused_before_training(tmp_path, name):
    for path in (tmp_path / name, tmp_path / f"{name}.zip"):
        with pytest.raises(UsageError, match="no artifact can have the name"):
            check_output(path, force=False)


def test_an_artifact_that_can_be_opened_and_not_shipped(tmp_path):
    folder = make_artifact(tmp_path / "tiny")
    seal(folder, json.loads((folder / "manifest.json").read_text()), name="mein Modell ü")
    assert open_artifact(folder).manifest.name == "mein Modell ü"
    with pytest.raises(UsageError, match="export it under another name"):
        ship(folder, "rpi")


@pytest.mark.parametrize("damage", [lambda c: c[:-30], lambda c: b"PK\x03\x04" + c[40:], lambda c: c[:60] + b"x" * 900])
@pytest.mark.parametrize("name", ["a.zip", "a.pt", "a"])
def test_inspect_of_a_damaged_zip(damage, name, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with zipfile.ZipFile(name, "w") as archive:
        archive.writestr("manifest.json", "{}")
        archive.writestr("model.onnx", bytes(1000))
    path = tmp_path / name
    path.write_bytes(damage(path.read_bytes()))
    code, out, err = run(capsys, monkeypatch, "inspect", name)
    assert (code, out, err.count("\n"), "a bug" in err) == (1, "", 1, False)


@pytest.mark.parametrize(
    "change", [{"parity": {"graphs": "many"}}, {"metric": []}, {"task": 3}, {"versions": None}, {"history": [1]}]
)
def test_inspect_of_an_odd_manifest(change, tmp_path, capsys, monkeypatch):
    folder = make_artifact(tmp_path / "tiny")
    manifest = json.loads((folder / "manifest.json").read_text())
    seal(folder, {**manifest, **{k: {**manifest[k], **v} if k == "parity" else v for k, v in change.items()}})
    code, out, err = run(capsys, monkeypatch, "inspect", folder)
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert "manifest.json can't be shown, it is damaged or of another edgegnn: " in err
