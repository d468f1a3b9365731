"""Labels and values on the device: metrics, agreement, and artifacts that say something else than they hold."""

import json
import math
import subprocess
import sys

import numpy as np
import pytest
from sklearn.metrics import mean_absolute_error, roc_auc_score, root_mean_squared_error
from tiny_artifact import CLASSES, change_samples, make_artifact

from edgegnn.errors import ArtifactError, DataError
from edgegnn.runtime import open_artifact, verify
from edgegnn.runtime.manifest import seal_manifest
from edgegnn.runtime.metrics import compare, metric_text, predictions, score, undefined


def test_scores_are_those_of_scikit_learn():
    random = np.random.default_rng(0)
    outputs, values = random.normal(size=(2, 50, 3))
    assert score("mae", outputs, values) == pytest.approx(mean_absolute_error(values, outputs))
    assert score("rmse", outputs, values) == pytest.approx(root_mean_squared_error(values, outputs))
    labels = random.integers(0, 2, size=(50, 3)).astype(np.float32)
    labels[random.random((50, 3)) < 0.4] = np.nan
    known = ~np.isnan(labels)
    each = [roc_auc_score(labels[known[:, i], i], outputs[known[:, i], i]) for i in range(3)]
    assert score("mean_roc_auc", outputs, labels) == pytest.approx(np.mean(each))
    labels[known[:, 0], 0] = 1  # a column with one class doesn't count
    labels[:, 1] = np.nan  # nor does an empty one
    assert score("mean_roc_auc", outputs, labels) == pytest.approx(each[2])
    assert undefined("mean_roc_auc", labels) == ""
    assert math.isnan(score("mean_roc_auc", outputs[:, :2], labels[:, :2]))
    assert "both classes" in undefined("mean_roc_auc", labels[:, :2])
    assert "both classes" in undefined("roc_auc", np.ones(4, dtype=np.int64))
    assert undefined("roc_auc", np.array([0, 1])) == undefined("accuracy", np.ones(4)) == undefined("mae", values) == ""
    for metric, wrong in (("mae", labels[:, 0]), ("rmse", labels[:, :2]), ("accuracy", labels), ("r2", labels)):
        with pytest.raises(DataError):
            score(metric, outputs, wrong)


def test_what_counts_as_the_same_prediction():
    expected, got = np.array([[1.0, -2.0], [3.0, 4.0], [0.5, 0.5]]), np.array([[1.2, -2.0], [-3.0, 4.0], [0.4, 0.7]])
    assert compare(expected, got, target="labels") == (3, 2, 6.0)
    assert compare(expected, got, target="values", within=[0.25, 0.1]) == (3, 1, 6.0)
    assert compare(expected, got, target="values", within=[0.25, 0.3])[1] == 2
    assert compare(expected, np.full_like(got, np.nan), target="values", within=[9.0, 9.0]) == (3, 0, math.inf)
    assert predictions(expected, "labels").tolist() == [[1, 0], [1, 1], [1, 1]]
    assert predictions(expected, "values") is expected
    assert (metric_text("rmse", 12.3456), metric_text("mean_roc_auc", 0.5), metric_text("mae", None)) == (
        "12.35",
        "50.00 %",
        "undefined",
    )


def artifact(folder, target, metric):
    """A tiny artifact, whose three logits are three labels or three values."""
    make_artifact(folder, "graph", target=target)
    rows = []

    def relabel(arrays):
        names = [n for n in arrays if n.endswith(".label")]
        best = np.concatenate([arrays[n.replace("label", "expected")] for n in names]).max(axis=0)
        for name in names:
            expected = arrays[name.replace("label", "expected")]
            label = expected + 0.25 if target == "values" else (expected == best).astype(np.float32)
            if target == "labels":
                label[::3, 0] = np.nan
            arrays[name] = label.astype(np.float32)
            rows.append((expected, arrays[name]))

    change_samples(folder, relabel)
    outputs, labels = (np.concatenate(part) for part in zip(*rows, strict=True))
    value = score(metric, outputs, labels)
    change(folder, lambda m: m.update(samples_metric={"name": metric, "value": value, "n": len(labels)}))
    if target == "values":
        change(folder, lambda m: m["parity"]["tolerance"].update(within=[0.01] * CLASSES))
    return value


def change(folder, edit):
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text())
    edit(manifest)
    path.write_text(json.dumps(seal_manifest(manifest)))


@pytest.mark.parametrize(("target", "metric"), [("values", "mae"), ("values", "rmse"), ("labels", "mean_roc_auc")])
def test_an_artifact_of_labels_or_values_holds(tmp_path, target, metric):
    folder = tmp_path / "a"
    value = artifact(folder, target, metric)
    report = verify(folder)
    assert report.ok, report.problems
    assert report.metric is not None
    assert (report.metric.name, report.metric.value) == (metric, pytest.approx(value))
    change(folder, lambda m: m["samples_metric"].update(value=value * 0.2))
    assert any(f"the {metric} over the samples is" in p for p in verify(folder).problems)


def test_values_far_from_pytorch_do_not_hold(tmp_path):
    folder = tmp_path / "a"
    artifact(folder, "values", "mae")
    change(folder, lambda m: m["parity"]["tolerance"].update(max_abs_error=None))

    def shift(arrays):
        arrays["0000.expected"][:, 1] += 0.02

    change_samples(folder, shift)
    (problem,) = verify(folder).problems
    assert "of the predictions are PyTorch's" in problem
    assert "expected [" in problem


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda m: m.update(target="words"), "target 'words' is none of classes, labels, values"),
        (lambda m: m["parity"]["tolerance"].pop("within"), "within"),
        (lambda m: m["parity"]["tolerance"].update(within=[0.1]), "1 entries for 4 columns"),
        (lambda m: m["parity"]["tolerance"].update(within=[0.1, -1, 0, 0]), "out of range"),
        (lambda m: m["samples_metric"].update(name="accuracy"), "none of mae, rmse"),
        (lambda m: m["samples_metric"].update(value=-1.0), "out of range"),
        (lambda m: m["samples_metric"].update(value=None, reason=["x"]), "reason"),
    ],
)
def test_bad_manifests(tmp_path, edit, message):
    artifact(tmp_path / "a", "values", "mae")
    change(tmp_path / "a", edit)
    with pytest.raises(ArtifactError, match=message) as info:
        open_artifact(tmp_path / "a")
    assert "\n" not in str(info.value)


@pytest.mark.parametrize(
    ("target", "label", "message"),
    [
        ("values", lambda v: v.astype(np.float64), "labels are float64"),
        ("values", lambda v: v[:, :2], r"not float32 \["),
        ("values", lambda v: v * np.float32("nan"), "NaN or infinite"),
        ("labels", lambda v: v + np.float32("inf"), "NaN or infinite"),
        ("labels", lambda v: v + np.float32(0.5), "neither 0 nor 1"),
    ],
)
def test_bad_labels(tmp_path, target, label, message):
    artifact(tmp_path / "a", target, "mae" if target == "values" else "mean_roc_auc")
    change_samples(tmp_path / "a", lambda arrays: arrays.update({"0000.label": label(arrays["0000.label"])}))
    with pytest.raises(ArtifactError, match=message):
        verify(tmp_path / "a")


def test_an_undefined_metric_says_why(tmp_path):
    folder = tmp_path / "a"
    artifact(folder, "labels", "mean_roc_auc")
    change(folder, lambda m: m["samples_metric"].update(value=None, reason="labels of one class only"))
    report = verify(folder)
    assert report.ok
    assert report.to_dict()["metric"] is None
    assert report.metric_reason == "labels of one class only"
    said = subprocess.run(
        [
            sys.executable,
            folder / "run.pyz",
            "bench",
            "--quick",
            "--runs",
            "2",
            "--seconds",
            "0.01",
            "--windows",
            "1",
            "--window-seconds",
            "0.01",
            "--json",
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    result = json.loads(said.stdout)
    assert (result["metric"], result["metric_reason"]) == (None, "labels of one class only")


@pytest.mark.parametrize(("target", "word"), [("values", "row 0: values "), ("labels", "row 0: labels [")])
def test_predict_says_what_was_predicted(tmp_path, target, word):
    folder = tmp_path / "a"
    artifact(folder, target, "mae" if target == "values" else "mean_roc_auc")
    with np.load(folder / "samples.npz") as file:
        np.savez(
            tmp_path / "in.npz",
            **{k[5:]: v for k, v in file.items() if k[:5] == "0000." and k[5:] in ("x", "edge_index", "batch")},
        )
        expected = file["0000.expected"]
    command = [sys.executable, folder / "run.pyz", "predict", "--input", tmp_path / "in.npz"]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout.startswith(word)
    found = json.loads(subprocess.run([*command, "--json"], capture_output=True, text=True, check=True).stdout)
    outputs = found["values" if target == "values" else "logits"]
    assert np.allclose(outputs, expected, atol=1e-5)
    assert set(found) == ({"values"} if target == "values" else {"logits", "labels"})
