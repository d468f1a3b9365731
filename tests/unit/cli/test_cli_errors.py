"""Bad input: one clear line, the exit code, nothing left behind."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from command_line import community_graph, files, run

from edgegnn.runtime.manifest import seal_manifest


def bad_data(**changes):
    graph = community_graph()
    for key, value in changes.items():
        if value is None:
            del graph[key]
        else:
            graph[key] = value
    torch.save(graph, "data.pt")


def nan_features():
    x = community_graph().x
    x[3, 2] = float("nan")
    return x


CASES = {
    "unknown model": (["train", "gcm", "data.pt", "-o", "n.pt"], 2, "did you mean gcn"),
    "unknown data": (["train", "gcn", "coraa", "-o", "n.pt"], 2, "cora"),
    "no data": (["train", "gcn"], 2, "name one data set"),
    "unknown recipe": (["export", "model.pt", "--quant", "dq-int9"], 2, "did you mean dq-int8"),
    "unknown option": (["export", "model.pt", "--quantize", "dq-int8"], 2, "--quant"),
    "unknown command": (["exprot"], 2, "exprot"),
    "unknown target": (["profile", "model-dq-int8", "--target", "toaster"], 2, "toaster"),
    "missing model": (["export", "nope.pt"], 1, "no such file"),
    "not an artifact": (["verify", "data.pt"], 1, "data.pt"),
    "no artifact": (["verify", "nope"], 1, "nope"),
    "exists": (["export", "model.pt", "--quant", "dq-int8"], 2, "--force"),
    "model exists": (["train", "gcn", "data.pt"], 2, "--force"),
    "folder in the way": (["export", "model.pt", "-o", "work", "--force"], 2, "not an artifact"),
    "post-training recipe": (["train", "gcn", "data.pt", "-o", "n.pt", "--quant", "static-int8"], 2, "after training"),
    "factory": (["export", "weights.pt", "--factory", "nowhere:build", "--data", "data.pt"], 1, "nowhere"),
    "factory of a file": (["export", "weights.pt", "--factory", "a/mymodels.py:build"], 2, "write mymodels:build"),
    "bare state_dict": (["export", "weights.pt", "--data", "data.pt"], 1, "--factory"),
    "does not fit": (["export", "weights.pt", "--factory", "mymodels:odd", "--data", "data.pt"], 1, "does not fit"),
    "factory arguments": (
        ["export", "weights.pt", "--factory", "mymodels:build", "--factory-args", "3"],
        2,
        "JSON object",
    ),
    "other data": (["export", "model.pt", "--data", "digits-knn", "-o", "n"], 1, "digits-knn"),
    "can't be written": (
        ["export", "model.pt", "-o", "model.pt/inside"],
        2,
        "model.pt is a file: choose another",
    ),
    "epochs": (["export", "model.pt", "--epochs", "0"], 2, "epochs"),
}


@pytest.mark.parametrize("case", CASES)
def test_bad_requests(case, work, capsys, monkeypatch):
    args, code, message = CASES[case]
    torch.save({"a": torch.zeros(2)}, "weights.pt")
    (work / "work").mkdir()
    before = files(work)
    got, _, err = run(capsys, monkeypatch, *args)
    assert (got, message in err) == (code, True), err
    assert err.count("\n") == 1
    assert err.startswith("edgegnn: ")
    assert "Traceback" not in err
    assert files(work) == before


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"y": None}, "label"),
        ({"x": nan_features}, "NaN"),
        ({"edge_index": torch.tensor([[0, 1], [1, 90]])}, "names node 90"),
        ({"edge_index": torch.tensor([[0, 1], [1, -1]])}, "names node -1"),
        ({"edge_index": torch.zeros(3, 4, dtype=torch.int64)}, r"\[2, E\]"),
        ({"edge_index": torch.zeros(2, 0, dtype=torch.int64)}, "edge"),
        ({"test_mask": torch.zeros(90, dtype=torch.bool)}, "test"),
    ],
)
def test_bad_data(changes, message, work, capsys, monkeypatch):
    import re

    bad_data(**{k: v() if callable(v) else v for k, v in changes.items()})
    before = files(work)
    for args in (["train", "gcn", "data.pt", "-o", "n.pt"], ["export", "model.pt", "--quant", "none"]):
        code, _, err = run(capsys, monkeypatch, *args)
        assert code == 1
        assert re.search(message, err), err
        assert err.count("\n") == 1
    assert files(work) == before


def test_a_layer_that_can_not_be_exported_is_named(work, capsys, monkeypatch):
    sys.path.insert(0, str(work))
    try:
        import mymodels

        torch.save(mymodels.odd(9, 3).state_dict(), "odd.pt")
    finally:
        sys.path.remove(str(work))
    before = files(work)
    odd = ("odd.pt", "--factory", "mymodels:odd", "--data", "data.pt", "--format", "onnx")
    code, _, err = run(capsys, monkeypatch, "export", *odd)
    assert code == 1
    assert "eigen (Eigen)" in err
    assert err.count("\n") == 1
    assert files(work) == before


@pytest.mark.parametrize("what", ["changed", "missing", "extra", "escaping"])
def test_damaged_artifacts(what, work, capsys, monkeypatch):
    artifact = Path("model-dq-int8")
    if what == "changed":
        content = bytearray((artifact / "model.onnx").read_bytes())
        content[len(content) // 2] ^= 1
        (artifact / "model.onnx").write_bytes(content)
    elif what == "missing":
        (artifact / "samples.npz").unlink()
    elif what == "extra":
        (artifact / "libevil.so").write_bytes(b"\x7fELF")
    else:
        manifest = json.loads((artifact / "manifest.json").read_text())
        manifest["files"]["../model.pt"] = manifest["files"]["model.onnx"]
        (artifact / "manifest.json").write_text(json.dumps(seal_manifest(manifest)))
    for command in ("verify", "profile", "inspect"):
        code, _, err = run(capsys, monkeypatch, command, "model-dq-int8")
        assert code == 1
        assert err.count("\n") == 1, err
    assert not Path("profiles").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("error", "code", "options"),
    [
        (KeyboardInterrupt(), 130, ["--quant", "dq-int8", "--epochs", "1", "--force"]),
        (OSError(28, "No space left on device"), 1, ["-o", "n.zip"]),
    ],
)
def test_cut_short(error, code, options, work, capsys, monkeypatch):
    """Ctrl-C and a full disk in the middle of an export: no half artifact, and an old one stays as it was."""
    from edgegnn.exporting import artifact

    def stop(_):
        raise error

    before, old = files(work), Path("model-dq-int8/manifest.json").read_bytes()
    monkeypatch.setattr(artifact, "build_runner", stop)
    got, _, err = run(capsys, monkeypatch, "export", "model.pt", *options)
    assert got == code
    assert ("interrupted" if code == 130 else "No space left") in err
    assert files(work) == before
    assert Path("model-dq-int8/manifest.json").read_bytes() == old


@pytest.mark.slow
def test_artifact_that_computes_something_else_fails(work, capsys, monkeypatch):
    """A wrong weight in the file is found by export's own comparison."""
    from edgegnn.exporting import onnx_format

    original = onnx_format.capture

    def wrong(*args, **kwargs):
        model = original(*args, **kwargs)
        for tensor in model.graph.initializer:
            if len(tensor.dims) == 2:
                values = np.frombuffer(tensor.raw_data, np.float32) * -1
                tensor.raw_data = values.tobytes()
        return model

    before = files(work)
    monkeypatch.setattr(onnx_format, "capture", wrong)
    code, _, err = run(capsys, monkeypatch, "export", "model.pt", "-o", "n")
    assert code == 1
    assert "differently from PyTorch" in err
    assert "row" in err
    assert files(work) == before


@pytest.mark.slow
def test_quantized_model_keeps_its_recipe(work, capsys, monkeypatch):
    run(
        capsys,
        monkeypatch,
        "train",
        "gcn",
        "data.pt",
        "--quant",
        "qat-int8",
        "--epochs",
        3,
        "--hidden",
        4,
        "-o",
        "q.pt",
    )
    code, out, err = run(capsys, monkeypatch, "export", "q.pt")
    assert code == 0, err
    assert "wrote q-qat-int8" in out
    code, _, err = run(capsys, monkeypatch, "export", "q.pt", "--quant", "dq-int8")
    assert code == 1
    assert "trained with qat-int8" in err


def test_debug_shows_the_traceback(work, capsys, monkeypatch):
    monkeypatch.setenv("EDGEGNN_DEBUG", "")
    code, _, err = run(capsys, monkeypatch, "--debug", "export", "nope.pt")
    assert code == 1
    assert "Traceback" in err
