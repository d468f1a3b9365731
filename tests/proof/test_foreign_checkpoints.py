"""Checkpoints as other programs write them, and data with fewer classes than the model."""

from __future__ import annotations

import sys

import pytest
import torch
from torch import nn
from torch_geometric.data import Data
from torch_geometric.nn import GCNConv

import edgegnn
from edgegnn.checkpoint import load_checkpoint
from edgegnn.errors import CheckpointError

FACTORY = f"{__name__}:build"


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.model = GCNConv(3, 5)  # an attribute that is called like a prefix
        self.net = nn.Linear(5, 5)

    def forward(self, x, edge_index):
        return self.net(self.model(x, edge_index).relu())


def build():
    return Model()


@pytest.fixture(autouse=True)
def importable(monkeypatch):
    monkeypatch.setitem(sys.modules, __name__, sys.modules[__name__])


def under(prefix, state):
    return {prefix + name: value for name, value in state.items()}


@pytest.mark.parametrize(
    "prefix", ["", "module.", "model.", "net.", "_orig_mod.", "module._orig_mod.", "model.module."]
)
@pytest.mark.parametrize("wrap", ["", "state_dict", "model_state_dict", "model"])
def test_prefixes_and_wrappers(tmp_path, prefix, wrap):
    state = Model().state_dict()
    saved = under(prefix, state)
    content = {wrap: saved, "epoch": 3, "hyper_parameters": {"lr": 0.1}} if wrap else saved
    torch.save(content, tmp_path / "m.pt")
    found = load_checkpoint(tmp_path / "m.pt", factory=FACTORY)
    assert all(torch.equal(value, state[name]) for name, value in found.model.state_dict().items())
    assert found.source.get("prefix", "") == prefix


def test_tensors_of_a_loss_are_left_out(tmp_path):
    state = under("model.", Model().state_dict()) | {"loss.weight": torch.ones(5)}
    torch.save({"state_dict": state}, tmp_path / "m.ckpt")
    assert load_checkpoint(tmp_path / "m.ckpt", factory=FACTORY).source["prefix"] == "model."


def test_a_state_of_another_module_is_refused(tmp_path):
    torch.save(under("module.", nn.Linear(3, 3).state_dict()), tmp_path / "m.pt")
    with pytest.raises(CheckpointError, match="does not fit"):
        load_checkpoint(tmp_path / "m.pt", factory=FACTORY)


@pytest.mark.filterwarnings("ignore")
def test_torchscript_is_called_so(tmp_path):
    torch.jit.save(torch.jit.script(nn.Linear(3, 3)), str(tmp_path / "m.pt"))
    for unsafe in (False, True):
        with pytest.raises(CheckpointError, match=r"TorchScript program.*state_dict"):
            load_checkpoint(tmp_path / "m.pt", unsafe_pickle=unsafe)


@pytest.mark.slow
def test_fewer_classes_in_the_data_than_the_model_has(tmp_path):
    torch.manual_seed(0)
    data = Data(x=torch.randn(60, 3), edge_index=torch.randint(60, (2, 200)), y=torch.arange(60) % 2)
    torch.save(data, tmp_path / "d.pt")
    torch.save(Model().state_dict(), tmp_path / "m.pt")
    made = edgegnn.export(tmp_path / "m.pt", factory=FACTORY, data=str(tmp_path / "d.pt"), output=str(tmp_path / "a"))
    assert made.manifest["metric"]["name"] == "accuracy"
    assert "roc_auc" not in made.manifest["metric"]
