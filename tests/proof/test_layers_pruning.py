"""Layers without an adapter are left whole and named; a wrong cut is found on any graph; nothing takes for ever."""

from __future__ import annotations

import copy

import pytest
import torch
import torch_geometric.nn as gnn
from torch import nn

from edgegnn.errors import PruneError
from edgegnn.prune import structured
from edgegnn.prune.equality import _alike, misunderstood
from edgegnn.prune.groups import Clock, channel_groups
from edgegnn.prune.structured import cut_channels, prune_structured

FEATURES, HIDDEN, NODES = 12, 32, 20
DEGREES = torch.tensor([1, 4, 6, 3, 2, 3, 4, 5])


class Between(nn.Module):
    """A layer between two that can be cut."""

    def __init__(self, middle, typed=False):
        super().__init__()
        self.first, self.middle, self.typed = gnn.GCNConv(FEATURES, HIDDEN), middle, typed
        self.last, self.head = gnn.GCNConv(HIDDEN, HIDDEN), nn.Linear(HIDDEN, 5)

    def forward(self, x, edge_index, edge_type=None):
        x = self.first(x, edge_index).relu()
        x = self.middle(x, edge_index, edge_type) if self.typed else self.middle(x, edge_index)
        return self.head(self.last(x.relu(), edge_index).relu())


class Recurrent(nn.Module):
    """Two recurrent layers between two that can be cut."""

    def __init__(self):
        super().__init__()
        self.first, self.gru = gnn.GCNConv(FEATURES, HIDDEN), nn.GRU(HIDDEN, HIDDEN, batch_first=True)
        self.cell, self.wide, self.head = nn.LSTMCell(HIDDEN, HIDDEN), nn.Linear(HIDDEN, 24), nn.Linear(24, 5)

    def forward(self, x, edge_index):
        x = self.first(x, edge_index).relu()
        steps, _ = self.gru(torch.stack([x, 2 * x], dim=1))
        hidden, _ = self.cell(steps[:, -1], (x, x))
        return self.head(self.wide(hidden).relu())


# Name -> the model, and the layers that keep all their channels.
MODELS = {
    "GatedGraphConv": (lambda: Between(gnn.GatedGraphConv(HIDDEN, 2)), {"middle (GatedGraphConv)"}),
    "RGCNConv": (lambda: Between(gnn.RGCNConv(HIDDEN, HIDDEN, 3), typed=True), {"middle (RGCNConv)"}),
    "ARMAConv": (lambda: Between(gnn.ARMAConv(HIDDEN, HIDDEN, 2, 2)), {"middle (ARMAConv)"}),
    "recurrent": (Recurrent, {"gru (GRU)", "cell (LSTMCell)"}),
    "PNAConv": (
        lambda: Between(gnn.PNAConv(HIDDEN, HIDDEN, ["mean", "std"], ["identity", "linear"], DEGREES, towers=2)),
        {"first.lin (Linear)"},
    ),
    "EGConv": (
        lambda: Between(gnn.EGConv(HIDDEN, HIDDEN)),
        {"middle.bases_lin (Linear)", "middle.comb_lin (Linear)"},
    ),
    "ResGatedGraphConv": (lambda: Between(gnn.ResGatedGraphConv(HIDDEN, HIDDEN)), set()),
}


def graph(model):
    gen = torch.Generator().manual_seed(0)
    inputs = {
        "x": torch.randn(NODES, FEATURES, generator=gen),
        "edge_index": torch.randint(NODES, (2, 60), generator=gen),
    }
    if getattr(model, "typed", False):
        inputs["edge_type"] = torch.randint(3, (60,), generator=gen)
    return inputs


@pytest.mark.parametrize("name", MODELS)
def test_what_cannot_be_cut_is_left_whole_and_named(name):
    torch.manual_seed(0)
    make, whole = MODELS[name]
    model = make().eval()
    inputs, before = graph(model), copy.deepcopy(model.state_dict())
    found = prune_structured(model, inputs, 0.5)
    assert set(found.whole) == set(found.facts()["whole"]) == whole
    assert found.channels
    assert 0.4 <= found.achieved <= 0.6
    assert found.model(**inputs).shape == (NODES, 5)
    for path in (layer.partition(" ")[0] for layer in whole):
        own = found.model.get_submodule(path)
        assert [p.shape[:1] for p in own.parameters()] == [p.shape[:1] for p in model.get_submodule(path).parameters()]
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


class Hidden(nn.Module):
    """Channels count by their position, which features of almost zero hide."""

    def __init__(self):
        super().__init__()
        self.lift, self.head = nn.Linear(FEATURES, HIDDEN), nn.Linear(HIDDEN, 5)

    def forward(self, x, edge_index):
        h = self.lift(x)
        return 100 + self.head(h * (1 + x.detach().abs().sum() * torch.arange(h.shape[-1])))


def test_features_of_almost_zero_and_a_large_offset_hide_nothing():
    torch.manual_seed(0)
    model = Hidden().eval()
    inputs = {"x": torch.ones(4, FEATURES) * 1e-6, "edge_index": torch.zeros(2, 0, dtype=torch.long)}
    with pytest.raises(PruneError, match=r"no channels can go: lift \(Linear\): .*computes something else"):
        prune_structured(model, inputs, 0.5)


def test_outputs_are_compared_by_how_far_they_spread():
    far = torch.tensor([[1000.0], [1000.2]], dtype=torch.float64)
    assert _alike(far, far + 1e-4)
    assert not _alike(far, far + torch.tensor([[0.0], [0.1]], dtype=torch.float64))


def test_a_cut_that_is_wrong_is_told():
    torch.manual_seed(0)
    model = Between(gnn.SAGEConv(HIDDEN, HIDDEN)).eval()
    inputs = graph(model)
    groups, _ = channel_groups(model, inputs)
    gone = [torch.arange(group.channels) % 2 == 0 for group in groups]

    def other_channels(pruned, own, going):
        cut_channels(pruned, own, [~channels for channels in going])

    assert misunderstood(model, inputs, groups, gone, cut_channels, Clock()) == {}
    wrong = misunderstood(model, inputs, groups, gone, other_channels, Clock())
    assert wrong == {group.name: "it computes something else" for group in groups}


def test_the_search_ends_in_time(monkeypatch):
    model = Between(gnn.SAGEConv(HIDDEN, HIDDEN)).eval()
    monkeypatch.setattr(structured, "Clock", lambda: Clock(seconds=0.0))
    with pytest.raises(PruneError, match="did not find this model's channels within 0 seconds: use --prune global"):
        prune_structured(model, graph(model), 0.5)
