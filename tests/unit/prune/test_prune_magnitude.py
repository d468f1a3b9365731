"""Magnitude pruning: counts, ties, thresholds, the gradual schedule."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from edgegnn.errors import PruneError, UsageError
from edgegnn.prune import count_pruned, gradual_sparsity, magnitude_masks
from edgegnn.prune.magnitude import gradual_masks


def tensors(*shapes, seed=0):
    g = torch.Generator().manual_seed(seed)
    return {f"w{i}": torch.randn(shape, generator=g) * (i + 1) for i, shape in enumerate(shapes)}


def test_fine_grained_cuts_the_same_share_of_each_tensor():
    weights = tensors((10, 20), (3, 4, 5), (7, 3))
    masks = magnitude_masks(weights, 0.5)
    for name, w in weights.items():
        keep = masks.keep[name]
        assert keep.shape == w.shape
        assert int((~keep).sum()) == round(0.5 * w.numel())
        assert w[~keep].abs().max() <= w[keep].abs().min()


def test_global_cuts_under_one_threshold():
    weights = tensors((10, 20), (3, 4, 5), (7, 3))
    masks = magnitude_masks(weights, 0.6, "global")
    cut = torch.cat([w[~masks.keep[n]].abs() for n, w in weights.items()])
    kept = torch.cat([w[masks.keep[n]].abs() for n, w in weights.items()])
    assert len(cut) == round(0.6 * 281)
    assert cut.max() <= kept.min()
    shares = [float((~m).double().mean()) for m in masks.keep.values()]
    assert shares[0] > 0.6 > shares[2]  # the tensor with large weights keeps more


@pytest.mark.parametrize("method", ["fine-grained", "global"])
@pytest.mark.parametrize("sparsity", [0.0, 0.1, 0.29, 0.5, 0.9, 0.99])
def test_counts_are_exact_where_all_are_equal(method, sparsity):
    weights = {"a": torch.ones(10, 10), "b": -torch.ones(25, 4), "c": torch.full((10, 10), 2.0)}
    if method == "global" and sparsity > 1 / 3:  # more than all of the first of equals
        with pytest.raises(PruneError, match="would empty a"):
            magnitude_masks(weights, sparsity, method)
        return
    masks = magnitude_masks(weights, sparsity, method)
    counts = {n: int((~m).sum()) for n, m in masks.keep.items()}
    each = round(100 * sparsity)
    expected = [each] * 3 if method == "fine-grained" else [3 * each, 0, 0]
    assert list(counts.values()) == expected
    assert torch.equal(masks.keep["a"].flatten(), torch.arange(100) >= expected[0])  # of equals the earlier go first


@given(st.integers(1, 300), st.floats(0, 1, exclude_max=True))
def test_one_weight_always_stays(size, sparsity):
    count = count_pruned(size, sparsity)
    assert 0 <= count < size
    assert abs(count - sparsity * size) <= 1
    masks = magnitude_masks({"w": torch.linspace(-1, 1, size).view(1, -1)}, sparsity)
    assert int((~masks.keep["w"]).sum()) == count


def test_a_layer_that_global_pruning_would_empty_is_named():
    weights = {"large.weight": torch.ones(4, 4), "tiny.weight": torch.full((2, 2), 1e-3)}
    assert int((~magnitude_masks(weights, 0.15, "global").keep["tiny.weight"]).sum()) == 3
    with pytest.raises(PruneError, match=r"at 0\.2 would empty tiny\.weight \(none of its 4 weights.*fine-grained"):
        magnitude_masks(weights, 0.2, "global")


@pytest.mark.parametrize("sparsity", [-0.1, 1.0, 1.5, float("nan"), float("inf")])
def test_sparsity_out_of_range(sparsity):
    with pytest.raises(UsageError, match=r"sparsity must lie in \[0, 1\)"):
        magnitude_masks(tensors((3, 3)), sparsity)


def test_unknown_method():
    with pytest.raises(UsageError, match="unknown magnitude method 'random'"):
        magnitude_masks(tensors((3, 3)), 0.5, "random")


def test_what_is_pruned_stays_pruned():
    weights = tensors((10, 20))
    held = magnitude_masks(weights, 0.5)
    weights["w0"] = weights["w0"] + 3 * ~held.keep["w0"]  # as if a pruned weight had grown to the largest of all
    more = magnitude_masks(weights, 0.7, held=held)
    assert int((~more.keep["w0"]).sum()) == 140
    assert not (more.keep["w0"] & ~held.keep["w0"]).any()
    less = magnitude_masks(weights, 0.1, held=held)
    assert torch.equal(less.keep["w0"], held.keep["w0"])


def test_gradual_sparsity_is_the_cubic_of_zhu_and_gupta():
    # s_t = s_f + (s_i - s_f) (1 - (t - t_0) / (n dt))^3, by hand at quarters of the ramp
    assert [gradual_sparsity(0.8, p) for p in (0.0, 0.25, 0.5, 0.75, 1.0)] == pytest.approx(
        [0.0, 0.8 * (1 - 27 / 64), 0.8 * (1 - 1 / 8), 0.8 * (1 - 1 / 64), 0.8]
    )
    assert gradual_sparsity(0.9, 0.5, initial=0.5) == pytest.approx(0.85)
    assert gradual_sparsity(0.9, 2.0) == 0.9


@pytest.mark.parametrize("method", ["fine-grained", "global"])
@pytest.mark.parametrize("steps", [1, 7, 250])
def test_gradual_masks_only_grow_and_reach_the_end(method, steps):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(20, 30), nn.Linear(30, 4))
    names = ["0.weight", "1.weight"]
    after_step = gradual_masks(model, names, 0.8, method, steps)
    gone, shares = {n: torch.zeros_like(model.get_parameter(n), dtype=torch.bool) for n in names}, []
    for _ in range(steps + 3):
        with torch.no_grad():
            for p in model.parameters():
                p.add_(0.05 * torch.randn_like(p))  # a step that moves everything, pruned weights too
        after_step(model)
        for n in names:
            now = model.get_parameter(n) == 0
            assert now[gone[n]].all()
            gone[n] = now
        shares.append(sum(int(g.sum()) for g in gone.values()) / 720)
    assert shares == sorted(shares)
    assert shares[steps - 1 :] == [0.8] * 4
    if steps == 250:
        assert np.allclose(shares[124], gradual_sparsity(0.8, 0.5), atol=0.01)


def test_gradual_masks_start_from_what_is_pruned():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(20, 30))
    held = magnitude_masks({"0.weight": model[0].weight}, 0.5)
    held.apply(model)
    after_step = gradual_masks(model, ["0.weight"], 0.9, "fine-grained", 10, held=held)
    after_step(model)
    share = float((model[0].weight == 0).double().mean())
    assert share == pytest.approx(gradual_sparsity(0.9, 0.1, 0.5), abs=1 / 600)
