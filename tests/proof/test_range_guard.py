"""A graph far larger than any that was calibrated on: the answer is clipped, and says so."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from link_example import Recommender, social_graph
from torch import nn
from torch_geometric.data import Data
from torch_geometric.nn import GINConv, global_add_pool

from edgegnn.checkpoint import Checkpoint
from edgegnn.compression.compress import compress
from edgegnn.errors import ArtifactError, DataError
from edgegnn.exporting.pipeline import export_checkpoint
from edgegnn.quantize import recipe
from edgegnn.runtime import RangeWarning, bench, open_artifact, predict, verify
from edgegnn.runtime.benchmark import Plan
from edgegnn.runtime.extent import Extent, beyond_extent, extent_of, parse_extent
from edgegnn.runtime.inference import predict_entry
from edgegnn.runtime.ranges import RangePoint, over_range, parse_ranges
from edgegnn.tasks import task_from_graphs
from edgegnn.tasks.pair_models import as_pair_model
from edgegnn.training import FitConfig


class Sums(nn.Module):
    """Everything in it grows: a sum over neighbours, and a sum over nodes."""

    def __init__(self):
        super().__init__()
        self.conv = GINConv(nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 8)))
        self.head = nn.Linear(8, 1)

    def forward(self, x, edge_index, batch):
        return self.head(global_add_pool(self.conv(x, edge_index).relu(), batch))


def _graph(nodes: int, seed: int) -> Data:
    draw = torch.Generator().manual_seed(seed)
    hub = torch.stack([torch.arange(nodes), torch.zeros(nodes, dtype=torch.long)])
    return Data(x=torch.rand(nodes, 3, generator=draw), edge_index=hub, y=torch.rand(1, 1, generator=draw))


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    task = task_from_graphs([_graph(8 + i % 5, i) for i in range(30)], data="mine")
    path = tmp_path_factory.mktemp("guard") / "sums"
    export_checkpoint(Checkpoint(Sums().eval(), {}, task.spec), task, recipe("static-int8"), path)
    return path


def _inputs(nodes: int) -> dict[str, np.ndarray]:
    data = _graph(nodes, 77)
    return {"x": data.x.numpy(), "edge_index": data.edge_index.numpy(), "batch": np.zeros(nodes, np.int64)}


@pytest.mark.parametrize("library", ["", "none"])
def test_a_graph_that_saturates_is_named(artifact: Path, library: str, monkeypatch: pytest.MonkeyPatch):
    if library:
        monkeypatch.setenv("EDGEGNN_LIBRARY", library)
    predict(artifact, _inputs(10))  # warnings are errors here
    with pytest.warns(RangeWarning, match="beyond what was calibrated on"):
        predict(artifact, _inputs(400))
    with pytest.raises(DataError, match="beyond what was calibrated on"):
        predict(artifact, _inputs(400), guard=True)


def test_manifest_and_verify_say_how_full_the_ranges_are(artifact: Path):
    points = parse_ranges(open_artifact(artifact).manifest.raw)
    assert len(points) >= 2
    assert all(point.share <= 1 for point in points)
    report = verify(artifact)
    assert report.ok
    assert report.saturated is not None
    assert report.to_dict()["saturated"] <= 1
    plan = Plan(True, warmup_runs=1, warmup_seconds=0.0, runs=1, seconds=0.0)
    assert bench(artifact, plan=plan, energy="none", threads=1)["saturated"] == report.saturated


def test_runner_warns_in_one_line_and_fails_with_guard(artifact: Path, tmp_path: Path):
    np.savez(tmp_path / "large.npz", **_inputs(400))
    command = [sys.executable, str(artifact / "run.pyz"), "predict", "--input", str(tmp_path / "large.npz")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=os.environ)
    assert (done.returncode, done.stderr.count("\n")) == (0, 1)
    assert done.stderr.startswith("edgegnn: warning: the graph is beyond")
    done = subprocess.run([*command, "--guard"], capture_output=True, text=True, timeout=60, env=os.environ)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)


def test_codes_at_an_end():
    point = RangePoint("codes", None, 255, share=0.1)
    codes = np.array([[0, 255], [255, 3], [255, 255], [0, 0]], np.uint8)
    assert point.measure(codes) == (0.5, 1.0)
    wide = np.zeros((3, 8), np.uint8)
    wide[1, :6], wide[2, :2] = 255, (255, 1)
    assert point.measure(wide) == (7 / 24, 1.0)  # six of six codes that aren't zero; of two only one, of four at least
    assert RangePoint("codes", None, 255).measure(wide[2:])[1] == 0.25
    assert point.measure(np.zeros((0, 4), np.uint8)) == (0, 0)
    assert over_range([point], [(0.15, 0.2)]) == ""
    assert "50.0% of the values at codes" in over_range([point], [(0.5, 0.2)])


def test_what_a_row_loses():
    point = RangePoint("sums", -10.0, 10.0, share=0.001, row=0.1)
    assert point.measure(np.array([[3.0, 4.0], [0.0, 10.0]])) == (0.25, 0.0)
    assert point.measure(np.array([[0.0, -40.0]])) == (0.5, 0.75)
    assert RangePoint("sums", None, 10.0).measure(np.array([[0.0, -40.0]])) == (0, 0)  # below zero is a ReLU's
    values = np.zeros((4000, 8))
    values[7] = 1e3  # a hub among thousands
    assert "99.0% of a row at sums" in over_range([point], [point.measure(values)])
    assert over_range([point], [point.measure(values * 0.012)]) == ""


@pytest.mark.parametrize(
    "entry", [None, {}, {"tensor": "", "low": 0, "high": 1, "share": 0}, {"tensor": "a", "low": "0", "share": 0}]
)
def test_damaged_ranges(entry: object):
    with pytest.raises(ArtifactError, match=r"ranges\[0\]"):
        parse_ranges(json.loads(json.dumps({"ranges": [entry]})))


# Forms without points to look at ------------------------------------------------------------


KNOWN = Extent(40, 6, {"x": 2.0})


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (Extent(80, 12, {"x": 4.0}), ""),
        (Extent(81, 6, {"x": 1.0}), "81 nodes, 40 at most"),
        (Extent(1, 61, {"x": 1.0}), "61 edges at a node, 6 at most"),
        (Extent(82, 6, {"x": 9.0}), "9 in x, 2 at most"),
    ],
)
def test_sizes(found: Extent, said: str):
    assert (said in beyond_extent(KNOWN, found)) if said else beyond_extent(KNOWN, found) == ""


def test_extent_of_a_batch():
    inputs = {
        "x": np.array([[1.0], [-3.0], [2.0]], np.float32),
        "edge_index": np.array([[0, 0, 1], [1, 1, 0]]),
        "batch": np.array([0, 0, 1]),
    }
    assert extent_of(inputs) == Extent(2, 2, {"x": 3.0})
    assert extent_of({**inputs, "edge_index": np.zeros((2, 0), np.int64)}).degree == 0


@pytest.mark.parametrize("extent", [1, {}, {"nodes": -1, "degree": 1, "values": {}}, {"nodes": 1, "degree": 1}])
def test_damaged_extent(extent: object):
    with pytest.raises(ArtifactError, match="extent is no size"):
        parse_extent({"extent": extent})


@pytest.mark.slow
@pytest.mark.parametrize(("quant", "format"), [("a2q-groups", "onnx"), ("dq-int8", "torchscript")])
def test_every_form_has_a_guard(tmp_path: Path, quant: str, format: str):
    torch.manual_seed(0)
    task = task_from_graphs([_graph(8 + i % 5, i) for i in range(30)], data="mine")
    config = FitConfig(epochs=1, lr=1e-4)
    made = compress(Checkpoint(Sums().eval(), {}, task.spec), task, None, recipe(quant), config, config).checkpoint
    export_checkpoint(made, task, recipe(quant), tmp_path / "a", format=format, max_accuracy_drop=1000.0)
    assert verify(tmp_path / "a").saturated is None
    predict(tmp_path / "a", _inputs(10), guard=True)
    with pytest.warns(RangeWarning, match="400 nodes|400 edges at a node"):
        predict(tmp_path / "a", _inputs(400))


@pytest.mark.slow
def test_entry_points_have_a_guard(tmp_path: Path):
    task = task_from_graphs(social_graph(), data="mine", task="link-prediction")
    data = task.graphs[0]
    torch.manual_seed(0)
    made = Checkpoint(as_pair_model(Recommender(8)).eval(), {}, task.spec)
    export_checkpoint(made, task, recipe("static-int8"), tmp_path / "a", max_accuracy_drop=1000.0)
    artifact = open_artifact(tmp_path / "a")
    assert {point.file for point in parse_ranges(artifact.manifest.raw)} == {"model.onnx", "decoder.onnx"}
    graph = {"x": data.x.numpy(), "edge_index": data.edge_index.numpy()}
    pairs = {"edge_label_index": np.array([[0, 1], [2, 3]])}
    assert (verify(artifact).saturated or 0) > 0
    predict(artifact, {**graph, **pairs}, guard=True)
    (z,) = predict_entry(artifact, "encode", graph).values()
    predict_entry(artifact, "decode", {"z": z, **pairs}, guard=True)
    with pytest.raises(DataError, match="beyond what was calibrated on"):
        predict(artifact, {**graph, **pairs, "x": 20 * graph["x"]}, guard=True)
    with pytest.warns(RangeWarning, match="beyond what was calibrated on"):
        predict_entry(artifact, "decode", {"z": 20 * z, **pairs})
