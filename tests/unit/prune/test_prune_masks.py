"""Masks, and which parameters are weights."""

import pytest
import torch
import torch_geometric.nn as pyg
from torch import nn
from torch_geometric.data import Data

from edgegnn.errors import PruneError
from edgegnn.prune import Masks, find_weights, magnitude_masks, masks_of, sparsity_of
from edgegnn.quantize import finetune, recipe
from edgegnn.tasks import task_from_graphs
from edgegnn.training import FitConfig, fit


def graph(features=6, classes=3, n=40, **more):
    g = torch.Generator().manual_seed(0)
    edges = torch.randint(n, (2, 5 * n), generator=g)
    part = torch.arange(n) % 4
    masks = {"train_mask": part < 2, "val_mask": part == 2, "test_mask": part == 3}
    x = torch.randn(n, features, generator=g)
    return Data(x=x, edge_index=edges, y=torch.arange(n) % classes, **masks, **more)


class Net(nn.Module):
    """Two convolutions of PyG's and a linear layer of torch's."""

    def __init__(self, conv=pyg.GCNConv, seed=0):
        super().__init__()
        torch.manual_seed(seed)
        self.one, self.two, self.out = conv(6, 8), conv(8, 8), nn.Linear(8, 3)

    def forward(self, x, edge_index):
        return self.out(self.two(self.one(x, edge_index).relu(), edge_index).relu())


def test_apply_zeroes_exactly_what_the_masks_say():
    model = Net()
    names = ["one.lin.weight", "out.weight"]
    before = {n: model.get_parameter(n).detach().clone() for n in names}
    masks = magnitude_masks({n: model.get_parameter(n) for n in names}, 0.5)
    masks.apply(model)
    for name in names:
        after, keep = model.get_parameter(name).detach(), masks.keep[name]
        assert torch.equal(after, before[name].where(keep, torch.zeros(())))
        assert not torch.signbit(after[~keep]).any()  # no -0.0, which is another value in a file
    again = masks_of(model, names)
    assert all(torch.equal(again.keep[n], masks.keep[n]) for n in names)
    found = sparsity_of(model, names)
    assert {n: (s.zeros, s.total, s.share) for n, s in found.items()} == {
        "one.lin.weight": (24, 48, 0.5),
        "out.weight": (12, 24, 0.5),
    }


@pytest.mark.parametrize(
    ("keep", "message"),
    [
        ({"gone.weight": torch.ones(2, 2, dtype=torch.bool)}, "no parameter gone.weight"),
        ({"out.weight": torch.ones(2, 2, dtype=torch.bool)}, r"shape \[2, 2\], the parameter \[3, 8\]"),
    ],
)
def test_masks_of_another_model_are_refused(keep, message):
    with pytest.raises(PruneError, match=message):
        Masks(keep).apply(Net())


def test_masks_of_a_tensor_that_is_not_there():
    with pytest.raises(PruneError, match=r"no parameter nowhere"):
        masks_of(Net(), ["nowhere"])


def node_task():
    return task_from_graphs([graph()], data="random")


@pytest.mark.parametrize("weight_decay", [0.0, 0.5])
def test_no_pruned_weight_comes_back_while_training(weight_decay):
    """Adam's moments of pruned weights are not zero, and weight decay acts on all: the masks hold all the same."""
    model, task = Net(), node_task()
    config = FitConfig(epochs=3, lr=0.05, weight_decay=weight_decay)
    fit(model, task, config)  # the optimizer has seen every weight move
    names, _ = find_weights(model, (task.graphs[0].x, task.graphs[0].edge_index))
    weights = {n: model.get_parameter(n) for n in names}
    masks = magnitude_masks(weights, 0.7)
    masks.apply(model)
    hold, moved, seen = masks.bind(model), 0, []

    def after_step(now):
        nonlocal moved
        moved += any((w[~masks.keep[n]] != 0).any() for n, w in weights.items())
        hold(now)
        seen.append(all((w[~masks.keep[n]] == 0).all() for n, w in weights.items()))

    before = {n: w.detach().clone() for n, w in weights.items()}
    fit(model, task, config, after_step=after_step)
    assert moved == 3  # without the masks they would have come back
    assert seen == [True] * 3
    for name, weight in weights.items():
        assert (weight[~masks.keep[name]] == 0).all()
        assert (weight != before[name])[masks.keep[name]].any()


@pytest.mark.parametrize("name", ["qat-int8", "dq-int4"])
def test_masks_hold_in_a_wrapped_model(name):
    model, task = Net(pyg.SAGEConv), node_task()
    names, _ = find_weights(model, (task.graphs[0].x, task.graphs[0].edge_index))
    masks = magnitude_masks({n: model.get_parameter(n) for n in names}, 0.5)
    masks.apply(model)
    kept = {n: model.get_parameter(n).detach().clone() for n in names}
    config = FitConfig(epochs=4, lr=0.05)
    quantized, _ = finetune(model, task, recipe(name), config, after_step=masks.bind(model))
    for n in names:
        after = quantized.model.get_parameter(n)
        assert (after[~masks.keep[n]] == 0).all()
        assert (after != kept[n]).any()
        codes = quantized.point(n)(after)  # zero is on every code grid
        assert (codes[~masks.keep[n]] == 0).all()


# Which parameters are weights ---------------------------------------------------------------------------------------


def weights_of(model, data=None):
    data = data or graph()
    args = tuple(v for v in (data.x, data.edge_index, data.get("attr")) if v is not None)
    names, excluded = find_weights(model.train(), args)
    assert model.training
    return names, {e["tensor"]: e["why"] for e in excluded}


@pytest.mark.parametrize(
    ("conv", "weights", "vectors"),
    [
        (lambda: pyg.GATConv(6, 5, heads=3), ["lin.weight"], ["att_src", "att_dst"]),
        (lambda: pyg.GATConv(6, 5), ["lin.weight"], ["att_src", "att_dst"]),
        (lambda: pyg.GATv2Conv(6, 5, heads=2), ["lin_l.weight", "lin_r.weight"], ["att"]),
        (lambda: pyg.GCNConv(6, 4), ["lin.weight"], []),
        (lambda: pyg.SAGEConv(6, 4, project=True), ["lin.weight", "lin_l.weight", "lin_r.weight"], []),
        (lambda: pyg.ChebConv(6, 4, K=2), ["lins.0.weight", "lins.1.weight"], []),
        (lambda: pyg.ARMAConv(6, 4), ["init_weight", "root_weight"], ["bias"]),  # [stacks, 1, channels]
        (
            lambda: pyg.TransformerConv(6, 4, heads=2),
            ["lin_key.weight", "lin_query.weight", "lin_skip.weight", "lin_value.weight"],
            [],
        ),
        (
            lambda: pyg.GINConv(nn.Sequential(nn.Linear(6, 4), nn.BatchNorm1d(4), nn.Linear(4, 4))),
            ["nn.0.weight", "nn.2.weight"],
            [],
        ),
    ],
)
def test_weights_and_vectors_are_told_apart_by_use(conv, weights, vectors):
    names, excluded = weights_of(conv())
    assert sorted(names) == sorted(weights)
    assert sorted(n for n, why in excluded.items() if "element by element" in why) == sorted(vectors)


@pytest.mark.filterwarnings("ignore:We do not recommend using the non-optimized CPU version")
def test_spline_kernels_are_weights(monkeypatch):
    """PyG's SplineConv around kernels in plain torch: those of pyg-lib are not installed everywhere."""
    from torch_geometric.nn.conv import spline_conv

    def basis(pseudo, kernel_size, is_open_spline, degree):
        return torch.cat([1 - pseudo, pseudo], 1), torch.tensor([0, 1]).repeat(len(pseudo), 1)

    def weighting(x, weight, value, index):
        return torch.einsum("ei,ekio,ek->eo", x, weight[index], value)

    monkeypatch.setattr(spline_conv, "spline_basis", basis)
    monkeypatch.setattr(spline_conv, "spline_weighting", weighting)
    data = graph()
    data.attr = torch.rand(data.edge_index.shape[1], 1)
    names, excluded = weights_of(pyg.SplineConv(6, 4, dim=1, kernel_size=2), data)
    assert sorted(names) == ["lin.weight", "weight"]
    assert not excluded


class Strange(nn.Module):
    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(40, 6)
        self.positions = nn.Parameter(torch.randn(40, 6))
        self.tower = nn.Parameter(torch.randn(1, 6, 4))
        self.scale = nn.Parameter(torch.rand(4, 1) + 0.5)
        self.left_out = nn.Linear(6, 6)
        self.one_input = nn.Linear(1, 3)

    def forward(self, x, edge_index):
        x = x + self.positions + self.table(torch.arange(40))
        weight = (self.tower * self.scale.t()).clone()
        return self.one_input((x @ weight[0]).sum(1, keepdim=True))


def test_rule_on_a_module_of_a_user():
    names, excluded = weights_of(Strange())
    assert names == ["tower", "scale", "table.weight", "one_input.weight"]
    assert set(excluded) == {"positions", "left_out.weight"}
    assert "element by element" in excluded["positions"]
    assert "doesn't use it" in excluded["left_out.weight"]


def test_finding_weights_changes_nothing():
    model = nn.Sequential(nn.Linear(6, 4), nn.BatchNorm1d(4), nn.Dropout(0.5)).train()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    random = torch.random.get_rng_state()
    assert find_weights(model, (graph().x,))[0] == ["0.weight"]
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert torch.equal(random, torch.random.get_rng_state())


def test_nothing_to_prune():
    with pytest.raises(PruneError, match="nothing to prune"):
        find_weights(nn.BatchNorm1d(6), (graph().x,))
