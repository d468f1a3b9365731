"""The growing L1 penalty: how strong it is, and what it does while training."""

import pytest
import torch
from torch import nn

from edgegnn.compression.compress import prune
from edgegnn.compression.plan import PrunePlan
from edgegnn.errors import UsageError
from edgegnn.prune import magnitude_masks
from edgegnn.prune.regularized import growing_l1
from edgegnn.tasks import load_task
from edgegnn.training import FitConfig, fit


def model(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(20, 30), nn.Linear(30, 4))


NAMES = ["0.weight", "1.weight"]


@pytest.mark.parametrize("steps", [1, 5, 100])
@pytest.mark.parametrize("sparsity", [0.0, 0.3, 0.8])
def test_shrinkage_adds_up_to_the_threshold_of_the_cut(sparsity, steps):
    """Without a loss against it, the penalty brings to zero what the cut would take, and the rest that much closer."""
    net = model()
    before = torch.cat([net.get_parameter(n).detach().flatten() for n in NAMES])
    masks = magnitude_masks({n: net.get_parameter(n) for n in NAMES}, sparsity, "global")
    keep = torch.cat([m.flatten() for m in masks.keep.values()])
    threshold = before[~keep].abs().max() if sparsity else torch.zeros(())
    bias = net[0].bias.detach().clone()
    after_step = growing_l1(net, NAMES, sparsity, steps)
    for _ in range(steps + 3):  # further steps are not penalized
        after_step(net)
    after = torch.cat([net.get_parameter(n).detach().flatten() for n in NAMES])
    assert torch.allclose(after[~keep], torch.zeros(()), atol=1e-5)
    assert torch.allclose(after, (before.abs() - threshold).clamp(min=0) * before.sign(), atol=1e-5)
    assert torch.equal(net[0].bias, bias)


def test_penalty_grows_linearly():
    net = nn.Linear(4, 1, bias=False)
    net.weight.data = torch.tensor([[1.0, 2.0, 30.0, 40.0]])
    after_step, seen = growing_l1(net, ["weight"], 0.5, 4), []
    for _ in range(4):
        before = float(net.weight[0, 3].detach())
        after_step(net)
        seen.append(before - float(net.weight[0, 3].detach()))
    assert seen == pytest.approx([2 * t / 10 for t in (1, 2, 3, 4)], abs=1e-5)  # 2 is the magnitude that is cut
    assert net.weight.detach().flatten().tolist() == pytest.approx([0.0, 0.0, 28.0, 38.0], abs=1e-5)


@pytest.mark.parametrize("sparsity", [1.0, -0.5])
def test_sparsity_out_of_range(sparsity):
    with pytest.raises(UsageError, match="sparsity must lie in"):
        growing_l1(model(), NAMES, sparsity, 10)


def test_training_with_the_penalty_leaves_less_to_cut():
    """After it, what the cut takes is smaller, compared with what it leaves, than after the same training without."""
    from edgegnn.models import build

    task = load_task("digits-knn")
    shape = {"in_channels": task.spec.num_features, "out_channels": task.spec.num_classes, "kind": "node"}
    config = FitConfig(epochs=15, lr=0.01)
    lost = {}
    for penalty in (True, False):
        torch.manual_seed(0)
        net = build("gcn", **shape, hidden=16, layers=2)
        fit(net, task, config)
        names = ["convs.0.lin.weight", "convs.1.lin.weight"]
        after = growing_l1(net, names, 0.7, 15) if penalty else None
        fit(net, task, config, after_step=after, keep_last=True)
        values = torch.cat([net.get_parameter(n).detach().abs().flatten() for n in names]).sort().values
        lost[penalty] = float(values[: int(0.7 * len(values))].square().sum() / values.square().sum())
    assert lost[True] < 0.5 * lost[False]


def test_regularized_pruning_cuts_the_exact_share():
    from edgegnn.models import build

    task = load_task("digits-knn")
    shape = {"in_channels": task.spec.num_features, "out_channels": task.spec.num_classes, "kind": "node"}
    torch.manual_seed(0)
    net = build("gcn", **shape, hidden=16, layers=2)
    fit(net, task, FitConfig(epochs=10, lr=0.02))
    logs = []
    pruned = prune(net, task, PrunePlan("regularized", 0.6), FitConfig(epochs=4, lr=0.005), progress=logs.append)
    assert len(logs) == 8  # as many epochs with the penalty as after the cut
    total = sum(net.get_parameter(n).numel() for n in pruned.facts["tensors"])
    zeros = sum(int((net.get_parameter(n) == 0).sum()) for n in pruned.facts["tensors"])
    assert zeros == round(0.6 * total)
    assert pruned.facts["achieved"] == pytest.approx(0.6, abs=1 / total)
    assert pruned.facts["method"] == "regularized"
