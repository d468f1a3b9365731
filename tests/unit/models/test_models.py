"""The zoo."""

import pytest
import torch
from torch_geometric.data import Data

from edgegnn import models
from edgegnn.errors import UsageError
from edgegnn.tasks import collate, model_inputs

ALL = [(name, kind) for name in ("gat", "gcn", "gin", "sage", "transformer") for kind in ("node", "graph")]
ALL.append(("spline", "node"))


def count(model):
    return sum(p.numel() for p in model.parameters())


def graph(nodes, seed):
    generator = torch.Generator().manual_seed(seed)
    edges = torch.randint(0, nodes, (2, 3 * nodes), generator=generator)
    return Data(x=torch.randn(nodes, 5, generator=generator), edge_index=edges)


@pytest.mark.parametrize(("features", "parameters"), [(1, 42_503), (3, 42_631), (4, 42_695), (9, 43_015)])
def test_gin_has_the_reference_number_of_parameters(features, parameters):
    model = models.build("gin", in_channels=features, out_channels=2, kind="graph")
    assert count(model) == parameters
    assert models.defaults("gin", "graph") == {"hidden": 64, "layers": 5, "heads": 1, "dropout": 0.5}


def test_node_models_have_the_papers_shapes():
    gcn = models.build("gcn", in_channels=1433, out_channels=7)
    assert models.defaults("gcn", "node")["hidden"] == 128
    assert count(gcn) == 1433 * 128 + 128 + 128 * 7 + 7
    gat = models.build("gat", in_channels=1433, out_channels=7)
    # 8 heads of 8: weight, two attention vectors, bias; then one head of 7
    assert count(gat) == (1433 * 64 + 2 * 64 + 64) + (64 * 7 + 2 * 7 + 7)


@pytest.mark.parametrize(("name", "kind"), ALL)
@pytest.mark.parametrize("layers", [1, 3])
def test_shapes_and_inputs(name, kind, layers):
    torch.manual_seed(0)
    model = models.build(name, in_channels=5, out_channels=3, hidden=8, layers=layers, dropout=0.0, kind=kind).eval()
    one, other = graph(6, 1), graph(9, 2)
    if kind == "node":
        assert model_inputs(model) == ("x", "edge_index")
        assert model(one.x, one.edge_index).shape == (6, 3)
        return
    assert model_inputs(model) == ("x", "edge_index", "batch")
    batch = collate([one, other])
    together = model(batch.x, batch.edge_index, batch.batch)
    alone = torch.cat([model(g.x, g.edge_index, torch.zeros(g.num_nodes, dtype=torch.long)) for g in (one, other)])
    assert together.shape == (2, 3)
    assert torch.allclose(together, alone, atol=1e-5)


@pytest.mark.parametrize(("name", "kind"), ALL)
def test_every_parameter_learns(name, kind):
    model = models.build(name, in_channels=5, out_channels=3, hidden=8, layers=2, dropout=0.0, kind=kind)
    batch = collate([graph(6, 1), graph(9, 2), graph(7, 3)])
    args = (batch.x, batch.edge_index) + ((batch.batch,) if kind == "graph" else ())
    model(*args).square().sum().backward()
    still = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    # A bias right before batch norm is subtracted again; GAT's softmax and one-node neighbourhoods leave none out.
    assert not [n for n in still if not n.endswith("bias")]


@pytest.mark.parametrize(("name", "kind"), ALL)
def test_dropout_acts_in_training_only(name, kind):
    torch.manual_seed(0)
    model = models.build(name, in_channels=5, out_channels=3, hidden=8, layers=2, dropout=0.5, kind=kind)
    batch = collate([graph(6, 1), graph(9, 2)])
    args = (batch.x, batch.edge_index) + ((batch.batch,) if kind == "graph" else ())
    model.train()
    assert not torch.equal(model(*args), model(*args))
    model.eval()
    assert torch.equal(model(*args), model(*args))


def test_heads_widen_gat():
    model = models.build("gat", in_channels=5, out_channels=3, hidden=4, heads=3)
    assert model.convs[1].in_channels == 12


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "gcnn"}, r"unknown model 'gcnn' \(did you mean gcn\?\): choose one of gat, gcn, gin, hgpsl"),
        ({"kind": "tree"}, "node, edge, graph, link"),
        ({"kind": "edge"}, "no model of the zoo has; give your own"),
        ({"hidden": 0}, "hidden must be a whole number of at least 1"),
        ({"layers": -1}, "layers"),
        ({"layers": 2.5}, "layers"),
        ({"in_channels": 0}, "in_channels"),
        ({"dropout": 1.0}, "dropout"),
        ({"dropout": float("nan")}, "dropout"),
        ({"heads": 2}, "no attention heads"),
    ],
)
def test_wrong_arguments(arguments, message):
    with pytest.raises(UsageError, match=message):
        models.build(**({"name": "gcn", "in_channels": 3, "out_channels": 2} | arguments))


def test_defaults_of_unknown_models():
    assert models.names() == ["gat", "gcn", "gin", "hgpsl", "ness", "sage", "spline", "transformer"]
    with pytest.raises(UsageError, match="choose one of"):
        models.defaults("mlp", "node")
