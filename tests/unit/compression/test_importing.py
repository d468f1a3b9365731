"""Weights from elsewhere become a model file that needs no description again."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch_geometric.data import Data

import edgegnn
from edgegnn.errors import CheckpointError, UsageError

MODULE = """
import torch
from torch_geometric.nn import SAGEConv
class Net(torch.nn.Module):
    def __init__(self, in_channels, out_channels, hidden=8):
        super().__init__()
        self.a, self.b = SAGEConv(in_channels, hidden), SAGEConv(hidden, out_channels)
    def forward(self, x, edge_index):
        return self.b(self.a(x, edge_index).relu(), edge_index)
"""


def test_a_model_file_names_factory_arguments_and_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("strangers.py").write_text(MODULE)
    torch.manual_seed(0)
    edges, labels = torch.randint(60, (2, 200)), torch.arange(60) % 3
    torch.save(Data(x=torch.randn(60, 4), edge_index=edges, y=labels), "data.pt")
    module: dict[str, Any] = {}
    exec(MODULE, module)
    net = module["Net"](4, 3, 16)
    torch.save({"state_dict": {f"net.{key}": value for key, value in net.state_dict().items()}}, "w.ckpt")
    how = {"factory": "strangers:Net", "factory_args": {"hidden": 16}, "data": "data.pt"}
    made = edgegnn.import_model("w.ckpt", "model.pt", **how)
    assert set(made.metrics) == {"val", "test"}
    with pytest.raises(UsageError, match="--force"):
        edgegnn.import_model("w.ckpt", "model.pt", **how)
    sys.modules.pop("strangers")
    with pytest.raises(CheckpointError, match="--allow-import"):
        edgegnn.load("model.pt")
    assert "strangers" not in sys.modules
    again = edgegnn.load("model.pt", allow_import=True)
    assert again.task is not None
    assert (again.task.data, again.source["args"]) == ("data.pt", {"hidden": 16})
    assert all(torch.equal(value, again.model.state_dict()[key]) for key, value in net.state_dict().items())
    with pytest.raises(CheckpointError, match="does not fit its module"):
        edgegnn.import_model("w.ckpt", **{**how, "factory_args": {}})
    assert not Path("other.pt").exists()
    sys.modules.pop("strangers", None)


def test_a_model_of_ones_own_is_trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("strangers.py").write_text(MODULE)
    generator = torch.Generator().manual_seed(0)
    x, edges = torch.randn(300, 4, generator=generator), torch.randint(300, (2, 400), generator=generator)
    labels = (x[:, 0] > 0).long()
    x[:, 0] *= 3
    torch.save(Data(x=x, edge_index=edges, y=labels), "data.pt")
    made = edgegnn.train(
        "strangers:Net", "data.pt", output="own.pt", factory_args={"hidden": 6}, settings={"epochs": 40}
    )
    assert made.source == {"factory": "strangers:Net", "args": {"hidden": 6}}
    assert (made.metrics["val"] or 0) > 0.7
    sys.modules.pop("strangers")
    with pytest.raises(CheckpointError, match="--allow-import"):
        edgegnn.load("own.pt")
    torch.save(Data(x=x, edge_index=edges, y=100 + 9 * x[:, :2]), "values.pt")
    values = edgegnn.train("strangers:Net", "values.pt", task="node-regression", settings={"epochs": 3})
    assert values.task is not None
    assert values.task.target == "values"
    for model, options, message in [
        ("strangers:Net", {"architecture": {"hidden": 3}}, "--hidden is for models of the zoo"),
        ("nowhere:Net", {}, "there is no module nowhere"),
        ("gcn", {"factory_args": {"hidden": 3}}, "gcn is of the zoo"),
    ]:
        with pytest.raises(UsageError, match=message):
            edgegnn.train(model, "data.pt", **options)
    sys.modules.pop("strangers", None)
