"""Weights as other programs save them, each opened with --factory."""

from __future__ import annotations

import argparse
import pathlib
import sys
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from edgegnn.checkpoint import load_checkpoint
from edgegnn.checkpoint.foreign_names import without_prefix
from edgegnn.errors import CheckpointError

MODULE = """
import torch
class Net(torch.nn.Module):
    def __init__(self, width=4):
        super().__init__()
        self.first, self.last = torch.nn.Linear(3, width), torch.nn.Linear(width, 2)
    def forward(self, x, edge_index):
        return self.last(self.first(x))
"""


class AttributeDict(dict[str, Any]):
    """As PyTorch Lightning keeps hyperparameters."""


@pytest.fixture
def net(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    Path("someone_else.py").write_text(MODULE)
    import someone_else  # type: ignore[import-not-found]

    yield someone_else.Net
    sys.modules.pop("someone_else", None)


def _same(path: str, module: nn.Module, **options: Any) -> None:
    found = load_checkpoint(Path(path), factory="someone_else:Net", **options).model
    assert isinstance(found, nn.Module)
    for name, value in module.state_dict().items():
        assert torch.equal(found.state_dict()[name], value)


def test_lightning_with_objects_of_any_class(net: Any, caplog: pytest.LogCaptureFixture) -> None:
    module = net()
    state = OrderedDict((f"model.{key}", value) for key, value in module.state_dict().items())
    content = {
        "epoch": 3,
        "state_dict": state | {"loss.weight": torch.ones(2)},
        "hyper_parameters": AttributeDict(lr=0.1, options=argparse.Namespace(width=4), folder=pathlib.Path("/data")),
        "callbacks": {"ModelCheckpoint": {"best_model_score": np.float64(0.8), "run": print}},
        "optimizer_states": [{"state": {0: {"step": torch.tensor(1.0)}}}],
    }
    torch.save(content, "last.ckpt")
    _same("last.ckpt", module)
    assert "only its state_dict is read" in caplog.text
    assert "read without 'model.'" in caplog.text
    with pytest.raises(CheckpointError, match="bare state_dict: say how to build"):
        load_checkpoint(Path("last.ckpt"))


def test_a_state_beside_code_runs_none_of_it(net: Any, tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> Any:
            return Path.touch, (tmp_path / "ran",)

    torch.save({"state_dict": net().state_dict(), "bomb": Bomb()}, "bomb.ckpt")
    load_checkpoint(Path("bomb.ckpt"), factory="someone_else:Net")
    assert not (tmp_path / "ran").exists()


def test_safetensors(net: Any) -> None:
    from safetensors.torch import save_file

    module = net()
    save_file({f"_orig_mod.{key}": value for key, value in module.state_dict().items()}, "w.safetensors")
    _same("w.safetensors", module)
    Path("cut.safetensors").write_bytes(Path("w.safetensors").read_bytes()[:-9])
    with pytest.raises(CheckpointError, match="no safetensors file, or is damaged"):
        load_checkpoint(Path("cut.safetensors"), factory="someone_else:Net")


def test_names(net: Any) -> None:
    names = ["a.weight", "b.weight"]
    one, two = torch.zeros(1), torch.ones(1)
    assert without_prefix({"a._orig_mod.weight": one, "b.weight": two}, names)[1] == "_orig_mod."
    assert without_prefix({"net.a.module.weight": one, "net.b.weight": two}, names)[1] == "net."
    assert without_prefix({"weight": one}, ["model.net.weight"]) == ({"model.net.weight": one}, "+model.net.")
    assert without_prefix({"other": one}, names) == ({"other": one}, "")
    module = net()
    torch.save({"model": {"state_dict": {**module.state_dict(), "last._extra_state": None}, "step": 3}}, "deep.pt")
    _same("deep.pt", module)


def test_a_pickled_module_says_why_it_cant_be_opened(net: Any) -> None:
    torch.save(net(), "whole.pt")
    torch.save({"epoch": 1, "net": net()}, "inside.pt")
    with pytest.raises(CheckpointError, match="--unsafe-pickle"):
        load_checkpoint(Path("whole.pt"))
    for name in ("whole.pt", "inside.pt"):
        assert isinstance(load_checkpoint(Path(name), unsafe_pickle=True).model, net)
    sys.modules.pop("someone_else")
    Path("someone_else.py").rename("gone.py")
    with pytest.raises(CheckpointError, match="can't be imported here: No module named 'someone_else'; run in the"):
        load_checkpoint(Path("whole.pt"), unsafe_pickle=True)
