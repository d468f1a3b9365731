"""The commands as a user types them: what they print, where they end, what they leave behind."""

import dataclasses
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from command_line import community_graph, run

from edgegnn.runtime import find_library, library_name


def test_train_export_verify_inspect(work, capsys, monkeypatch):
    code, out, err = run(
        capsys, monkeypatch, "train", "gat", "data.pt", "--hidden", 4, "--epochs", 5, "-o", "gat.pt", "--json"
    )
    assert code == 0, err
    trained = json.loads(out)
    assert trained["recipe"] == "none"
    assert trained["metrics"].keys() == {"val", "test"}
    code, out, err = run(capsys, monkeypatch, "export", "--quant", "dq-int8", "gat.pt", "--epochs", 2)
    assert code == 0, err
    assert "equal predictions" in out
    assert "wrote gat-dq-int8" in out
    manifest = json.loads(Path("gat-dq-int8/manifest.json").read_text())
    assert manifest["format"] == "edgegnn-artifact/1"
    assert manifest["parity"]["agreement"] >= 0.999
    assert manifest["parity"]["graphs"] >= 4
    assert [i["name"] for i in manifest["inputs"]] == ["x", "edge_index"]
    assert manifest["inputs"][0]["shape"] == ["num_nodes", 9]
    kernels = {f"native/{library_name()}"} if find_library() else set()
    assert set(manifest["files"]) == {"model.onnx", "run.pyz", "samples.npz"} | kernels
    code, out, _ = run(capsys, monkeypatch, "verify", "gat-dq-int8", "--json")
    assert code == 0
    assert json.loads(out)["ok"] is True
    code, out, _ = run(capsys, monkeypatch, "inspect", "gat-dq-int8", "--json")
    assert json.loads(out)["recipe"] == "dq-int8"
    code, out, _ = run(capsys, monkeypatch, "inspect", "gat.pt")
    assert code == 0
    assert "parameters" in out


SLOW = [pytest.param(r, marks=pytest.mark.slow) for r in ("none", "dq-int4")]
SLOW += [pytest.param(r, marks=[pytest.mark.slow, pytest.mark.every]) for r in ("dynamic-int8", "qat-int8", "qat-int4")]


@pytest.mark.parametrize("recipe", ["static-int8", *SLOW])
def test_every_recipe(recipe, work, capsys, monkeypatch):
    options = ["--epochs", 2] if recipe[:2] in {"qa", "dq"} else []
    code, out, err = run(
        capsys,
        monkeypatch,
        "export",
        "model.pt",
        "--quant",
        recipe,
        "-o",
        "a",
        "--min-agreement",
        0.5,
        "--json",
        *options,
    )
    assert code == 0, err
    manifest = json.loads(out)
    assert manifest["recipe"] == recipe
    assert run(capsys, monkeypatch, "verify", "a")[0] == 0
    model = onnx.load("a/model.onnx")
    weights = {t.name: t.data_type for t in model.graph.initializer if len(t.dims) == 2}
    unpacked = [node.op_type for node in model.graph.node if node.domain == "edgegnn.weights"]
    if recipe.endswith("int4"):  # two codes in a byte
        assert "FromNibbles" in unpacked
    else:
        assert (1 if recipe == "none" else 3) in weights.values(), weights


@pytest.mark.slow
def test_the_file_holds_the_learned_scales(work):
    """int8 weights, and the ranges that were trained: no calibration afterwards."""
    import onnx

    from edgegnn import api
    from edgegnn.checkpoint import load_checkpoint
    from edgegnn.quantize import finetune, recipe
    from edgegnn.tasks import restore_task
    from edgegnn.training import FitConfig

    checkpoint = load_checkpoint(Path("model.pt"))
    task = restore_task(checkpoint.task)
    module, _ = finetune(checkpoint.model, task, recipe("dq-int8"), FitConfig(epochs=2))
    trained = dataclasses.replace(checkpoint, model=module)
    manifest = api.export(trained, output="fresh").manifest
    assert manifest["quantized_points"] == len(list(module._all_points())) == 6
    model = onnx.load("fresh/model.onnx")
    weights = [i for i in model.graph.initializer if i.data_type == onnx.TensorProto.INT8 and len(i.dims) == 2]
    assert {i.name for i in weights} == {"convs.0.lin.weight", "convs.1.lin.weight"}
    scales = {a.f for node in model.graph.node for a in node.attribute if a.name == "x_scale"}
    learned = {float(p.scale) for p in module._all_points() if p.observer != "weight"}
    assert scales == learned


def test_explain(work, capsys, monkeypatch):
    code, out, _ = run(capsys, monkeypatch, "inspect", "--explain", "model-dq-int8")
    assert code == 0
    assert out.count("IntegerSum") == 2
    code, out, _ = run(capsys, monkeypatch, "inspect", "--explain", "model.pt")
    assert code == 0
    assert "explain the artifact" in out
    found = json.loads(run(capsys, monkeypatch, "inspect", "model-dq-int8", "--json")[1])["aggregations"]
    assert [a["rule"] for a in found if "sum" in a["aggregation"]] == ["IntegerSum", "IntegerSum"]


@pytest.mark.slow
def test_constant_graph(work, capsys, monkeypatch):
    """The edges are in the file: the model takes x alone, and computes the same."""
    options = ["--quant", "none", "--constant-graph", "-o", "fixed"]
    code, _, err = run(capsys, monkeypatch, "export", "model.pt", *options)
    assert code == 0, err
    manifest = json.loads(Path("fixed/manifest.json").read_text())
    assert [i["name"] for i in manifest["inputs"]] == ["x"]
    assert manifest["constant_graph"] is True
    assert run(capsys, monkeypatch, "verify", "fixed")[0] == 0
    assert run(capsys, monkeypatch, "profile", "fixed", "--quick", "--json")[0] == 0


def test_constant_graph_is_for_one_graph(work, capsys, monkeypatch):
    assert run(capsys, monkeypatch, "train", "gin", "digits", "--epochs", 1, "--hidden", 4, "-o", "gin.pt")[0] == 0
    code, _, err = run(capsys, monkeypatch, "export", "gin.pt", "--constant-graph")
    assert code == 2
    assert "--constant-graph is for node tasks" in err
    assert not Path("gin-fp32").exists()


@pytest.mark.slow
def test_bring_your_own_model(work, capsys, monkeypatch):
    sys.path.insert(0, str(work))
    try:
        import mymodels

        torch.manual_seed(0)
        torch.save(mymodels.build(9, 3).state_dict(), "weights.pt")
    finally:
        sys.path.remove(str(work))
    options = ["--factory", "mymodels:build", "--data", "data.pt", "--quant", "dq-int8", "--epochs", 12, "--lr", 0.01]
    code, _, err = run(capsys, monkeypatch, "export", "weights.pt", *options)
    assert code == 0, err
    assert run(capsys, monkeypatch, "verify", "weights-dq-int8")[0] == 0
    manifest = json.loads(Path("weights-dq-int8/manifest.json").read_text())
    assert manifest["metric"]["artifact"] > 0.8


@pytest.mark.slow
def test_program(work, capsys, monkeypatch):
    from edgegnn import api

    model = api.load("model.pt").model
    graph = community_graph()
    sizes = {"x": {0: torch.export.Dim("n")}, "edge_index": {1: torch.export.Dim("e")}}
    torch.export.save(torch.export.export(model, (graph.x, graph.edge_index), dynamic_shapes=sizes), "program.pt2")
    code, _, err = run(capsys, monkeypatch, "export", "program.pt2", "--data", "data.pt", "--quant", "static-int8")
    assert code == 0, err
    assert run(capsys, monkeypatch, "verify", "program-static-int8")[0] == 0
    code, _, err = run(capsys, monkeypatch, "export", "program.pt2", "--data", "data.pt", "--quant", "dq-int8")
    assert code == 1
    assert "can't be trained" in err


@pytest.mark.slow
def test_profile(work, capsys, monkeypatch):
    code, out, err = run(capsys, monkeypatch, "profile", "--quick", "--json")
    assert code == 0, err
    record = json.loads(out)
    for key in (
        "target",
        "artifact",
        "latency_ms",
        "throughput_per_s",
        "memory_bytes",
        "cpu_percent",
        "energy_j",
        "metric",
    ):
        assert key in record
    assert record["artifact"] == "model-dq-int8"
    assert list(Path("profiles").rglob("model-dq-int8.json"))


def test_targets(capsys, monkeypatch):
    code, out, _ = run(capsys, monkeypatch, "targets", "--json")
    assert code == 0
    assert "x86" in [t["name"] for t in json.loads(out)]
    assert run(capsys, monkeypatch, "targets")[0] == 0


def test_runner_predicts_what_onnxruntime_predicts(work):
    graph = community_graph(seed=5, n=31)
    np.savez("x.npz", x=graph.x.numpy(), edge_index=graph.edge_index.numpy())
    command = [sys.executable, "model-dq-int8/run.pyz", "predict", "--input", "x.npz", "--output", "y.npz"]
    subprocess.run(command, check=True, capture_output=True)
    session = onnxruntime.InferenceSession("model-dq-int8/model.onnx")
    want = session.run(None, {"x": graph.x.numpy(), "edge_index": graph.edge_index.numpy()})[0]
    np.testing.assert_array_equal(np.load("y.npz")["logits"], want)


@pytest.mark.slow
def test_zip_artifact(work, capsys, monkeypatch):
    code, _, err = run(capsys, monkeypatch, "export", "model.pt", "-o", "model.zip")
    assert code == 0, err
    assert run(capsys, monkeypatch, "verify", "model.zip")[0] == 0
    assert not Path("model").exists()


def test_import_and_help_are_lean():
    heavy = ("torch", "numpy", "onnx", "onnxruntime", "sklearn")
    code = f"import sys, edgegnn, edgegnn.cli; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"


def test_run_pyz_needs_no_torch(work):
    """The runner, in an interpreter where importing torch or edgegnn's other parts would fail."""
    (work / "shadow").mkdir()
    for name in ("torch", "torch_geometric", "onnx", "typer", "rich"):
        (work / "shadow" / f"{name}.py").write_text("raise ImportError('not on a device')")
    env = {**os.environ, "PYTHONPATH": str(work / "shadow")}
    command = [sys.executable, "model-dq-int8/run.pyz", "verify", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, env=env)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["ok"] is True
    with zipfile.ZipFile("model-dq-int8/run.pyz") as archive:
        assert not any("api" in n or "quantize" in n for n in archive.namelist())
