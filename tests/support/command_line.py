"""The command line as a user has it: `edgegnn` with its arguments, and a folder to be in."""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from made_once import made_once

from edgegnn.cli import start

if TYPE_CHECKING:
    from torch_geometric.data import Data

# A process of its own. Started by a job in the background, it would ignore Ctrl-C.
EDGEGNN = [
    sys.executable,
    "-c",
    "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
    "from edgegnn.cli.start import main; main()",
]
MODULE = """
import torch
from torch_geometric.nn import GATv2Conv, SAGEConv

class Mine(torch.nn.Module):
    "Two kinds of layers, a skip connection and a norm: nothing of the zoo."
    def __init__(self, i, o):
        super().__init__()
        self.inside = torch.nn.Linear(i, 12)
        self.one, self.two = SAGEConv(12, 12, aggr="mean"), GATv2Conv(12, 6, heads=2)
        self.norm, self.out = torch.nn.LayerNorm(12), torch.nn.Linear(12, o)
    def forward(self, x, edge_index):
        x = self.inside(x).relu()
        x = self.norm(x + self.one(x, edge_index).relu())
        return self.out(torch.nn.functional.elu(self.two(x, edge_index)))

class Odd(torch.nn.Module):
    def __init__(self, i, o):
        super().__init__()
        self.first = SAGEConv(i, 8)
        self.eigen = Eigen()
        self.out = torch.nn.Linear(8, o)
    def forward(self, x, edge_index):
        return self.out(self.eigen(self.first(x, edge_index)))

class Eigen(torch.nn.Module):
    def forward(self, x):
        return x @ torch.linalg.eigh(x.t() @ x + torch.eye(8)).eigenvectors

def build(in_channels, out_channels): return Mine(in_channels, out_channels)
def odd(in_channels, out_channels): return Odd(in_channels, out_channels)
"""


def run(capsys, monkeypatch, *args):
    """Exit code, stdout and stderr of `edgegnn ARGS`."""
    monkeypatch.setattr(sys, "argv", ["edgegnn", *map(str, args)])
    with pytest.raises(SystemExit) as exit_:
        start.main()
    out, err = capsys.readouterr()
    return exit_.value.code, out, err


def strict(text):
    """JSON without NaN and infinity."""

    def refuse(name):
        raise AssertionError(f"{name} in JSON")

    return json.loads(text, parse_constant=refuse)


def community_graph(seed: int = 0, n: int = 90) -> Data:
    """Three communities with noisy features: learnable in a few epochs."""
    import torch
    from torch_geometric.data import Data

    g = torch.Generator().manual_seed(seed)
    y = torch.arange(n) % 3
    x = torch.nn.functional.one_hot(y, 3).float().repeat(1, 3) + 0.5 * torch.randn(n, 9, generator=g)
    source = torch.randint(n, (5 * n,), generator=g)
    target = (source + 3 * torch.randint(1, n // 3, (5 * n,), generator=g)) % n
    masks = {f"{s}_mask": torch.arange(n) % 5 == i for i, s in enumerate(("test", "val"))}
    masks["train_mask"] = ~(masks["test_mask"] | masks["val_mask"])
    return Data(x=x, edge_index=torch.stack([source, target]), y=y, **masks)


@pytest.fixture(scope="session")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with data, a trained model, an artifact and a user's module; tests copy it."""
    return made_once(tmp_path_factory, "shop", _fill_shop)


def _fill_shop(folder: Path) -> None:
    import torch

    from edgegnn import api

    torch.save(community_graph(), folder / "data.pt")
    (folder / "mymodels.py").write_text(MODULE)
    here = Path.cwd()
    os.chdir(folder)
    try:
        api.train(
            "gcn",
            "data.pt",
            output="model.pt",
            architecture={"hidden": 8, "dropout": 0.2},
            settings={"epochs": 20},
            force=True,
        )
        api.export("model.pt", quant="dq-int8", settings={"epochs": 3}, force=True)
    finally:
        os.chdir(here)


@pytest.fixture
def work(shop, tmp_path, monkeypatch):
    folder = tmp_path / "work"
    shutil.copytree(shop, folder)
    monkeypatch.chdir(folder)
    yield folder
    sys.modules.pop("mymodels", None)


def files(folder):
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if "__pycache__" not in p.parts)
