"""An artifact called from a program."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import warnings
from pathlib import Path

import numpy as np
import pytest
from tiny_artifact import graph, make_artifact, reference

from edgegnn import native, runtime
from edgegnn.errors import ArtifactError, DataError, EdgeGNNWarning, UsageError
from edgegnn.runtime import RangeWarning


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_artifact(tmp_path_factory.mktemp("model") / "tiny")


def test_call_gives_what_the_model_computes(artifact: Path) -> None:
    model = runtime.open(artifact, threads=1)
    inputs = graph(9, 20, seed=3)
    logits = model(**inputs)
    np.testing.assert_allclose(logits, reference(inputs), atol=1e-5)
    assert logits.dtype == np.float32
    assert [spec.name for spec in model.inputs] == ["x", "edge_index"]
    np.testing.assert_array_equal(model.classify(**inputs), logits.argmax(axis=1))
    assert model.name == "tiny"
    assert "tiny" in repr(model)


def test_shipped_samples_are_a_first_input(artifact: Path) -> None:
    model = runtime.open(artifact)
    sample = model.samples()[0]
    np.testing.assert_allclose(model(**sample.inputs), sample.expected, atol=1e-5)


def test_inputs_are_checked_at_every_call(artifact: Path) -> None:
    model = runtime.open(artifact)
    inputs = graph(9, 20)
    with pytest.raises(DataError, match="edge_index missing"):
        model(x=inputs["x"])
    inputs["edge_index"][0, 0] = 9
    with pytest.raises(DataError, match=r"edge_index\[0, 0\] is 9"):
        model(**inputs)


def test_calls_from_several_threads_give_the_same(artifact: Path) -> None:
    model = runtime.open(artifact, threads=1)
    graphs = [graph(5 + i, 12, seed=i) for i in range(4)]
    alone = [model(**inputs) for inputs in graphs]
    wrong: list[int] = []

    def work(i: int) -> None:
        for _ in range(50):
            if not np.array_equal(model(**graphs[i]), alone[i]):
                wrong.append(i)

    workers = [threading.Thread(target=work, args=(i,)) for i in range(len(graphs))]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert wrong == []


def test_settings_reach_the_session(artifact: Path) -> None:
    key = "session.set_denormal_as_zero"
    model = runtime.open(artifact, threads=2, spinning=False, session_options={key: "1"})
    options = model._loaded._parts[0].session.get_session_options()
    assert options.intra_op_num_threads == 2
    assert options.get_session_config_entry(key) == "1"
    with pytest.raises(UsageError, match="threads"):
        runtime.open(artifact, threads=-1)
    with pytest.raises(UsageError, match="refuses the session option"):
        runtime.open(artifact, session_options={"": "1"})
    with pytest.raises(UsageError, match="guard must be one of warn, error, off, not 'on'"):
        runtime.open(artifact, guard="on")


def test_guard_warns_refuses_or_keeps_quiet(work: Path) -> None:
    inputs = runtime.open("model-dq-int8").samples()[0].inputs
    far = {**inputs, "x": inputs["x"] * 1000}
    with pytest.warns(RangeWarning, match="beyond what was calibrated on"):
        runtime.open("model-dq-int8")(**far)
    with pytest.raises(DataError, match="beyond what was calibrated on"):
        runtime.open("model-dq-int8", guard="error")(**far)
    quiet = runtime.open("model-dq-int8", guard="off")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        quiet(**far)
    np.testing.assert_array_equal(quiet(**inputs), runtime.open("model-dq-int8")(**inputs))


def test_an_entry_point_that_is_not_there(artifact: Path) -> None:
    with pytest.raises(UsageError, match="it has only one"):
        runtime.open(artifact).entry("encode", **graph(4, 4))


def test_what_is_no_artifact(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError):
        runtime.open(tmp_path)


def test_zip_stays_open_as_long_as_the_model(artifact: Path, tmp_path: Path) -> None:
    import shutil

    archive = shutil.make_archive(str(tmp_path / "tiny"), "zip", artifact)
    model = runtime.open(archive)
    assert len(model.samples()) > 0
    inputs = graph(4, 6)
    np.testing.assert_allclose(model(**inputs), reference(inputs), atol=1e-5)


PROGRAM = """
import json, sys
import numpy as np
sys.path.insert(0, sys.argv[1] + "/run.pyz")
from edgegnn import runtime
assert "run.pyz" in runtime.__file__
model = runtime.open(sys.argv[1], threads=1)
logits = model(**model.samples()[0].inputs)
print(json.dumps([model.kernels, logits.tolist()]))
"""


@pytest.mark.skipif(native.library() is None, reason="the native library is not built")
def test_program_that_imports_the_runner_gets_the_kernels_beside_it(work: Path) -> None:
    made = work / "model-dq-int8"
    model = runtime.open(made, threads=1)
    assert model.kernels == "edgegnn"
    here = model(**model.samples()[0].inputs)
    environment = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "EDGEGNN_LIBRARY")}
    command = [sys.executable, "-c", PROGRAM, str(made)]
    run = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
    kernels, logits = json.loads(run.stdout)
    assert kernels == "edgegnn"
    np.testing.assert_array_equal(np.array(logits, np.float32), here)
    run = subprocess.run(
        command, capture_output=True, text=True, env={**environment, "EDGEGNN_LIBRARY": "none"}, check=True
    )
    assert json.loads(run.stdout)[0] == "onnxruntime"
    assert "EdgeGNNWarning" in run.stderr
    assert "EDGEGNN_LIBRARY is 'none'; unset it" in run.stderr


@pytest.mark.skipif(native.library() is None, reason="the native library is not built")
def test_library_that_is_named(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = work / "model-dq-int8"
    library = next((made / "native").glob("*.so"))
    monkeypatch.setenv("EDGEGNN_LIBRARY", "none")
    with pytest.warns(EdgeGNNWarning, match="many times slower"):
        assert runtime.open(made).kernels == "onnxruntime"
    assert runtime.open(made, library=library).kernels == "edgegnn"
    with pytest.raises(UsageError, match="is no library that loads here"):
        runtime.open(made, library=made / "model.onnx")
