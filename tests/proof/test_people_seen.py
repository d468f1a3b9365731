"""A model that its owner trained on most of the graphs: their accuracy is never that of a test without a word."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch
from command_line import run
from torch import nn
from torch_geometric.data import Batch, Data

from edgegnn import api
from edgegnn.compression.model_source import DataSource, ModelSource, open_model

CAVEAT = "split drawn here; the model may have seen these graphs"
OWNERS = """
from torch import nn
from torch_geometric.nn import GINConv, global_add_pool

class Owners(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = GINConv(nn.Sequential(nn.Linear(8, 64), nn.ReLU(), nn.Linear(64, 64)))
        self.head = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 2))
    def forward(self, x, edge_index, batch):
        return self.head(global_add_pool(self.conv(x, edge_index).relu(), batch))

def build(): return Owners()
"""
TRAINED = 80


@pytest.fixture(scope="module")
def owners(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, float]:
    """Folder with weights, random graphs and the owner's split of them; and the owner's accuracy on the test graphs."""
    folder = tmp_path_factory.mktemp("owners")
    (folder / "owners.py").write_text(OWNERS)
    sys.path.insert(0, str(folder))
    try:
        from owners import build
    finally:
        sys.path.remove(str(folder))
    torch.manual_seed(0)
    graphs = [
        Data(x=torch.randn(12, 8), edge_index=torch.randint(12, (2, 30)), y=torch.randint(2, (1,))) for _ in range(100)
    ]
    model, batch = build(), Batch.from_data_list(graphs[:TRAINED])
    optimizer = torch.optim.Adam(model.parameters(), 0.005)
    for _ in range(200):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(batch.x, batch.edge_index, batch.batch), batch.y).backward()
        optimizer.step()
    rest = Batch.from_data_list(graphs[TRAINED:])
    accuracy = float((model.eval()(rest.x, rest.edge_index, rest.batch).argmax(1) == rest.y).float().mean())
    torch.save(model.state_dict(), folder / "weights.pt")
    torch.save(graphs, folder / "data.pt")
    parts = {"train": list(range(TRAINED)), "test": list(range(TRAINED, 100))}
    (folder / "split.json").write_text(json.dumps(parts))
    return folder, accuracy


@pytest.mark.slow
def test_a_drawn_split_is_named_wherever_the_accuracy_appears(owners, tmp_path, capsys, monkeypatch):
    folder, accuracy = owners
    monkeypatch.chdir(folder)
    source = ("weights.pt", "--factory", "owners:build", "--data", "data.pt", "--quant", "none")
    code, out, _ = run(capsys, monkeypatch, "export", *source, "-o", tmp_path / "drawn")
    assert code == 0
    assert CAVEAT in out
    metric = json.loads((tmp_path / "drawn" / "manifest.json").read_text())["metric"]
    assert metric["caveat"] == CAVEAT
    assert metric["artifact"] > accuracy + 0.2  # most of these graphs were trained on
    _, out, _ = run(capsys, monkeypatch, "inspect", tmp_path / "drawn")
    assert " ".join(out.split()).count(CAVEAT) == 2
    _, out, _ = run(capsys, monkeypatch, "profile", "--quick", tmp_path / "drawn", "-o", tmp_path / "profiles")
    assert f"accuracy: {CAVEAT}" in " ".join(out.split())
    record = next((tmp_path / "profiles").rglob("drawn.json"))
    assert json.loads(record.read_text())["metric_caveat"] == CAVEAT
    code, out, _ = run(capsys, monkeypatch, "report", record, "-o", tmp_path / "report.html")
    assert CAVEAT in (tmp_path / "report.html").read_text()


@pytest.mark.slow
def test_the_owners_split_gives_the_owners_accuracy(owners, tmp_path, capsys, monkeypatch):
    folder, accuracy = owners
    monkeypatch.chdir(folder)
    source = ("weights.pt", "--factory", "owners:build", "--data", "data.pt", "--quant", "none")
    code, out, _ = run(capsys, monkeypatch, "export", *source, "--split-file", "split.json", "-o", tmp_path / "given")
    assert code == 0
    assert "drawn here" not in out
    metric = json.loads((tmp_path / "given" / "manifest.json").read_text())["metric"]
    assert (metric["artifact"], metric["n"], metric["caveat"]) == (pytest.approx(accuracy), 20, "")
    code, _, err = run(capsys, monkeypatch, "export", *source, "--split-file", "split.json", "--split", "random")
    assert (code, err) == (2, "edgegnn: --split and --split-file both name a split: give one of them\n")


@pytest.mark.slow
def test_compressing_a_model_does_not_make_its_split_ours(owners, tmp_path, monkeypatch):
    folder, _ = owners
    monkeypatch.chdir(folder)
    compressed = api.compress(
        "weights.pt",
        prune="global",
        sparsity=0.5,
        finetune=False,
        output=tmp_path / "small.pt",
        data="data.pt",
        factory="owners:build",
    )
    assert compressed.row["caveat"] == CAVEAT
    assert open_model(tmp_path / "small.pt", ModelSource(allow_import=True))[1].caveat == CAVEAT
    assert CAVEAT in api.load(tmp_path / "small.pt", allow_import=True).history[-1]["caveat"]


@pytest.mark.slow
def test_a_model_trained_here_by_the_same_split_says_nothing(owners, tmp_path, monkeypatch):
    folder, _ = owners
    monkeypatch.chdir(folder)
    api.train("gin", "data.pt", output=tmp_path / "model.pt", settings={"epochs": 1}, architecture={"hidden": 4})
    assert open_model(tmp_path / "model.pt")[1].caveat == ""
    assert open_model(tmp_path / "model.pt", data=DataSource("data.pt"))[1].caveat == ""
    assert open_model(tmp_path / "model.pt", data=DataSource("data.pt", split_seed=1))[1].caveat == CAVEAT
