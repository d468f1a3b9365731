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
from torch import nn
from torch_geometric.data import Data
from torch_geometric.nn import GINConv, global_add_pool

from edgegnn.checkpoint import Checkpoint
from edgegnn.errors import ArtifactError, DataError
from edgegnn.exporting.pipeline import export_checkpoint
from edgegnn.quantize import recipe
from edgegnn.runtime import RangeWarning, open_artifact, predict, verify
from edgegnn.runtime.ranges import RangePoint, over_range, parse_ranges
from edgegnn.tasks import task_from_graphs


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


def test_runner_warns_in_one_line_and_fails_with_guard(artifact: Path, tmp_path: Path):
    np.savez(tmp_path / "large.npz", **_inputs(400))
    command = [sys.executable, str(artifact / "run.pyz"), "predict", "--input", str(tmp_path / "large.npz")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=os.environ)
    assert (done.returncode, done.stderr.count("\n")) == (0, 1)
    assert done.stderr.startswith("edgegnn: warning: the graph is beyond")
    done = subprocess.run([*command, "--guard"], capture_output=True, text=True, timeout=60, env=os.environ)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)


def test_shares():
    point = RangePoint("codes", None, 255, 0.1)
    assert point.shares_of(np.array([[0, 255], [255, 3], [255, 255], [0, 0]], np.uint8)) == (0.5, 1.0)
    assert point.shares_of(np.zeros((0, 4), np.uint8)) == (0, 0)
    assert over_range([point], [(0.15, 0.2)]) == ""
    assert "50.0% of the values at codes" in over_range([point], [(0.5, 0.5)])


def test_a_hub_among_thousands_is_seen():
    values = np.zeros((4000, 8))
    values[7] = 1e3
    point = RangePoint("sums", -10.0, 10.0, 0.001, 0.125)
    assert "100.0% of a row at sums" in over_range([point], [point.shares_of(values)])


@pytest.mark.parametrize(
    "entry", [None, {}, {"tensor": "", "low": 0, "high": 1, "share": 0}, {"tensor": "a", "low": "0", "share": 0}]
)
def test_damaged_ranges(entry: object):
    with pytest.raises(ArtifactError, match=r"ranges\[0\]"):
        parse_ranges(json.loads(json.dumps({"ranges": [entry]})))
