"""Running artifacts: sessions, metrics, verification, prediction, and the inputs that are refused."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from sklearn.metrics import roc_auc_score
from tiny_artifact import CLASSES, FEATURES, WEIGHT, change_samples, graph, make_artifact, model, reference, seal

from edgegnn.errors import ArtifactError, DataError, UsageError
from edgegnn.runtime import compare, make_session, open_artifact, predict, score, verify


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("artifacts")
    return {kind: make_artifact(folder / kind, kind) for kind in ("node", "graph")}


@pytest.fixture
def artifact(pristine: dict[str, Path], tmp_path: Path) -> Path:
    return Path(shutil.copytree(pristine["node"], tmp_path / "node"))


def test_session_from_artifact_path_and_bytes(artifact: Path) -> None:
    inputs = graph(9, 20, seed=3)
    for source in (open_artifact(artifact), artifact / "model.onnx", (artifact / "model.onnx").read_bytes()):
        (got,) = make_session(source, threads=1).run(None, inputs)
        np.testing.assert_allclose(got, reference(inputs), atol=1e-5)
    options = make_session(open_artifact(artifact), threads=1, spinning=False).get_session_options()
    assert options.intra_op_num_threads == 1
    assert options.get_session_config_entry("session.intra_op.allow_spinning") == "0"
    with pytest.raises(UsageError, match="threads"):
        make_session(artifact / "model.onnx", threads=-1)


def test_model_that_cannot_be_loaded(artifact: Path, capfd: pytest.CaptureFixture[str]) -> None:
    content = (artifact / "model.onnx").read_bytes()
    (artifact / "model.onnx").write_bytes(content[: len(content) // 2])
    seal(artifact)
    with pytest.raises(ArtifactError, match=r"onnxruntime .* can't load model.onnx") as error:
        make_session(open_artifact(artifact))
    assert "\n" not in str(error.value)
    assert capfd.readouterr().err == ""


def test_model_with_other_inputs_than_the_manifest(artifact: Path, pristine: dict[str, Path]) -> None:
    shutil.copy(pristine["graph"] / "model.onnx", artifact / "model.onnx")
    seal(artifact)
    with pytest.raises(ArtifactError, match="takes x, edge_index, batch, the manifest says x, edge_index"):
        verify(artifact)


def test_model_that_fails_while_running(artifact: Path, capfd: pytest.CaptureFixture[str]) -> None:
    broken = model()
    next(i for i in broken.graph.initializer if i.name == "axis1").CopyFrom(
        onnx.numpy_helper.from_array(np.array([7]), "axis1")
    )
    (artifact / "model.onnx").write_bytes(broken.SerializeToString())
    seal(artifact)
    with pytest.raises(ArtifactError, match=r"can't load model|fails to run"):
        verify(artifact)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("kind", ["node", "graph"])
def test_verify_holds(pristine: dict[str, Path], kind: str) -> None:
    report = verify(pristine[kind], threads=1)
    assert report.ok
    assert report.agreement == 1.0
    assert report.max_abs_error < 1e-5
    assert [r.rows for r in report.samples] == ([20, 12, 5, 1] if kind == "node" else [1, 1, 1, 1])
    assert report.metric is not None
    assert report.metric == report.expected_metric
    assert json.loads(json.dumps(report.to_dict()))["ok"] is True


def change_weight(folder: Path, weight: np.ndarray) -> None:
    changed = onnx.load(folder / "model.onnx")
    next(i for i in changed.graph.initializer if i.name == "weight").CopyFrom(
        onnx.numpy_helper.from_array(weight.astype(np.float32), "weight")
    )
    onnx.save(changed, folder / "model.onnx")
    seal(folder)


def test_verify_says_where_it_fails(artifact: Path) -> None:
    change_weight(artifact, WEIGHT[:, ::-1].copy())
    report = verify(artifact)
    assert not report.ok
    inputs = graph(20, 60, seed=0)
    expected = reference(inputs)
    got = reference(inputs)[:, ::-1]
    row, column = np.unravel_index(np.abs(expected - got).argmax(), expected.shape)
    first = report.problems[0]
    assert first.startswith(f"sample 0 (first): row {row}, class {column}: expected {expected[row, column]:.6g}, got ")
    differs = int((expected.argmax(1) != got.argmax(1)).argmax())
    assert any(f"first in sample 0 (first), row {differs}: expected class" in p for p in report.problems)
    assert any("accuracy over the samples is" in p for p in report.problems)


def test_verify_counts_a_model_that_gives_nan(artifact: Path) -> None:
    change_weight(artifact, np.full_like(WEIGHT, np.nan))
    report = verify(artifact)
    assert report.agreement == 0.0
    assert math.isinf(report.max_abs_error)
    assert not report.ok
    assert json.loads(json.dumps(report.to_dict(), allow_nan=False))["max_abs_error"] is None


def test_verify_of_a_model_without_a_limit_on_its_logits(artifact: Path) -> None:
    manifest = json.loads((artifact / "manifest.json").read_text())
    manifest["parity"]["tolerance"] = {"agreement": 0.999, "max_abs_error": None}
    seal(artifact, manifest)
    change_weight(artifact, WEIGHT * 1.5)
    assert verify(artifact).ok
    change_weight(artifact, np.full_like(WEIGHT, np.inf))
    assert not verify(artifact).ok


def test_shipped_part_may_agree_less_than_the_whole_but_not_less_than_at_export(artifact: Path) -> None:
    def flip(arrays: dict[str, np.ndarray]) -> None:
        arrays["0001.expected"][0] = -arrays["0001.expected"][0]

    change_samples(artifact, flip)
    manifest = json.loads((artifact / "manifest.json").read_text())
    manifest["parity"]["tolerance"] = {"agreement": 0.999, "max_abs_error": None}
    seal(artifact, manifest)
    assert any("of the predictions are PyTorch's" in p for p in verify(artifact).problems)
    manifest["parity"]["per_graph"][1]["agreement"] = 11 / 12
    seal(artifact, manifest)
    assert verify(artifact).ok


def test_verify_recomputes_the_metric(artifact: Path) -> None:
    manifest = json.loads((artifact / "manifest.json").read_text())
    manifest["samples_metric"]["value"] -= 0.1
    seal(artifact, manifest)
    assert verify(artifact).problems == (
        f"the accuracy over the samples is {manifest['samples_metric']['value'] + 0.1:.4f} here, "
        f"{manifest['samples_metric']['value']:.4f} in the manifest",
    )
    manifest["samples_metric"] = {"name": "accuracy", "value": 0.5, "n": 5}
    seal(artifact, manifest)
    assert "21 rows here, over 5 in the manifest" in verify(artifact).problems[0]
    for nothing in (None, {"name": "accuracy", "value": float("nan"), "n": 21}):
        seal(artifact, {**manifest, "samples_metric": nothing})
        assert verify(artifact).ok


def test_compare() -> None:
    expected = np.array([[1.0, 2.0], [3.0, 1.0], [0.0, 1.0]], dtype=np.float32)
    got = np.array([[1.0, 2.5], [0.5, 1.0], [0.0, 1.0]], dtype=np.float32)
    assert compare(expected, got) == (3, 2, 2.5)
    assert compare(expected, np.full_like(expected, np.nan)) == (3, 0, math.inf)
    assert compare(expected[:0], got[:0]) == (0, 0, 0.0)
    assert compare(np.array([[0.5], [-0.5]]), np.array([[0.1], [0.1]]))[:2] == (2, 1)
    with pytest.raises(ArtifactError, match="shape"):
        compare(expected, got[:2])


def test_score_is_that_of_scikit_learn() -> None:
    random = np.random.default_rng(0)
    logits = random.integers(-3, 4, size=(200, 2)).astype(np.float32)  # ties on purpose
    labels = random.integers(0, 2, size=200)
    assert score("roc_auc", logits, labels) == pytest.approx(roc_auc_score(labels, logits[:, 1] - logits[:, 0]))
    assert score("roc_auc", logits[:, :1], labels) == pytest.approx(roc_auc_score(labels, logits[:, 0]))
    assert score("accuracy", logits, labels) == (logits.argmax(1) == labels).mean()
    assert math.isnan(score("roc_auc", logits, np.ones(200, dtype=np.int64)))
    for metric, wrong in (("f1", logits), ("roc_auc", np.zeros((200, 3))), ("accuracy", logits[:0])):
        with pytest.raises(DataError):
            score(metric, wrong, labels)


def test_predict_casts_what_is_safe(artifact: Path) -> None:
    inputs = graph(9, 20, seed=3)
    wider = {"x": inputs["x"].astype(np.float64), "edge_index": inputs["edge_index"].astype(np.int32)}
    np.testing.assert_array_equal(predict(artifact, wider), predict(artifact, inputs))
    unsigned = {**inputs, "edge_index": inputs["edge_index"].astype(np.uint64), "x": np.asfortranarray(inputs["x"])}
    np.testing.assert_array_equal(predict(artifact, unsigned), predict(artifact, inputs))


def test_predict_without_edges_and_in_batches(artifact: Path, pristine: dict[str, Path]) -> None:
    assert predict(artifact, graph(3, 0)).shape == (3, CLASSES)
    inputs = {**graph(6, 8, seed=1), "batch": np.array([0, 0, 1, 1, 1, 2])}
    np.testing.assert_allclose(predict(pristine["graph"], inputs), reference(inputs), atol=1e-5)


@pytest.mark.parametrize("dtype", ["bool", "uint8", "int64", "float16", "float64"])
def test_features_of_other_types_are_converted(artifact: Path, dtype: str) -> None:
    inputs = graph(4, 6)
    features = (inputs["x"] > 0).astype(dtype)
    got = predict(artifact, {**inputs, "x": features})
    np.testing.assert_array_equal(got, predict(artifact, {**inputs, "x": features.astype(np.float32)}))


X = np.ones((4, FEATURES), dtype=np.float32)
E = np.array([[0, 1], [2, 3]])


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"x": X}, "edge_index missing; the model takes x, edge_index"),
        ({"x": X, "edge_index": E, "edge_attr": X}, "edge_attr unknown"),
        ({"x": X.astype(np.int64) * 2**30, "edge_index": E}, r"x holds integers beyond 2\^24"),
        ({"x": X, "edge_index": E.astype(np.float32)}, "edge_index has the type float32"),
        ({"x": X, "edge_index": E.astype(bool)}, "edge_index has the type bool"),
        ({"x": X.astype(str), "edge_index": E}, "x has the type"),
        ({"x": X.astype(complex), "edge_index": E}, "x has the type complex128"),
        ({"x": X[0], "edge_index": E}, r"x has the shape \[3\], the model takes \[num_nodes, 3\]"),
        ({"x": X[:, :2], "edge_index": E}, r"x has the shape \[4, 2\], the model takes \[num_nodes, 3\]"),
        (
            {"x": X, "edge_index": np.zeros((5, 2), dtype=np.int64)},
            r"edge_index has the shape \[5, 2\], the model takes \[2,",
        ),
        ({"x": X, "edge_index": np.zeros((3, 2), dtype=np.int64)}, r"edge_index has the shape \[3, 2\]"),
        ({"x": X, "edge_index": np.zeros(0, dtype=np.int64)}, r"edge_index has the shape \[0\]"),
        ({"x": X, "edge_index": np.int64(3)}, r"edge_index has the shape \[\]"),
        ({"x": X, "edge_index": E + 1}, r"edge_index\[1, 1\] is 4, but the graph has 4 nodes \(0 to 3\)"),
        ({"x": X, "edge_index": E - 1}, r"edge_index\[0, 0\] is -1"),
        ({"x": X, "edge_index": np.full((2, 1), 2**64 - 1, dtype=np.uint64)}, "don't fit into int64"),
        ({"x": X * np.nan, "edge_index": E}, r"x\[0, 0\] is nan: values must be finite numbers \(12 are not\)"),
        ({"x": np.where(np.eye(4, 3) > 0, -np.inf, X).astype("f4"), "edge_index": E}, r"x\[0, 0\] is -inf"),
        ({"x": X.astype(np.float64) * 1e300, "edge_index": E}, r"x\[0, 0\] is inf"),
        ({"x": X[:0], "edge_index": E[:, :0]}, "the graph has no nodes"),
    ],
)
def test_bad_inputs(artifact: Path, inputs: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message) as error:
        predict(artifact, inputs)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("batch", "message"),
    [
        ([0, 1, 0, 1], "batch is not sorted: 1 at node 1 is followed by 0"),
        ([1, 1, 1, 1], "must start with graph 0, it starts with 1"),
        ([-1, 0, 0, 0], "must start with graph 0"),
        ([0, 0, 2, 2], "has a graph without nodes"),
        ([0, 0, 0, 2**62], "has a graph without nodes"),
        ([0, 0, 0], r"batch has the shape \[3\], but x says that num_nodes is 4"),
    ],
)
def test_bad_batch(pristine: dict[str, Path], batch: list[int], message: str) -> None:
    with pytest.raises(DataError, match=message):
        predict(pristine["graph"], {"x": X, "edge_index": E, "batch": np.array(batch)})


def test_large_finite_values_are_not_taken_for_infinite(artifact: Path) -> None:
    assert predict(artifact, {"x": np.full((4, FEATURES), 1e38, dtype=np.float32), "edge_index": E[:, :0]}).shape == (
        4,
        4,
    )
