"""Artifacts that score pairs of nodes: two entry points, run without torch, for a module that the zoo doesn't have."""

import json
import os
import subprocess
import sys
from functools import cache, partial
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from link_example import MODULE, social_graph
from sweep import sweep

from edgegnn import api
from edgegnn.cli import start
from edgegnn.compression.plan import METHOD_NAMES
from edgegnn.errors import ArtifactError, DataError, UsageError
from edgegnn.runtime import bench, make_session, open_artifact, predict, run_entry, verify
from edgegnn.runtime.benchmark import Plan
from edgegnn.runtime.manifest import seal_manifest

LINKS = {"data": "social.pt", "task": "link-prediction", "split": "random:0.1,0.2"}
SHORT = Plan(True, warmup_runs=1, warmup_seconds=0.0, runs=3, seconds=0.0, windows=1, window_seconds=0.0)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a graph, a user's module and its weights, and an INT8 artifact of it."""
    folder = tmp_path_factory.mktemp("link")
    here = Path.cwd()
    os.chdir(folder)
    torch.save(social_graph(), "social.pt")
    Path("pairmodels.py").write_text(MODULE)
    sys.path.insert(0, str(folder))
    import pairmodels

    torch.manual_seed(0)
    torch.save(pairmodels.build(8).state_dict(), "weights.pt")
    api.export(
        "weights.pt", quant="dq-int8", output="artifact", factory="pairmodels:build", settings={"epochs": 3}, **LINKS
    )
    yield folder
    os.chdir(here)
    sys.path.remove(str(folder))
    sys.modules.pop("pairmodels", None)


def device(folder, *args):
    """Exit code, stdout and stderr of run.pyz, with torch out of reach."""
    block = "import sys, runpy; sys.modules.update(torch=None, torch_geometric=None, onnx=None)"
    code = f"{block}; sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0], run_name='__main__')"
    done = subprocess.run(
        [sys.executable, "-c", code, str(folder / "artifact" / "run.pyz"), *map(str, args)],
        capture_output=True,
        text=True,
        cwd=folder,
    )
    return done.returncode, done.stdout, done.stderr


def test_users_module_becomes_two_entry_points(place):
    with open_artifact(place / "artifact") as artifact:
        manifest = artifact.manifest
        assert [(e.name, e.file) for e in manifest.entries] == [("encode", "model.onnx"), ("decode", "decoder.onnx")]
        assert [t.name for t in manifest.inputs] == ["x", "edge_index", "edge_label_index"]
        assert manifest.raw["metric"]["name"] == "roc_auc"
        assert 0.0 <= manifest.raw["metric"]["average_precision"]["artifact"] <= 1.0
        split = manifest.raw["task"]["link_split"]
        assert split["links"]["test"] * 2 == manifest.raw["metric"]["n"]
        assert "never a link of any split" in split["protocol"]
        files = manifest.raw["files"]
        assert manifest.raw["sizes"]["model_file"] == sum(files[f]["bytes"] for f in ("model.onnx", "decoder.onnx"))
        integer = manifest.raw["integer_operators"]
        assert integer["QSpMM"] == 1  # the encoder's sum
        # Its products, and the decoder's: a pair's rows are multiplied, not those of all nodes.
        assert sum(count for name, count in integer.items() if "Gemm" in name) == 5
        # Encode once; the decoder answers query after query, as the whole does.
        with np.load(place / "artifact" / "samples.npz") as samples:
            graph = {name: samples[f"0000.{name}"] for name in ("x", "edge_index")}
            pairs, expected = samples["0000.edge_label_index"], samples["0000.expected"]
        session = make_session(artifact)
        z = run_entry(session, manifest, "encode", graph)["z"]
        assert z.shape == (60, 16)
        for count in (1, 5, pairs.shape[1]):
            found = run_entry(session, manifest, "decode", {"z": z, "edge_label_index": pairs[:, :count]})["logits"]
            assert np.array_equal(found, predict(artifact, {**graph, "edge_label_index": pairs[:, :count]}))
            assert np.abs(found - expected[:count]).max() <= manifest.max_abs_error
        turned = run_entry(session, manifest, "decode", {"z": z, "edge_label_index": pairs[::-1].copy()})["logits"]
        assert not np.allclose(turned, expected)  # this decoder knows the order
        report = verify(artifact)
        assert report.ok
        assert report.metric.name == "roc_auc"
        record = bench(artifact, plan=SHORT, energy="none")
        assert [(e["name"], e["pairs"]) for e in record["entries"]] == [
            ("encode", None),
            ("decode", 1),
            ("decode", pairs.shape[1]),
        ]
        assert record["memory_bytes"]["model_file"] == manifest.raw["sizes"]["model_file"]


def test_device_side(place):
    with np.load(place / "artifact" / "samples.npz") as samples:
        graph = {name: samples[f"0000.{name}"] for name in ("x", "edge_index")}
    np.savez(place / "graph.npz", **graph)
    np.savez(place / "whole.npz", **graph, edge_label_index=np.array([[0, 1], [4, 2]]))
    code, out, err = device(place, "verify", "--json")
    assert code == 0, err
    assert json.loads(out)["ok"]
    code, out, err = device(place, "predict", "--entry", "encode", "--input", "graph.npz", "--output", "z.npz")
    assert code == 0, err
    z = np.load(place / "z.npz")["z"]
    np.savez(place / "query.npz", z=z, edge_label_index=np.array([[0, 1], [4, 2]]))
    code, out, err = device(place, "predict", "--entry", "decode", "--input", "query.npz", "--json")
    assert code == 0, err
    asked = json.loads(out)
    code, out, err = device(place, "predict", "--input", "whole.npz", "--json")
    assert json.loads(out) == asked
    logits = np.array(asked["logits"])[:, 0]
    assert np.allclose(asked["probabilities"], 1 / (1 + np.exp(-logits)))
    assert asked["classes"] == (logits > 0).astype(int).tolist()


@pytest.mark.parametrize(
    ("entry", "change", "words"),
    [
        (None, {"edge_label_index": np.array([[0], [60]])}, r"edge_label_index\[1, 0\] is 60, but .* has 60 nodes"),
        (None, {"edge_label_index": np.array([[-1], [3]])}, r"edge_label_index\[0, 0\] is -1"),
        (None, {"edge_label_index": np.zeros((2, 0), np.int64)}, "no pairs"),
        (None, {"edge_label_index": np.zeros((3, 2), np.int64)}, "has the shape"),
        (None, {"edge_label_index": np.zeros((2, 2))}, "edge_label_index"),
        ("decode", {"edge_label_index": np.array([[0], [60]])}, "60 nodes"),
        ("decode", {"z": np.full((60, 16), np.nan, np.float32)}, "z.*finite"),
        ("decode", {"z": np.zeros((60, 15), np.float32)}, "z has the shape"),
        ("decode", {"z": np.zeros((0, 16), np.float32)}, "no nodes"),
        ("decode", {"x": np.zeros((60, 8), np.float32)}, "x unknown"),
        ("encode", {"edge_index": np.array([[0], [60]])}, r"edge_index\[1, 0\] is 60"),
    ],
)
def test_bad_queries_never_reach_the_model(place, entry, change, words):
    with open_artifact(place / "artifact") as artifact:
        inputs = {
            "x": np.zeros((60, 8), np.float32),
            "edge_index": np.zeros((2, 1), np.int64),
            "edge_label_index": np.array([[0], [1]]),
        }
        if entry == "decode":
            inputs = {"z": np.zeros((60, 16), np.float32), "edge_label_index": inputs["edge_label_index"]}
        elif entry == "encode":
            del inputs["edge_label_index"]
        inputs |= change
        session, manifest = make_session(artifact), artifact.manifest
        run = partial(predict, artifact) if entry is None else partial(run_entry, session, manifest, entry)
        with pytest.raises(DataError, match=words) as caught:
            run(inputs)
        assert "\n" not in str(caught.value)
        with pytest.raises(UsageError, match="choose one of encode, decode"):
            run_entry(session, manifest, "nothing", inputs)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda e: e[1].update(file="run.pyz"), "no ONNX file"),
        (lambda e: e[1].update(file="../decoder.onnx"), "no ONNX file"),
        (lambda e: e[1].update(name="encode"), "another entry"),
        (lambda e: e.reverse(), "nothing before it gives"),
        (lambda e: e.pop(), "no entry gives the output"),
        (lambda e: e[0]["inputs"].append({"name": "y", "dtype": "int64", "shape": [1]}), "nothing before it gives"),
        (lambda e: e[0]["outputs"][0].update(name="x"), "another entry or input"),
        (lambda e: e.append(3), "no object"),
        (lambda e: e[0].update(inputs="x"), "wrong type"),
    ],
)
def test_damaged_entries_are_refused(place, tmp_path, change, words):
    import shutil

    folder = tmp_path / "artifact"
    shutil.copytree(place / "artifact", folder)
    manifest = json.loads((folder / "manifest.json").read_text())
    change(manifest["entries"])
    (folder / "manifest.json").write_text(json.dumps(seal_manifest(manifest)))
    with pytest.raises(ArtifactError, match=words):
        open_artifact(folder)


@pytest.mark.parametrize(
    ("factory", "words"), [("pooled", "one row for each of the 60 nodes"), ("two", "one logit for each pair")]
)
def test_modules_of_another_shape_are_refused_before_anything_is_written(place, factory, words):
    torch.save({"lin.weight": torch.ones(4, 8), "lin.bias": torch.zeros(4)}, "other.pt")
    with pytest.raises(Exception, match=words) as caught:
        api.export("other.pt", output="nothing", factory=f"pairmodels:{factory}", **LINKS)
    assert "\n" not in str(caught.value)
    assert not (place / "nothing").exists()


def test_task_needs_its_data(place):
    with pytest.raises(UsageError, match="--task"):
        api.export("weights.pt", output="nothing", factory="pairmodels:build", task="link-prediction")


def test_command_line(place, capsys, monkeypatch):
    def run(*args):
        monkeypatch.setattr(sys, "argv", ["edgegnn", *args])
        with pytest.raises(SystemExit) as exit_:
            start.main()
        out, err = capsys.readouterr()
        return exit_.value.code, out, err

    common = ("social.pt", "--task", "link-prediction", "--epochs", "2", "-o", "cli.pt")
    code, out, err = run("train", "sage", *common, "--json")
    assert code == 0, err
    trained = json.loads(out)
    assert trained["task"]["kind"] == "link"
    assert trained["link_split"]["links"]["val"] >= 1
    assert set(trained["metrics"]) == {"val", "test", "val_average_precision", "test_average_precision"}
    code, out, err = run("inspect", "artifact")
    assert code == 0, err
    assert "decode (decoder.onnx)" in " ".join(out.split())
    assert "average_precision" in out
    for args, status, words in (
        (("train", "sage", *common, "--split", "random:0.9,0.2"), 2, "leave something to train on"),
        (("train", "sage", "digits", "--task", "link-prediction", "-o", "no.pt"), 2, "link"),
    ):
        code, out, err = run(*args, "--force")
        assert (code, out) == (status, "")
        assert words in err
        assert err.count("\n") == 1


# Everything together: slow ------------------------------------------------------------


MODELS = ("ness", "gat", "own")
RECIPES = ("none", "dynamic-int8", "static-int8", "qat-int8", "qat-int4", "dq-int4")
PAIRS = list(product(range(len(MODELS)), range(len(RECIPES))))
OWN = {"factory": "pairmodels:build", **LINKS}


PRUNED = list(product(METHOD_NAMES, ("own", "ness", "gcn", "sage")))


@pytest.fixture(scope="module")
def trained(place):
    """A function: name of a model -> its checkpoint, trained once, and what else tells how to read it."""

    @cache
    def train(model):
        if model == "own":
            return "weights.pt", OWN
        api.train(model, output=f"{model}.pt", settings={"epochs": 5}, **LINKS)
        return f"{model}.pt", {}

    return train


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "recipe"),
    sweep(PAIRS, lambda i: PAIRS[i] in [(0, 0), (0, 3), (1, 4), (2, 5)]),  # static-int8: see test_range_guard.py
)
def test_every_recipe(trained, tmp_path, model, recipe):
    """With each model; the graph is inside for every other one, so that each model and each recipe has it both ways."""
    source, options = trained(MODELS[model])
    constant = (model + recipe) % 2 == 1
    settings = {"epochs": 3}
    api.export(
        source, quant=RECIPES[recipe], output=tmp_path / "out", settings=settings, constant_graph=constant, **options
    )
    assert verify(tmp_path / "out").ok


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "model"),
    # The masks of the other methods are those of any other task.
    sweep(PRUNED, lambda i: PRUNED[i] in [("edges", "own"), ("structured", "sage"), ("regularized", "gcn")]),
)
def test_every_pruner_and_quantization_after_it(trained, tmp_path, model, method):
    source, options = trained(model)
    small = tmp_path / "small.pt"
    done = api.compress(
        source, prune=method, sparsity=0.5, quant="dq-int8", output=small, settings={"epochs": 4}, **options
    )
    assert done.row["achieved"] == pytest.approx(0.5, abs=0.05)
    assert set(done.checkpoint.metrics) == {"val", "test", "val_average_precision", "test_average_precision"}
    factory = {"factory": options["factory"]} if options else {}
    api.export(small, output=tmp_path / "small", **factory)
    assert verify(tmp_path / "small").ok


@pytest.mark.slow
def test_torchscript_scores_pairs_too(trained, tmp_path):
    source, _ = trained("gcn")
    api.export(source, output=tmp_path / "both", format="both")
    api.export(source, output=tmp_path / "script", format="torchscript")
    assert verify(tmp_path / "script").ok
    for runtime in ("onnxruntime", "torchscript"):
        assert verify(tmp_path / "both", runtime=runtime).ok
    with (
        open_artifact(tmp_path / "both", runtime="torchscript") as artifact,
        pytest.raises(UsageError, match="at once"),
    ):
        run_entry(make_session(artifact), artifact.manifest, "encode", {})


@pytest.mark.slow
def test_edges_can_be_scored_on_an_unseen_graph(trained, tmp_path):
    """The artifact isn't bound to the graph that it was trained on."""
    source, _ = trained("ness")
    api.export(source, output=tmp_path / "out")
    other = social_graph(nodes=200, links=900, seed=5)
    model = api.load(source).model.eval()
    pairs = torch.randint(200, (2, 50))
    with torch.no_grad():
        wanted = model(other.x, other.edge_index, pairs).numpy()
    inputs = {"x": other.x.numpy(), "edge_index": other.edge_index.numpy(), "edge_label_index": pairs.numpy()}
    assert np.allclose(predict(tmp_path / "out", inputs), wanted, atol=1e-4)
