"""A model that is random in eval mode can't be proved: it is refused, and the layer and line that draw are named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch_geometric.nn as gnn
from torch import nn
from torch_geometric.data import Data
from torch_geometric.utils import dropout_edge

from edgegnn import api
from edgegnn.checkpoint import Checkpoint
from edgegnn.errors import ExportError
from edgegnn.exporting.randomness import check_repeats

X, EDGES = torch.randn(30, 8, generator=torch.Generator().manual_seed(0)), torch.arange(90).view(2, 45) % 30


class Noise(nn.Module):
    def forward(self, x):
        return x + torch.randn(x.shape)


class Model(nn.Module):
    """Two convolutions, and between them what makes the model random."""

    def __init__(self, kind):
        super().__init__()
        self.kind, self.runs = kind, 0
        self.first, self.last = gnn.GCNConv(8, 16), gnn.GCNConv(16, 3)
        self.drop, self.noise, self.gat = nn.Dropout(0.5), Noise(), gnn.GATConv(16, 16, dropout=0.5)

    def forward(self, x, edge_index):
        if self.kind == "edges":
            edge_index, _ = dropout_edge(edge_index, 0.5)
        x = self.first(x, edge_index).relu()
        x = x + 0 * torch.rand_like(x)  # draws, and changes nothing
        if self.kind == "function":
            x = nn.functional.dropout(x, 0.5)
        if self.kind == "module":
            x = self.drop.train()(x)
        if self.kind == "attention":
            x = self.gat.train()(x, edge_index)
        if self.kind == "layer":
            x = self.noise(x)
        if self.kind == "numpy":
            x = x * float(np.random.rand())
        if self.kind == "state":
            self.runs += 1
            x = x * self.runs
        return self.last(x, edge_index)


def message(model, args=None):
    with pytest.raises(ExportError) as caught:
        check_repeats(model, args or {"x": X, "edge_index": EDGES})
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("kind", "layer", "function", "cure"),
    [
        ("function", "the model (Model)", "dropout (test_random_models.py:", "pass training=self.training"),
        ("edges", "the model (Model)", "dropout_edge (test_random_models.py:", "pass training=self.training"),
        ("module", "drop (Dropout)", "dropout (test_random_models.py:", "pass training=self.training"),
        ("attention", "gat (GATConv)", "dropout (test_random_models.py:", "pass training=self.training"),
        ("layer", "noise (Noise)", "randn (test_random_models.py:", "draw only where self.training is set"),
    ],
)
def test_the_call_that_draws_is_named(kind, layer, function, cure):
    found = message(Model(kind))
    assert found.startswith(f"{layer} is random in eval mode: {function}")
    assert found.endswith(cure)


@pytest.mark.parametrize("kind", ["numpy", "state"])
def test_without_a_call_of_torch_it_says_what_it_may_be(kind):
    assert message(Model(kind)).startswith("the model (Model) gives other outputs when it runs again")


def test_the_line_is_that_of_the_call():
    source = Path(__file__).read_text(encoding="utf-8").splitlines()
    number = int(message(Model("function")).split("test_random_models.py:")[1].split(")")[0])
    assert "nn.functional.dropout(x, 0.5)" in source[number - 1]


def test_randomness_that_changes_nothing_is_no_error_and_moves_nobodys_random_numbers():
    model = Model("nothing")
    before = torch.get_rng_state(), np.random.get_state()[1].copy()
    check_repeats(model, {"x": X, "edge_index": EDGES})
    assert torch.equal(torch.get_rng_state(), before[0])
    assert (np.random.get_state()[1] == before[1]).all()


@pytest.mark.parametrize(("kind", "function"), [("function", "dropout"), ("layer", "randn"), ("edges", "rand")])
def test_a_program_is_asked_too(kind, function):
    sizes = {0: torch.export.Dim("n", min=2, max=999)}, {1: torch.export.Dim("e", min=2, max=999)}
    program = torch.export.export(Model(kind).eval(), (X, EDGES), dynamic_shapes=sizes, strict=False)
    found = message(program)
    assert f"is random in eval mode: {function} (test_random_models.py:" in found
    assert "call model.eval() before torch.export" in found


@pytest.mark.parametrize("quant", [None, "dq-int8"])
def test_export_refuses_it_before_anything_is_trained_or_written(tmp_path, quant):
    torch.save(Data(x=3 * X, edge_index=EDGES, y=torch.arange(30) % 3), tmp_path / "data.pt")
    checkpoint = Checkpoint(Model("function"), {"factory": "models:build", "args": {}})
    epochs = []
    with pytest.raises(ExportError, match=r"dropout .* gives other outputs each time"):
        api.export(
            checkpoint,
            quant=quant,
            data=str(tmp_path / "data.pt"),
            output=tmp_path / "artifact",
            progress=epochs.append,
        )
    assert not epochs
    assert not (tmp_path / "artifact").exists()
