"""The commands as a user types them: what they print, where they end, what they leave behind."""

import dataclasses
import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch_geometric.data import Data

from edgegnn import cli
from edgegnn.runtime import find_library, library_name

MODULE = """
import torch
from torch_geometric.nn import GATv2Conv, SAGEConv

class Mine(torch.nn.Module):
    "Two kinds of layers, a skip connection and a norm: nothing of the zoo."
    def __init__(self, i, o):
        super().__init__()
        self.inside = torch.nn.Linear(i, 12)
        self.one, self.two = SAGEConv(12, 12, aggr="mean"), GATv2Conv(12, 6, heads=2)
        self.norm, self.out = torch.nn.LayerNorm(12), torch.nn.Linear(12, o)
    def forward(self, x, edge_index):
        x = self.inside(x).relu()
        x = self.norm(x + self.one(x, edge_index).relu())
        return self.out(torch.nn.functional.elu(self.two(x, edge_index)))

class Odd(torch.nn.Module):
    def __init__(self, i, o):
        super().__init__()
        self.first = SAGEConv(i, 8)
        self.eigen = Eigen()
        self.out = torch.nn.Linear(8, o)
    def forward(self, x, edge_index):
        return self.out(self.eigen(self.first(x, edge_index)))

class Eigen(torch.nn.Module):
    def forward(self, x):
        return x @ torch.linalg.eigh(x.t() @ x + torch.eye(8)).eigenvectors

def build(in_channels, out_channels): return Mine(in_channels, out_channels)
def odd(in_channels, out_channels): return Odd(in_channels, out_channels)
"""


def run(capsys, monkeypatch, *args):
    """Exit code, stdout and stderr of `edgegnn ARGS`."""
    monkeypatch.setattr(sys, "argv", ["edgegnn", *map(str, args)])
    with pytest.raises(SystemExit) as exit_:
        cli.main()
    out, err = capsys.readouterr()
    return exit_.value.code, out, err


def community_graph(seed=0, n=90):
    """Three communities with noisy features: learnable in a few epochs."""
    g = torch.Generator().manual_seed(seed)
    y = torch.arange(n) % 3
    x = torch.nn.functional.one_hot(y, 3).float().repeat(1, 3) + 0.5 * torch.randn(n, 9, generator=g)
    source = torch.randint(n, (5 * n,), generator=g)
    target = (source + 3 * torch.randint(1, n // 3, (5 * n,), generator=g)) % n
    masks = {f"{s}_mask": torch.arange(n) % 5 == i for i, s in enumerate(("test", "val"))}
    masks["train_mask"] = ~(masks["test_mask"] | masks["val_mask"])
    return Data(x=x, edge_index=torch.stack([source, target]), y=y, **masks)


@pytest.fixture(scope="session")
def shop(tmp_path_factory):
    """A folder with data, a trained model, an artifact and a user's module; tests copy it."""
    folder = tmp_path_factory.mktemp("shop")
    torch.save(community_graph(), folder / "data.pt")
    (folder / "mymodels.py").write_text(MODULE)
    here = Path.cwd()
    os.chdir(folder)
    try:
        from edgegnn import api

        api.train(
            "gcn", "data.pt", output="model.pt", architecture={"hidden": 8, "dropout": 0.2}, settings={"epochs": 20}
        )
        api.export("model.pt", quant="dq-int8", settings={"epochs": 3})
    finally:
        os.chdir(here)
    return folder


@pytest.fixture
def work(shop, tmp_path, monkeypatch):
    folder = tmp_path / "work"
    shutil.copytree(shop, folder)
    monkeypatch.chdir(folder)
    yield folder
    sys.modules.pop("mymodels", None)


def files(folder):
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if "__pycache__" not in p.parts)


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


SLOW = [pytest.param(r, marks=pytest.mark.slow) for r in ("none", "dynamic-int8", "qat-int8", "qat-int4", "dq-int4")]


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
    from edgegnn.train import FitConfig

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


# Bad input: one clear line, the exit code, nothing left behind -------------------------------------------------------


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
    "bare state_dict": (["export", "weights.pt", "--data", "data.pt"], 1, "--factory"),
    "does not fit": (["export", "weights.pt", "--factory", "mymodels:odd", "--data", "data.pt"], 1, "does not fit"),
    "factory arguments": (
        ["export", "weights.pt", "--factory", "mymodels:build", "--factory-args", "3"],
        2,
        "JSON object",
    ),
    "other data": (["export", "model.pt", "--data", "digits-knn", "-o", "n"], 1, "digits-knn"),
    "can't be written": (["export", "model.pt", "-o", "model.pt/inside"], 1, "can't write"),
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
        (artifact / "manifest.json").write_text(json.dumps(manifest))
    for command in ("verify", "profile", "inspect"):
        code, _, err = run(capsys, monkeypatch, command, "model-dq-int8")
        assert code == 1
        assert err.count("\n") == 1, err
    assert not Path("profiles").exists()


@pytest.mark.slow
@pytest.mark.parametrize(("error", "code"), [(KeyboardInterrupt(), 130), (OSError(28, "No space left on device"), 1)])
def test_cut_short(error, code, work, capsys, monkeypatch):
    """Ctrl-C and a full disk in the middle of an export: no half artifact, and an old one stays as it was."""
    from edgegnn.export import artifact

    def stop(_):
        raise error

    before, old = files(work), Path("model-dq-int8/manifest.json").read_bytes()
    monkeypatch.setattr(artifact, "build_runner", stop)
    for options in (["-o", "n.zip"], ["--quant", "dq-int8", "--epochs", "1", "--force"]):
        got, _, err = run(capsys, monkeypatch, "export", "model.pt", *options)
        assert got == code
        assert ("interrupted" if code == 130 else "No space left") in err
    assert files(work) == before
    assert Path("model-dq-int8/manifest.json").read_bytes() == old


@pytest.mark.slow
def test_artifact_that_computes_something_else_fails(work, capsys, monkeypatch):
    """A wrong weight in the file is found by export's own comparison."""
    from edgegnn.export import flow

    original = flow.capture

    def wrong(*args, **kwargs):
        model = original(*args, **kwargs)
        for tensor in model.graph.initializer:
            if len(tensor.dims) == 2:
                values = np.frombuffer(tensor.raw_data, np.float32) * -1
                tensor.raw_data = values.tobytes()
        return model

    before = files(work)
    monkeypatch.setattr(flow, "capture", wrong)
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


def test_import_and_help_are_lean():
    heavy = ("torch", "numpy", "onnx", "onnxruntime", "sklearn")
    code = f"import sys, edgegnn, edgegnn.cli; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"


def test_public_names():
    import edgegnn

    assert edgegnn.__all__ == sorted(edgegnn.__all__)
    assert all(callable(getattr(edgegnn, name)) for name in edgegnn.__all__ if name[0] != "_")
    with pytest.raises(AttributeError):
        _ = edgegnn.nothing


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
