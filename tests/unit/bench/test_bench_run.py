"""A small task from its data to its results, on every runner of this machine."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from bench_example import TINY

from edgegnn.bench.files import read_task
from edgegnn.bench.prepare import Prepared, open_prepared, prepare
from edgegnn.bench.run import prepare_all, run
from edgegnn.bench.runners import choose_runners
from edgegnn.bench.tasks import BenchTask
from edgegnn.devices import load_target
from edgegnn.errors import EdgeGNNError


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    return prepare(TINY, tmp_path_factory.mktemp("prepared"))


@pytest.mark.slow
def test_other_runtimes_find_what_they_need(tiny: Prepared) -> None:
    facts = read_task(tiny.folder)
    assert open_prepared(TINY, tiny.folder.parent) == tiny
    session = onnxruntime.InferenceSession(str(tiny.folder / "model.onnx"), providers=["CPUExecutionProvider"])
    inputs, expected = np.load(tiny.folder / "inputs.npz"), np.load(tiny.folder / "expected.npz")
    right = 0
    for i in range(facts.graphs):
        graph = {tensor.name: inputs[f"{i:04d}.{tensor.name}"] for tensor in facts.inputs}
        (got,) = session.run(None, graph)
        np.testing.assert_allclose(got, expected[f"{i:04d}.expected"], atol=1e-4)
        right += int(got.argmax(1)[0] == expected[f"{i:04d}.label"][0])
    assert facts.fp32.value == pytest.approx(right / facts.graphs)
    assert "Start from either" in (tiny.folder / "README.md").read_text()


@pytest.mark.slow
def test_every_runner_measures_the_same_task(tiny: Prepared, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(Path(__file__).parents[2] / "support")  # where the user's runtime is
    names = ["edgegnn", "edgegnn-fp32", "onnxruntime", "eager", "c", "bench_example:open_model"]
    bundle = run([TINY], choose_runners(names), load_target("local"), folder=tiny.folder.parent, quick=True, threads=1)
    assert [row.reason for row in bundle.rows] == [""] * len(names)
    assert [row.runner for row in bundle.measured] == names
    assert all(row.valid for row in bundle.rows if row.runner != "edgegnn")
    runtimes = {row.runner: row.record.runtime for row in bundle.measured if row.record is not None}
    assert runtimes["eager"] == "torch eager"
    assert runtimes["c"] == "c"
    assert runtimes["bench_example:open_model"] == "bench_example:open_model"
    kernels = {row.runner: row.record.native_kernels for row in bundle.measured if row.record is not None}
    assert not kernels["onnxruntime"]


@pytest.mark.slow
def test_a_long_run_is_in_the_record(tiny: Prepared) -> None:
    bundle = run([TINY], choose_runners([]), load_target("local"), folder=tiny.folder.parent, quick=True, sustained=2.0)
    record = bundle.rows[0].record
    assert record is not None
    assert len(record.sustained) == 2
    assert record.sustained[-1].end_s >= 2.0


def test_a_task_that_fails_is_a_row_that_says_why(tmp_path: Path) -> None:
    broken = BenchTask("broken", "Graphs: none", "Nothing.", "nosuchmodel", "bench_example:rings")
    found = prepare_all([broken], tmp_path)
    assert isinstance(found["broken"], EdgeGNNError)
    assert list(tmp_path.iterdir()) == []
    bundle = run([broken], choose_runners(["edgegnn,eager"]), load_target("local"), folder=tmp_path)
    assert ["unknown model 'nosuchmodel'" in row.reason for row in bundle.rows] == [True, True]
    assert bundle.measured == []
