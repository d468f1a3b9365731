"""TorchScript artifacts: the runner without onnxruntime, the fallback of an export, bad files, a missing torch."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import sys
import warnings
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from command_line import community_graph, run
from profile_example import BLINK
from sweep import spread
from tiny_artifact import graph, make_artifact, reference, seal
from torchscript_example import FORWARD, scripted, tiny

from edgegnn import api
from edgegnn.errors import ArtifactError, UsageError
from edgegnn.profiling import profile
from edgegnn.profiling import render as table
from edgegnn.runtime import bench, make_session, open_artifact, predict, verify
from edgegnn.runtime.script import ScriptSession


@pytest.fixture(scope="module")
def pristine(tmp_path_factory):
    return tiny(tmp_path_factory.mktemp("script") / "tiny")


@pytest.fixture
def artifact(pristine, tmp_path):
    return Path(shutil.copytree(pristine, tmp_path / "tiny"))


@pytest.fixture
def both(tmp_path):
    """An artifact with both models; the manifest means onnxruntime."""
    folder = make_artifact(tmp_path / "both")
    (folder / "model.ts.pt").write_bytes(scripted())
    seal(folder)
    return folder


def test_verify_predict_and_no_warnings(artifact):
    inputs = graph(9, 20, seed=5)
    for value in inputs.values():
        value.flags.writeable = False
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        report = verify(artifact)
        np.testing.assert_allclose(predict(artifact, inputs), reference(inputs), atol=1e-5)
    assert report.ok, report.problems
    assert report.kernels == ("torchscript",)
    assert report.metric == report.expected_metric


@pytest.mark.slow
def test_bench_names_the_runtime(artifact):
    result = bench(artifact, plan=BLINK, threads=1, energy="none")
    assert result["runtime"] == "torchscript"
    assert (result["device"]["torch"], result["device"]["onnxruntime"]) == (torch.__version__, "")
    entry = open_artifact(artifact).manifest.files["model.ts.pt"]
    assert (result["model_sha256"], result["memory_bytes"]["model_file"]) == (entry.sha256, entry.bytes)
    assert result["native_kernels"] is False


@pytest.mark.slow
def test_either_model_of_an_artifact_that_has_both(both, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert verify(both).kernels == ("onnxruntime",)
    assert api.verify(both, runtime="torchscript").kernels == ("torchscript",)
    archive = shutil.make_archive(str(tmp_path / "zipped"), "zip", both)
    opened = open_artifact(archive, runtime="torchscript")
    assert isinstance(make_session(opened), ScriptSession)
    own, other = (profile(both, quick=True, plan=BLINK, threads=1, runtime=r) for r in (None, "torchscript"))
    assert (own.runtime, own.device.torch) == ("onnxruntime", "")
    assert (other.runtime, other.device.torch) == ("torchscript", torch.__version__)
    records = sorted(path.name for path in Path("profiles").rglob("*.json"))
    assert records == ["both-torchscript.json", "both.json"]
    assert table([own, other]).row_count > 5


def test_runtime_that_is_not_there(artifact, both):
    with pytest.raises(ArtifactError, match=r"has no model.onnx"):
        open_artifact(artifact, runtime="onnxruntime")
    with pytest.raises(UsageError, match="unknown runtime 'tflite': choose one of onnxruntime, torchscript"):
        open_artifact(both, runtime="tflite")


def runner(folder, *arguments, without=()):
    """Run `run.pyz` where some packages are not installed."""
    program = str(folder / "run.pyz")
    missing = dict.fromkeys(without)
    code = f"import runpy, sys; sys.modules.update({missing!r}); sys.argv = {[program, *arguments]!r}; "
    code += f"runpy.run_path({program!r}, run_name='__main__')"
    return subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, cwd=folder.parent)


@pytest.mark.slow
def test_runner_without_onnxruntime(artifact):
    others = ["onnxruntime", "torch_geometric", "onnx"]
    done = runner(artifact, "verify", "--json", without=others)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["ok"] is True
    assert done.stderr == ""
    np.savez(artifact.parent / "g.npz", **graph(5, 9))
    done = runner(artifact, "predict", "--input", "g.npz", "--json", without=others)
    np.testing.assert_allclose(json.loads(done.stdout)["logits"], reference(graph(5, 9)), atol=1e-5)
    done = runner(artifact, "bench", "--quick", "--seconds", "0.1", "--energy", "none", without=others)
    assert f"torch {torch.__version__}" in done.stdout


def test_runner_without_torch(artifact, both):
    done = runner(artifact, "verify", without=["torch"])
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "the model is TorchScript, which needs torch: python -m pip install torch" in done.stderr
    done = runner(both, "verify", without=["torch"])  # nothing of torch is needed for the other model
    assert done.returncode == 0, done.stderr
    done = runner(both, "verify", "--runtime", "torchscript", without=["torch"])
    assert "needs torch" in done.stderr


@pytest.mark.parametrize("command", ["verify", "profile", "inspect"])
def test_damaged_model(command, artifact, capsys, monkeypatch):
    content = bytearray((artifact / "model.ts.pt").read_bytes())
    content[len(content) // 2] ^= 1
    (artifact / "model.ts.pt").write_bytes(content)
    code, _, err = run(capsys, monkeypatch, command, artifact)
    assert code == 1
    assert err == "edgegnn: model.ts.pt has been changed (its checksum differs): copy or export the artifact again\n"


WRITES = """
def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
    torch.save(x, "stolen.pt")
    return torch.mm(x, self.weight)
"""
MAPS = """
def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
    return torch.ops.aten.from_file("stolen.pt", True, 8)
"""


def opens():
    """A file whose code runs while it is opened."""

    class Opens(torch.nn.Module):
        @torch.jit.export
        def __getstate__(self):
            return self.training

        @torch.jit.export
        def __setstate__(self, state: bool):
            self.training = state

        def forward(self, x: torch.Tensor, edge_index: torch.Tensor):
            return x

    buffer = io.BytesIO()
    torch.jit.save(torch.jit.script(Opens()), buffer)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is no TorchScript file, or is damaged"),
        (b"PK\x03\x04 and nothing else", "is no TorchScript file, or is damaged"),
        (scripted()[:-400], "is no TorchScript file, or is damaged"),
        (scripted(WRITES), r"uses torch.save, which no model of edgegnn does: refused"),
        (scripted(MAPS), r"uses torch.from_file, which no model of edgegnn does: refused"),
        (opens(), r"uses __[gs]etstate__, which no model of edgegnn does: refused"),
        (scripted(FORWARD.replace("forward", "other")), "model.ts.pt: it has no method forward"),
        (scripted(FORWARD.replace("edge_index", "edges")), "takes x, edges, the manifest says x, edge_index"),
        (
            scripted(FORWARD.replace(" -> Tensor", "").replace("return h", "return (h, h) #")),
            "the model gives 2 outputs, the manifest says logits",
        ),
        (
            scripted(FORWARD.replace("return h", "return h[:1] #")),
            r"gives float32 \[1, 4\], not float logits with 20 rows",
        ),
        (scripted(FORWARD.replace("self.weight", "self.weight.t()")), "the model fails to run"),
    ],
)
def test_model_that_is_none(content, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = tiny(tmp_path / "bad", content)
    with pytest.raises(ArtifactError, match=message) as error:
        verify(folder)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "stolen.pt").exists()


def test_manifest(artifact):
    for runtime, message in (("tflite", "'tflite' is none of onnxruntime, torchscript"), (3, "has the wrong type")):
        seal(artifact, runtime=runtime)
        with pytest.raises(ArtifactError, match=message):
            open_artifact(artifact)
    seal(artifact, runtime="onnxruntime")
    with pytest.raises(ArtifactError, match=r"doesn't list model.onnx"):
        open_artifact(artifact)


# Export ------------------------------------------------------------

MODULE = """
import torch
from torch_geometric.nn import SAGEConv

class Whitened(torch.nn.Module):
    "Has no ONNX form: a pseudoinverse."
    def forward(self, x):
        return x @ torch.linalg.pinv(x.t() @ x + torch.eye(x.size(1)))

class Mine(torch.nn.Module):
    def __init__(self, i, o):
        super().__init__()
        self.first, self.white, self.out = SAGEConv(i, 6), Whitened(), torch.nn.Linear(6, o)
    def forward(self, x, edge_index):
        return self.out(self.white(self.first(x, edge_index)))

def build(in_channels, out_channels):
    torch.manual_seed(0)
    return Mine(in_channels, out_channels)
"""


@pytest.fixture
def work(tmp_path, monkeypatch):
    torch.save(community_graph(), tmp_path / "data.pt")
    (tmp_path / "whitemodels.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    import whitemodels

    torch.save(whitemodels.build(9, 3).state_dict(), "weights.pt")
    yield tmp_path
    sys.modules.pop("whitemodels", None)


MINE = ("export", "weights.pt", "--factory", "whitemodels:build", "--data", "data.pt")


@pytest.mark.slow
def test_fallback(work, capsys, monkeypatch):
    code, _, err = run(capsys, monkeypatch, *MINE, "--format", "onnx")
    assert code == 1
    assert "white (Whitened)" in err
    assert not Path("weights-fp32").exists()
    code, out, err = run(capsys, monkeypatch, *MINE)
    assert code == 0, err
    assert "model.ts.pt" in out
    assert err.startswith("edgegnn: exported as TorchScript, because ONNX can't express the model: white (Whitened)")
    assert err.count("\n") == 1
    manifest = json.loads(Path("weights-fp32/manifest.json").read_text())
    assert manifest["runtime"] == "torchscript"
    assert "white (Whitened)" in manifest["fallback"]
    assert set(manifest["files"]) == {"model.ts.pt", "model.pt2", "run.pyz", "samples.npz"}
    assert manifest["sizes"]["model_file"] == manifest["files"]["model.ts.pt"]["bytes"]
    assert manifest["parity"]["agreement"] == 1.0
    twin = manifest["torchscript"]["twin"]
    assert twin["inputs"] == ["x", "edge_index"]
    program = torch.export.load(Path("weights-fp32") / twin["file"]).module()
    arrays = np.load("weights-fp32/samples.npz")
    with torch.no_grad():
        for i in range(4):  # among them a graph without edges, and one node
            got = program(*(torch.from_numpy(arrays[f"{i:04d}.{name}"]) for name in twin["inputs"]))
            np.testing.assert_allclose(got, arrays[f"{i:04d}.expected"], atol=1e-3)
    for command in ("verify", "inspect"):
        code, out, err = run(capsys, monkeypatch, command, "weights-fp32")
        assert code == 0, err
    assert "torchscript" in out


def test_formats_that_can_not_be_had(work, capsys, monkeypatch):
    for arguments, message in (
        (("--format", "tflite"), "unknown format 'tflite': choose one of onnx, torchscript, both"),
        (("--format", "torchscript", "--quant", "static-int8"), "static-int8 quantizes ONNX models"),
        (("--format", "both", "--constant-graph"), "--constant-graph is for --format onnx, not for both"),
    ):
        code, _, err = run(capsys, monkeypatch, *MINE, *arguments)
        assert (code, err.count("\n")) == (2, 1)
        assert message in err
    code, _, err = run(capsys, monkeypatch, *MINE, "--quant", "static-int8")  # no fallback: it would not be int8
    assert code == 1
    assert "white (Whitened)" in err
    assert sorted(path.name for path in work.iterdir() if path.suffix != "") == [
        "data.pt",
        "weights.pt",
        "whitemodels.py",
    ]


@pytest.fixture(scope="module")
def real(data_root, tmp_path_factory):
    """A function: name of real data -> a model that was trained on them for a moment."""

    @cache
    def train(data):
        path = tmp_path_factory.mktemp("real") / "model.pt"
        model = "gcn" if data == "cora" else "gin"
        api.train(model, data, output=path, data_root=data_root, settings={"epochs": 4})
        return path

    return train


@pytest.mark.slow
@pytest.mark.parametrize(("quant", "data"), spread(["dq-int8", "none"], ["cora", "tu:PROTEINS"]))
def test_real_data(data, quant, real, data_root, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    how = {"data_root": data_root}
    model = real(data)
    if quant != "none":
        api.compress(model, quant=quant, output="q.pt", settings={"epochs": 2}, **how)
        model = "q.pt"
    manifest = api.export(model, output="a", format="both", **how).manifest
    script = manifest["torchscript"]
    assert manifest["runtime"] == "onnxruntime"
    assert script["parity"]["agreement"] >= 0.999
    assert script["aggregation"]
    assert {entry["choice"] for entry in script["aggregation"]} <= {"sparse", "dense"}
    assert all(entry["dense_ms"] > 0 and entry["sparse_ms"] > 0 for entry in script["aggregation"])
    assert {"model.onnx", "model.ts.pt", "model.pt2"} <= set(manifest["files"])
    for runtime in (None, "torchscript"):
        assert api.verify("a", runtime=runtime).ok
    alone = api.export(model, output="b.zip", format="torchscript", **how)
    assert alone.manifest["runtime"] == "torchscript"
    assert alone.manifest["quantized_points"] == manifest["quantized_points"]
    assert api.verify("b.zip").ok
    record = profile("b.zip", quick=True, plan=BLINK, threads=1)
    assert record.runtime == "torchscript"
