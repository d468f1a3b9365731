"""What an artifact proves itself with: small, and with the answers of the whole graph where a part of it is shipped."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import torch_geometric.nn as gnn
from command_line import run as command
from torch import nn
from torch_geometric.data import Data

from edgegnn import api
from edgegnn.checkpoint import Checkpoint
from edgegnn.errors import UsageError
from edgegnn.exporting import shipped
from edgegnn.exporting.parity import torch_outputs
from edgegnn.exporting.samples import Sample
from edgegnn.runtime import open_artifact, verify
from edgegnn.runtime.samples import read_samples

NODES, FEATURES = 3000, 16


class Model(nn.Module):
    """Two layers; degrees make a GCN look one hop further than that."""

    def __init__(self, norm=None):
        super().__init__()
        self.first, self.norm, self.second = gnn.GCNConv(FEATURES, 8), norm, gnn.GCNConv(8, 3)

    def forward(self, x, edge_index):
        x = self.first(x, edge_index).relu()
        return self.second(x if self.norm is None else self.norm(x), edge_index)


def ring(nodes=NODES, seed=0):
    """Every node with an edge from each of the next three: far nodes are far away."""
    random = torch.Generator().manual_seed(seed)
    at = torch.arange(nodes).repeat(3)
    edges = torch.stack([(at + torch.arange(1, 4).repeat_interleave(nodes)) % nodes, at])
    x = torch.randn(nodes, FEATURES, generator=random)
    return Data(x=x, edge_index=edges, y=torch.arange(nodes) % 3)


def chosen(model, data, number=None, *, cut=True):
    mask = np.zeros(data.num_nodes, bool)
    mask[::4] = True
    inputs = {"x": data.x.numpy(), "edge_index": data.edge_index.numpy()}
    whole = Sample("ring", "data", inputs, data.y.numpy(), mask)
    (want,) = torch_outputs(model, [whole])
    return whole, want, shipped.choose(model, False, [whole], [want], number, cut=cut)


def test_a_part_gives_its_nodes_the_answers_of_the_whole_graph(monkeypatch):
    monkeypatch.setattr(shipped, "MOST_BYTES", 20_000)
    torch.manual_seed(0)
    whole, want, ship = chosen(Model().eval(), ring())
    (part,) = ship.samples
    assert (ship.cut, ship.hops, ship.of) == (True, 3, NODES // 4)
    assert 0 < ship.number == part.mask.sum() < ship.of
    assert len(part.inputs["x"]) < NODES / 4
    rows = {x.tobytes(): row for row, x in enumerate(whole.inputs["x"])}
    places = [rows[x.tobytes()] for x in part.inputs["x"]]
    np.testing.assert_allclose(ship.expected[0][part.mask], want[places][part.mask], atol=1e-5)
    assert np.abs(ship.expected[0] - want[places]).max() > 1e-3, "other nodes have lost neighbours"
    assert whole.mask[places][part.mask].all()
    np.testing.assert_array_equal(part.label, whole.label[places])


def test_a_graph_that_fits_is_taken_as_it_is():
    whole, _, ship = chosen(Model().eval(), ring(200))
    assert ship.samples == [whole]
    assert not ship.cut


@pytest.mark.parametrize("number", [1, 7])
def test_as_many_nodes_as_asked(number):
    torch.manual_seed(0)
    _, _, ship = chosen(Model().eval(), ring(), number)
    assert (ship.number, int(ship.samples[0].mask.sum()), ship.hops) == (number, number, 3)


def test_a_model_that_looks_at_the_whole_graph_has_a_part_with_answers_of_its_own(monkeypatch):
    monkeypatch.setattr(shipped, "MOST_BYTES", 20_000)
    torch.manual_seed(0)
    model = Model(gnn.GraphNorm(8)).eval()
    _, _, ship = chosen(model, ring())
    assert (ship.cut, ship.hops) == (True, None)
    assert shipped._packed(ship.samples[0]) < 25_000
    np.testing.assert_array_equal(ship.expected[0], torch_outputs(model, ship.samples)[0])


def test_a_model_for_one_graph_only_gets_that_graph():
    whole, _, ship = chosen(Model().eval(), ring(), 7, cut=False)
    assert ship.samples == [whole]


def test_graphs_up_to_the_bound_or_as_many_as_asked(monkeypatch):
    model = Model().eval()
    samples = [
        Sample(f"test/{i}", "data", {"x": g.x.numpy(), "edge_index": g.edge_index.numpy()}, np.array([0]))
        for i, g in enumerate(ring(40, seed) for seed in range(20))
    ]
    want = torch_outputs(model, samples)
    monkeypatch.setattr(shipped, "MOST_BYTES", 3.5 * shipped._packed(samples[0]))
    names = [[s.name for s in shipped.choose(model, True, samples, want, n, cut=True).samples] for n in (None, 12)]
    assert names == [["test/0", "test/1", "test/2"], [f"test/{i}" for i in range(12)]]


# Artifacts ------------------------------------------------------------


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shipped")
    torch.save(ring(), folder / "data.pt")
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("quant", ["none", "static-int8", "dq-int8"])
def test_the_artifact_proves_itself_with_the_part(place, quant):
    torch.manual_seed(0)
    checkpoint = Checkpoint(Model().eval(), {"factory": "models:build", "args": {}})
    options = {"data": str(place / "data.pt"), "settings": {"epochs": 1}, "force": True, "max_accuracy_drop": 100}
    manifest = api.export(checkpoint, quant=quant, output=place / "a", samples=20, **options).manifest
    assert manifest["samples_taken"] | {"of": 0} == {"unit": "nodes", "number": 20, "of": 0, "cut": True, "hops": 3}
    assert manifest["samples_metric"]["n"] == 20
    assert manifest["metric"]["n"] == manifest["samples_taken"]["of"]
    assert verify(place / "a").ok
    first = read_samples(open_artifact(place / "a"))[0]
    assert (first.origin, int(first.mask.sum())) == ("data", 20)
    assert len(first.inputs["x"]) < NODES / 5


def test_a_number_is_refused_where_only_the_whole_graph_will_do(place):
    checkpoint = Checkpoint(Model().eval(), {"factory": "models:build", "args": {}})
    options = {"data": str(place / "data.pt"), "output": place / "b", "constant_graph": True}
    with pytest.raises(UsageError, match="--samples takes a part of a graph"):
        api.export(checkpoint, samples=20, **options)
    assert not (place / "b").exists()


@pytest.mark.slow
def test_the_command_says_what_was_taken(place, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    source = f"import torch_geometric.nn as gnn\ndef build():\n    return gnn.GCN({FEATURES}, 8, 2, 3)\n"
    (tmp_path / "ring_models.py").write_text(source)
    torch.save(gnn.GCN(FEATURES, 8, 2, 3).state_dict(), "m.pt")
    options = ["--factory", "ring_models:build", "--data", place / "data.pt", "-o", "a", "--samples", 5]
    code, out, err = command(capsys, monkeypatch, "export", "m.pt", *options)
    assert code == 0, err
    said = " ".join(out.split())
    assert "5 of" in said
    assert "with 3 hops around them, which give the answers of the whole graph" in said
    assert json.loads(Path("a/manifest.json").read_text())["samples_taken"]["number"] == 5
