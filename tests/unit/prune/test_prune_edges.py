"""Edge pruning: masks on one fixed graph, the cut, and the pruned graph in checkpoints and artifacts."""

from __future__ import annotations

import copy
import json

import prune_layers as never_seen
import pytest
import torch
import torch_geometric.nn as pyg
from torch import nn
from torch_geometric.data import Data

from edgegnn import api
from edgegnn.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from edgegnn.compression.compress import prune
from edgegnn.compression.plan import PrunePlan
from edgegnn.errors import CheckpointError, DataError, PruneError, UsageError
from edgegnn.exporting.pipeline import export_checkpoint
from edgegnn.models import build
from edgegnn.prune.edges import (
    _Masked,
    _pairs,
    cut_edges,
    describe_pruning,
    edges_to_cut,
    learn_edges,
    pack_edges,
    without_edges,
)
from edgegnn.prune.masks import masks_of
from edgegnn.quantize import recipe
from edgegnn.runtime import verify
from edgegnn.tasks import Task, TaskSpec
from edgegnn.training import FitConfig

CONFIG = FitConfig(epochs=4, lr=0.01)
NODES = 40


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def task_of(edge_index, classes=3, **more):
    """A node task whose label is the sign pattern of the features."""
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(NODES, never_seen.FEATURES, generator=generator)
    y = x[:, :classes].argmax(1)
    parts = torch.randperm(NODES, generator=generator).split([20, 10, 10])
    spec = TaskSpec("small", "node", "given", 0, "accuracy", never_seen.FEATURES, classes, {})
    data = Data(x=x, edge_index=edge_index, y=y, **more)
    return Task(spec, [data], dict(zip(("train", "val", "test"), parts, strict=True)))


def undirected(pairs=60):
    generator = torch.Generator().manual_seed(2)
    a, b = torch.randint(NODES, (2, pairs), generator=generator)
    keep = a != b
    both = torch.stack([torch.cat([a[keep], b[keep]]), torch.cat([b[keep], a[keep]])])
    return both.unique(dim=1)


def directed(edges=100):
    generator = torch.Generator().manual_seed(3)
    a, b = torch.randint(NODES, (2, edges), generator=generator)
    return torch.stack([a, b])[:, a != b]


def models():
    h, f = 16, never_seen.FEATURES
    return {
        "gcn": never_seen.Two(pyg.GCNConv(f, h), pyg.GCNConv(h, 3)),
        "gcn-cached": never_seen.Two(pyg.GCNConv(f, h, cached=True), pyg.GCNConv(h, 3, cached=True)),
        "gat": never_seen.Two(pyg.GATConv(f, h, heads=2), pyg.GATv2Conv(2 * h, 3)),
        "sage": never_seen.Two(pyg.SAGEConv(f, h), pyg.SAGEConv(h, 3, aggr="max")),
        "gin": never_seen.Two(pyg.GINConv(never_seen.mlp(f, h)), pyg.GINConv(nn.Linear(h, 3))),
        "transformer": never_seen.Two(pyg.TransformerConv(f, h), pyg.GraphConv(h, 3)),
        "own": never_seen.Two(never_seen.OwnWeight(f, h), never_seen.OwnWeight(h, 3)),
    }


@pytest.mark.parametrize("name", sorted(models()))
def test_masks_of_one_change_nothing_and_masks_of_zero_cut(name):
    model = models()[name].eval()
    graph = task_of(undirected()).graphs[0]
    whole = model(graph.x, graph.edge_index)
    work = copy.deepcopy(model)
    for module in work.modules():
        if getattr(module, "cached", False):
            module.cached, module._cached_edge_index = False, None
    masked = _Masked(work, graph.edge_index, _pairs(graph.edge_index), NODES, 0).eval()
    with torch.no_grad():
        masked.masks.fill_(1.0)
        torch.testing.assert_close(masked(graph.x, graph.edge_index), whole)
        gone = torch.arange(len(masked.masks)) % 3 == 0
        masked.masks[gone] = 0.0
        out = masked(graph.x, graph.edge_index)
        keep = ~gone[_pairs(graph.edge_index)]
        fresh = copy.deepcopy(model)
        for module in fresh.modules():
            if hasattr(module, "_cached_edge_index"):
                module._cached_edge_index = None
        cut = fresh(graph.x, graph.edge_index[:, keep])
    if name in ("gcn", "gcn-cached", "gin", "own"):  # means, maxima and softmaxes count an edge of zero
        torch.testing.assert_close(out, cut)
    else:
        assert not torch.allclose(out, whole)


@pytest.mark.parametrize("name", sorted(models()))
def test_every_model_learns_which_edges_go(name):
    model = models()[name]
    task = task_of(undirected())
    graph = task.graphs[0]
    edges = graph.edge_index.shape[1]
    before = copy.deepcopy(model.state_dict())
    keep, result = learn_edges(model, task, 20, CONFIG)
    assert (keep.dtype, keep.shape, int((~keep).sum())) == (torch.bool, (edges,), 20)
    assert result.epochs_run == CONFIG.epochs
    assert any(not torch.equal(v, before[k]) for k, v in model.state_dict().items())  # weights learn too
    assert model.state_dict().keys() == before.keys()
    assert not any(m._forward_pre_hooks or getattr(m, "_message_forward_hooks", {}) for m in model.modules())
    assert model(cut_edges(task, keep).graphs[0].x, graph.edge_index[:, keep]).shape == (NODES, 3)


def test_both_directions_go_together():
    task = task_of(undirected())
    keep, _ = learn_edges(models()["gcn"], task, 21, CONFIG)
    a, b = task.graphs[0].edge_index[:, ~keep]
    assert {(int(i), int(j)) for i, j in zip(a, b, strict=True)} == {
        (int(j), int(i)) for i, j in zip(a, b, strict=True)
    }
    assert len(a) == 20  # one more would have to leave without its opposite


def test_directed_edges_go_one_by_one():
    task = task_of(directed())
    keep, _ = learn_edges(models()["gcn"], task, 21, CONFIG)
    assert int((~keep).sum()) == 21
    assert int(_pairs(task.graphs[0].edge_index).max()) + 1 == task.graphs[0].edge_index.unique(dim=1).shape[1]


def test_self_loops_stay():
    loops = torch.arange(NODES).repeat(2, 1)
    task = task_of(torch.cat([loops, undirected()], dim=1))
    whole = task.graphs[0].edge_index.shape[1]
    for name in ("gcn", "gat"):
        keep, _ = learn_edges(models()[name], task, whole - NODES, CONFIG)
        assert torch.equal(task.graphs[0].edge_index[:, keep], loops)
    with pytest.raises(PruneError, match=r"edges can't go: the graph has \d+, without self loops"):
        learn_edges(models()["gcn"], task, whole - NODES + 1, CONFIG)


def test_edges_that_mislead_go_first():
    """Edges within a class help a GCN whose features are noise, edges between classes harm it."""
    generator = torch.Generator().manual_seed(4)
    y = torch.arange(NODES) % 2
    a, b = torch.randint(NODES, (2, 400), generator=generator)
    a, b = torch.stack([a, b])[:, a != b]
    edge_index = torch.stack([torch.cat([a, b]), torch.cat([b, a])]).unique(dim=1)
    task = task_of(edge_index, classes=2)
    task.graphs[0].y = y
    task.graphs[0].x = torch.nn.functional.one_hot(y, never_seen.FEATURES).float()
    task = Task(task.spec, task.graphs, {k: torch.arange(NODES) for k in ("train", "val", "test")})
    model = never_seen.Two(pyg.GCNConv(never_seen.FEATURES, 8), pyg.GCNConv(8, 2))
    bad = y[edge_index[0]] != y[edge_index[1]]
    keep, _ = learn_edges(model, task, int(bad.sum()) // 2, FitConfig(epochs=60, lr=0.01))
    assert float(bad[~keep].float().mean()) > float(bad.float().mean()) + 0.2


def test_edge_features_are_cut_with_their_edges():
    edge_index = undirected()
    weight, attr = torch.rand(edge_index.shape[1]), torch.rand(edge_index.shape[1], 2)
    keep = torch.arange(edge_index.shape[1]) % 2 == 0
    task = task_of(edge_index, edge_weight=weight, edge_attr=attr)
    small = cut_edges(task, keep).graphs[0]
    assert torch.equal(small.edge_index, edge_index[:, keep])
    assert torch.equal(small.edge_weight, weight[keep])
    assert torch.equal(small.edge_attr, attr[keep])
    assert task.graphs[0].edge_index.shape[1] == 2 * small.edge_index.shape[1]


def test_given_edge_weights_are_weighted():
    class Weighted(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = pyg.GCNConv(never_seen.FEATURES, 3)

        def forward(self, x, edge_index, edge_weight):
            return self.conv(x, edge_index, edge_weight)

    edge_index = undirected()
    weight = torch.rand(edge_index.shape[1]) + 0.5
    model = Weighted().eval()
    masked = _Masked(copy.deepcopy(model), edge_index, _pairs(edge_index), NODES, 0).eval()
    x = torch.randn(NODES, never_seen.FEATURES)
    with torch.no_grad():
        masked.masks.fill_(0.5)
        torch.testing.assert_close(masked(x, edge_index, weight), model(x, edge_index, weight / 2))
    keep, _ = learn_edges(model, task_of(edge_index, edge_weight=weight), 10, CONFIG)
    assert int((~keep).sum()) == 10


def test_pruned_weights_stay_pruned():
    model = models()["gcn"]
    with torch.no_grad():
        model.first.lin.weight[:8] = 0
    learn_edges(model, task_of(undirected()), 10, CONFIG, masks=masks_of(model, ["first.lin.weight"]))
    assert int(model.first.lin.weight[:8].count_nonzero()) == 0
    assert int(model.first.lin.weight[8:].count_nonzero()) > 0


# In the checkpoint ------------------------------------------------------------


def test_packed_edges_round_trip_and_shrink_again():
    task = task_of(directed())
    edges = task.graphs[0].edge_index.shape[1]
    keep = torch.rand(edges) > 0.3
    packed = pack_edges(task, keep)
    assert packed["kept"].numel() == -(-edges // 8)
    smaller = without_edges(task, packed)
    assert torch.equal(smaller.graphs[0].edge_index, task.graphs[0].edge_index[:, keep])
    again = torch.rand(int(keep.sum())) > 0.5
    twice = pack_edges(smaller, again, packed)
    assert twice["edges"] == edges
    assert twice["left"] == int(again.sum())
    assert torch.equal(without_edges(task, twice).graphs[0].edge_index, smaller.graphs[0].edge_index[:, again])
    assert json.dumps(describe_pruning({"method": "edges", "edges": twice}))
    assert describe_pruning(None) is None


def test_how_many_edges_go():
    assert edges_to_cut(100, 0.2, None) == 20
    assert edges_to_cut(80, 0.3, {"edges": 100}) == 10
    with pytest.raises(PruneError, match="20 of 100 edges are gone already"):
        edges_to_cut(80, 0.1, {"edges": 100})
    with pytest.raises(UsageError):
        edges_to_cut(100, 1.0, None)


def test_another_graph_is_refused():
    task = task_of(directed())
    packed = pack_edges(task, torch.ones(task.graphs[0].edge_index.shape[1], dtype=torch.bool))
    other = task_of(task.graphs[0].edge_index.flip(0))  # as many nodes and edges
    with pytest.raises(DataError, match="another one"):
        without_edges(other, packed)
    with pytest.raises(DataError, match="another one"):
        without_edges(task_of(undirected()), packed)


@pytest.mark.parametrize(
    "damage",
    [
        {"kept": None},
        {"kept": torch.zeros(3, dtype=torch.uint8)},
        {"kept": torch.zeros(13)},
        {"edges": 10**15},
        {"edges": -1},
        {"edges": True},
        {"left": 0},
        {"sha256": 7},
        {"nodes": "many"},
    ],
)
def test_damaged_edges(damage):
    task = task_of(directed())
    packed = pack_edges(task, torch.ones(task.graphs[0].edge_index.shape[1], dtype=torch.bool)) | damage
    with pytest.raises(CheckpointError, match="damaged"):
        without_edges(task, packed)


@pytest.mark.parametrize("edges", [7, [], {}, "x"])
def test_edges_of_another_type(edges):
    with pytest.raises(CheckpointError, match="damaged"):
        without_edges(task_of(directed()), edges)


@pytest.mark.slow
@pytest.mark.parametrize("constant", [False, True])
def test_artifact_has_the_pruned_graph(constant, tmp_path):
    task = task_of(undirected())
    args = {"in_channels": never_seen.FEATURES, "out_channels": 3, "hidden": 8, "layers": 2, "kind": "node"}
    plan = PrunePlan("edges", 0.3)
    done = prune(build("gcn", **args), task, plan, CONFIG)
    before, after = done.facts["message_adds"]["before"], done.facts["message_adds"]["after"]
    assert after < before
    assert done.facts["achieved"] == pytest.approx(0.3, abs=0.02)
    path = tmp_path / "small.pt"
    save_checkpoint(Checkpoint(done.model, {"zoo": "gcn", "args": args}, task.spec, pruning=done.facts), path)
    loaded = load_checkpoint(path)
    pruned = without_edges(task, loaded.pruning["edges"])
    left = loaded.pruning["edges"]["left"]
    assert pruned.graphs[0].edge_index.shape[1] == left
    result = export_checkpoint(loaded, pruned, recipe("none"), tmp_path / "artifact", constant_graph=constant)
    assert result.manifest["pruning"]["edges"]["left"] == left
    assert result.manifest["samples"][0]["num_edges"] == left
    assert [i["name"] for i in result.manifest["inputs"]] == (["x"] if constant else ["x", "edge_index"])
    assert verify(tmp_path / "artifact").ok


def test_graph_tasks_and_models_without_edges_are_refused():
    task = task_of(undirected())
    graphs = Task(TaskSpec("g", "graph", "given", 0, "accuracy", 12, 3, {}), task.graphs, task.index)
    with pytest.raises(PruneError, match="tasks of one graph"):
        learn_edges(models()["gcn"], graphs, 10, CONFIG)

    class NoEdges(nn.Module):
        def __init__(self):
            super().__init__()
            self.lin = nn.Linear(never_seen.FEATURES, 3)

        def forward(self, x, edge_index):
            return self.lin(x)

    with pytest.raises(PruneError, match="no message passing layer"):
        learn_edges(NoEdges(), task, 10, CONFIG)


@pytest.mark.slow
@pytest.mark.parametrize("quant", [None, "dq-int8"])
def test_structured_and_edges_from_the_public_functions(quant, tmp_path):
    model = tmp_path / "model.pt"
    api.train("gcn", "digits-knn", output=model, settings={"epochs": 20})
    dense = load_checkpoint(model)
    small = api.compress(model, prune="structured", sparsity=0.5, settings={"epochs": 10}, output=tmp_path / "s.pt")
    smaller = api.compress(
        tmp_path / "s.pt", prune="edges", sparsity=0.2, settings={"epochs": 10}, output=tmp_path / "e.pt"
    )
    count = [sum(p.numel() for p in c.model.parameters()) for c in (dense, small.checkpoint, smaller.checkpoint)]
    assert count[1] < 0.55 * count[0]
    assert count[2] == count[1]
    assert smaller.checkpoint.pruning["structure"] == small.checkpoint.pruning["structure"]
    assert smaller.checkpoint.metrics["test"] > dense.metrics["test"] - 0.1
    result = api.export(tmp_path / "e.pt", quant=quant, settings={"epochs": 3}, output=tmp_path / "artifact")
    edges = smaller.checkpoint.pruning["edges"]
    assert result.manifest["samples"][0]["num_edges"] == edges["left"] < edges["edges"]
    assert verify(tmp_path / "artifact").ok
    with pytest.raises(DataError, match="another one"):
        api.export(tmp_path / "e.pt", data="cora", output=tmp_path / "other")


@pytest.mark.slow
@pytest.mark.parametrize("variant", ["group-norm", "growing"])
def test_regularized_channels_from_the_public_function(variant, tmp_path):
    model = tmp_path / "model.pt"
    dense = api.train("gin", "digits", output=model, settings={"epochs": 4})
    options = {"prune": "regularized", "variant": variant, "sparsity": 0.5, "settings": {"epochs": 3}}
    small = api.compress(model, **options, output=tmp_path / "small.pt").checkpoint
    assert small.pruning["achieved"] == 0.5
    assert small.metrics["test"] > dense.metrics["test"] - 0.15
    again = load_checkpoint(tmp_path / "small.pt")
    assert repr(again.model) == repr(small.model)
