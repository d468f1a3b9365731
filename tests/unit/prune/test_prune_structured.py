"""Structured pruning: whole channels go, on modules of the zoo and on others."""

from __future__ import annotations

import copy
import warnings

import prune_layers as never_seen
import pytest
import torch
import torch_geometric.nn as pyg
from sweep import sweep
from torch import nn

from edgegnn.errors import PruneError, UsageError
from edgegnn.models import build
from edgegnn.prune.count import count_work
from edgegnn.prune.groups import channel_groups
from edgegnn.prune.penalty import channel_penalty
from edgegnn.prune.structured import group_magnitude, prune_structured
from edgegnn.quantize import prepare, recipe

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import torch_pruning

NAMES = sorted(never_seen.modules())


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def trained(model):
    """Norms with statistics, biases and attention that are not at their initial zeros."""
    with torch.no_grad():
        for value in [*model.parameters(), *model.buffers()]:
            if value.is_floating_point():
                value.add_(torch.rand_like(value) * 0.3 + 0.05)
    return model.eval()


def parameters(model):
    return sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize("kind", ["node", "graph"])
@pytest.mark.parametrize("name", ["gcn", "gat", "gin", "sage"])
def test_zoo_model_with_half_the_channels_is_the_zoo_model_of_half_the_width(name, kind):
    def of(hidden):
        layers = 3 if kind == "node" else 4
        return build(name, in_channels=12, out_channels=5, hidden=hidden, layers=layers, kind=kind)

    dense, half = trained(of(16)), of(8)
    inputs = never_seen.graph(dense) | ({"batch": torch.arange(40) // 10} if kind == "graph" else {})
    done = prune_structured(dense, inputs, 0.5)
    assert {k: v.shape for k, v in done.model.state_dict().items()} == {
        k: v.shape for k, v in half.state_dict().items()
    }
    assert repr(done.model) == repr(half)
    assert done.parameters == (parameters(dense), parameters(half), parameters(half))
    assert done.work[1] == count_work(half, inputs)
    assert done.work[1].total < 0.55 * done.work[0].total
    assert done.achieved == 0.5


@pytest.mark.parametrize("name", sweep(NAMES, lambda i: i % 3 == 0))
def test_never_seen_module_shrinks_and_still_runs_on_other_graphs(name):
    model = never_seen.modules()[name].eval()
    before = copy.deepcopy(model.state_dict())
    inputs = never_seen.graph(model)
    done = prune_structured(model, inputs, 0.5)
    assert parameters(done.model) < 0.6 * parameters(model)
    assert done.work[1].total < 0.6 * done.work[0].total
    for nodes, edges in ((40, 160), (90, 300), (8, 3), (4, 0)):
        other = never_seen.graph(model, nodes, edges, seed=1)
        assert done.model(**other).shape == model(**other).shape
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())  # the given module is untouched
    assert not done.model.training


@pytest.mark.parametrize("name", sweep(NAMES, lambda i: i % 3 == 1))
def test_channels_that_do_nothing_go_first_and_nothing_changes(name):
    model = trained(never_seen.modules()[name])
    if any(isinstance(m, (nn.LayerNorm, pyg.LayerNorm)) for m in model.modules()):
        model = copy.deepcopy(model)
        for path, module in list(model.named_modules()):
            if isinstance(module, (nn.LayerNorm, pyg.LayerNorm)):  # they mix channels: zeros are not nothing to them
                parent, _, own = path.rpartition(".")
                setattr(model.get_submodule(parent), own, nn.Identity())
    inputs = never_seen.graph(model)
    tensors = dict(model.named_parameters()) | dict(model.named_buffers())
    keys = [n for n in tensors if n.endswith(("lin_query.weight", "lin_query.bias"))]
    with torch.no_grad():
        for group in channel_groups(model, inputs)[0]:
            idle = group.unit % 2 == 1  # a half of the units, or one less
            for part in group.slices:
                where = idle[part.channel.clamp_min(0)] & (part.channel >= 0)
                tensors[part.tensor].index_fill_(part.dim, where.nonzero().view(-1), 0)
    assert keys or "transformer" not in name
    pruned = prune_structured(model, inputs, 0.49).model
    other = never_seen.graph(model, 60, 200, seed=3)
    torch.testing.assert_close(pruned(**other), model(**other), rtol=1e-3, atol=1e-3)


def test_linear_of_pyg_is_cut_here_and_skipped_by_torch_pruning():
    model = never_seen.Two(pyg.GCNConv(12, 32), pyg.GCNConv(32, 5)).eval()
    inputs = never_seen.graph(model)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        alone = copy.deepcopy(model)
        pruner = torch_pruning.pruner.BasePruner(
            alone,
            tuple(inputs.values()),
            torch_pruning.importance.GroupMagnitudeImportance(),
            pruning_ratio=0.5,
        )
        pruner.step()
    assert alone.first.lin.weight.shape == (32, 12)
    done = prune_structured(model, inputs, 0.5)
    assert done.model.first.lin.weight.shape == (16, 12)
    assert done.model.second.lin.weight.shape == (5, 16)
    assert done.model.first.bias.shape == (16,)
    assert (done.model.first.out_channels, done.model.second.in_channels) == (16, 16)


def test_every_head_loses_the_same_channels():
    model = trained(never_seen.modules()["gat"])
    with torch.no_grad():  # head 3 is the smallest: by single channels it would go first
        model.first.lin.weight[48:] *= 0.01
    pruned = prune_structured(model, never_seen.graph(model), 0.5).model.first
    assert (pruned.heads, pruned.out_channels, pruned.att_src.shape) == (4, 8, (1, 4, 8))
    kept = [model.first.att_src[0, 0].tolist().index(v) for v in pruned.att_src[0, 0].tolist()]
    rows = [16 * head + channel for head in range(4) for channel in kept]
    assert torch.equal(pruned.lin.weight, model.first.lin.weight[rows])
    assert torch.equal(pruned.bias, model.first.bias[rows])
    assert all(torch.equal(pruned.att_dst[0, h], model.first.att_dst[0, h, kept]) for h in range(4))


def test_heads_of_different_layers_that_are_added_up_agree():
    model = never_seen.Skip().eval()
    (group,), _ = channel_groups(model, never_seen.graph(model))
    assert (group.channels, group.units) == (64, 8)  # 8 heads of 8 and 4 heads of 16
    assert [int(u) for u in group.unit[:16]] == [*range(8), *range(8)]
    pruned = prune_structured(model, never_seen.graph(model), 0.25).model
    assert [conv.out_channels for conv in pruned.convs] == [6, 12, 48]


@pytest.mark.parametrize("name", sweep(NAMES, lambda i: i % 3 == 2))
def test_input_features_and_classes_stay(name):
    model = never_seen.modules()[name].eval()
    inputs = never_seen.graph(model)
    done = prune_structured(model, inputs, 0.75)
    assert done.model(**inputs).shape == model(**inputs).shape  # the same features go in, the same classes come out


def test_magnitude_is_the_one_of_torch_pruning():
    model = mlp_with_norm()
    groups, _ = channel_groups(Wrapped(model), {"x": torch.randn(7, 6), "edge_index": torch.zeros(2, 0).long()})
    importance = torch_pruning.importance.GroupMagnitudeImportance()
    theirs = [importance(g) for g in library_graph(model).get_all_groups(ignored_layers=[model[-1]])]
    tensors = {f"net.{k}": v for k, v in [*model.named_parameters(), *model.named_buffers()]}
    assert len(theirs) == len(groups) == 2
    for group, wanted in zip(groups, sorted(theirs, key=len, reverse=True), strict=True):
        torch.testing.assert_close(group_magnitude(tensors, group), wanted)


@pytest.mark.parametrize("variant", ["group-norm", "growing"])
def test_penalty_is_the_one_of_torch_pruning(variant):
    ours, theirs = mlp_with_norm(), mlp_with_norm()
    theirs.load_state_dict(ours.state_dict())
    wrapped = Wrapped(ours)
    for model in (ours, theirs):
        for parameter in model.parameters():
            parameter.grad = torch.zeros_like(parameter)
    kind = torch_pruning.pruner.GroupNormPruner if variant == "group-norm" else torch_pruning.pruner.GrowingRegPruner
    options = {"reg": 1e-3} if variant == "group-norm" else {"reg": 0.0, "delta_reg": 1e-3}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pruner = kind(
            theirs,
            torch.randn(7, 6),
            torch_pruning.importance.GroupMagnitudeImportance(),
            ignored_layers=[theirs[-1]],
            **options,
        )
    if variant == "growing":
        pruner.update_reg()
    pruner.regularize(theirs)
    inputs = {"x": torch.randn(7, 6), "edge_index": torch.zeros(2, 0).long()}
    strength = 1e-3 if variant == "group-norm" else 1e-2  # 1e-2 over ten steps: 1e-3 in the first
    channel_penalty(wrapped, inputs, variant, 10, strength=strength)(wrapped)
    for name, parameter in ours.named_parameters():
        wanted = theirs.get_parameter(name).grad
        # The library adds to a copy of the norm's gradient (grad.data[idxs].add_), which has no effect.
        if variant == "growing" and name == "1.weight":
            assert parameter.grad.abs().sum() > 0
            assert wanted.abs().sum() == 0
            continue
        torch.testing.assert_close(parameter.grad, wanted, msg=name)
    assert ours[0].weight.grad.abs().sum() > 0


class Wrapped(nn.Module):
    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, x, edge_index):
        return self.net(x)


def mlp_with_norm():
    net = nn.Sequential(nn.Linear(6, 10), nn.BatchNorm1d(10), nn.ReLU(), nn.Linear(10, 8), nn.Linear(8, 3))
    return trained(net)


def library_graph(model):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch_pruning.DependencyGraph().build_dependency(model, torch.randn(7, 6))


# Bad input ------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "layer"),
    [
        (lambda: never_seen.Two(never_seen.OwnWeight(12, 32), pyg.GCNConv(32, 5)), "first (OwnWeight)"),
        (lambda: never_seen.Two(pyg.GCNConv(12, 32), never_seen.OwnWeight(32, 5)), "second (OwnWeight)"),
        (never_seen.FixedWidth, "conv.lin (Linear)"),
    ],
)
def test_layer_that_cannot_be_followed_is_named_and_nothing_changes(model, layer):
    model = model().eval()
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(PruneError) as caught:
        prune_structured(model, never_seen.graph(model), 0.5)
    assert layer in str(caught.value)
    assert "\n" not in str(caught.value)
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())


def test_skip_from_the_input_leaves_nothing_to_prune():
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.head = pyg.GCNConv(12, 12), nn.Linear(12, 5)

        def forward(self, x, edge_index):
            return self.head(x + self.conv(x, edge_index))

    with pytest.raises(PruneError, match="no channels can go"):
        prune_structured(Model(), never_seen.graph(None), 0.5)


@pytest.mark.parametrize("ratio", [-0.1, 1.0, 2.0, float("nan")])
def test_ratio_outside_of_its_range(ratio):
    model = never_seen.modules()["gcn"]
    with pytest.raises(UsageError, match="at least 0 and below 1"):
        prune_structured(model, never_seen.graph(model), ratio)


def test_layer_that_would_be_emptied():
    model = never_seen.modules()["gat"].eval()
    with pytest.raises(PruneError, match=r"nothing of the 16 channels of first \(GATConv\): ask for at most 0.94"):
        prune_structured(model, never_seen.graph(model), 0.97)
    assert prune_structured(model, never_seen.graph(model), 0.94).model.first.out_channels == 1


def test_ratio_that_so_few_channels_cannot_meet():
    model = never_seen.Two(pyg.GATConv(12, 1, heads=8), pyg.GCNConv(8, 5)).eval()
    with pytest.raises(PruneError, match=r"0.5 can't be reached.* first \(GATConv\) has only 1 channels"):
        prune_structured(model, never_seen.graph(model), 0.5)


def test_ratio_of_zero_gives_the_same_model():
    model = never_seen.modules()["gin"].eval()
    inputs = never_seen.graph(model)
    done = prune_structured(model, inputs, 0.0)
    assert done.achieved == 0.0
    assert torch.equal(done.model(**inputs), model(**inputs))


def test_quantized_model_is_refused():
    model = never_seen.modules()["gcn"].eval()
    inputs = never_seen.graph(model)
    with pytest.raises(PruneError, match="quantized already"):
        prune_structured(prepare(model, recipe("qat-int8"), tuple(inputs.values())), inputs, 0.5)


def test_arguments_may_come_in_order():
    model = never_seen.modules()["gcn"].eval()
    inputs = never_seen.graph(model)
    assert prune_structured(model, tuple(inputs.values()), 0.5).channels == {"first.lin": (32, 16)}
    with pytest.raises(PruneError, match="doesn't fit"):
        prune_structured(model, (*inputs.values(), inputs["x"]), 0.5)
