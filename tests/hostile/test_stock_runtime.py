"""Files and graphs that onnxruntime alone would take badly: refused in one line."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))

from onnx import helper
from tiny_artifact import graph, make_artifact, model

from edgegnn.errors import ArtifactError
from edgegnn.runtime import make_session, predict
from edgegnn.runtime.cli import main
from edgegnn.runtime.needs import needed_onnxruntime, version_pair


@pytest.mark.parametrize(
    ("opset", "ir_version", "needed"), [(18, 8, (1, 14)), (18, 9, (1, 15)), (20, 9, (1, 17)), (21, 10, (1, 18))]
)
def test_needed_version_is_read_from_the_file(opset: int, ir_version: int, needed: tuple[int, int]):
    made = helper.make_model(
        model().graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=ir_version
    ).SerializeToString()
    assert needed_onnxruntime(made) == needed


@pytest.mark.parametrize("content", [b"", b"\xff" * 40, b"\x3a\xff\xff\x03", b"no model at all"])
def test_no_protobuf_needs_nothing(content: bytes):
    assert needed_onnxruntime(content) == (1, 0)


def test_versions():
    assert [version_pair(v) for v in ("1.17.3", "1.18.0rc1", "1.9.0+cu12", "dev", "")] == [
        (1, 17),
        (1, 18),
        (1, 9),
        (0, 0),
        (0, 0),
    ]


def test_old_onnxruntime_is_named_before_loading(monkeypatch: pytest.MonkeyPatch):
    made = helper.make_model(model().graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    make_session(made.SerializeToString())
    monkeypatch.setattr(onnxruntime, "__version__", "1.17.3")
    with pytest.raises(ArtifactError, match=r"needs onnxruntime 1\.18 or newer, this is 1\.17\.3"):
        make_session(made.SerializeToString())


def test_predict_refuses_logits_that_are_not_finite(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    artifact = make_artifact(tmp_path / "tiny")
    inputs = graph(6, 12)
    inputs["x"][2] = 3e38  # finite, and its products are not
    with pytest.raises(ArtifactError, match="NaN or infinite logits in row"):
        predict(artifact, inputs)
    np.savez(tmp_path / "x.npz", **inputs)
    arguments = ["predict", "--artifact", str(artifact), "--input", str(tmp_path / "x.npz")]
    assert main([*arguments, "--output", str(tmp_path / "y.npz")]) == 1
    assert capsys.readouterr().err.count("\n") == 1
    assert not (tmp_path / "y.npz").exists()
