"""The quantizer, its observers and its gradients against vectors worked out from the released code of 2008.05000."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from edgegnn.quantize.ops import fake_quantize
from edgegnn.quantize.quantizer import QuantPoint, affine_scale, order_statistic_beyond, symmetric_scale


def point(**kwargs):
    defaults = {"bits": 8, "observer": "abs"}
    return QuantPoint("p", **{**defaults, **kwargs})


def test_affine_vector_of_the_paper():
    scale, zero_point = affine_scale(torch.tensor([-1.0]), torch.tensor([3.0]), 8)
    assert scale.item() == pytest.approx(0.0156862745, abs=1e-9)
    assert zero_point.item() == -64
    x = torch.tensor([-1.0, 0.0, 0.5, 3.0, 4.0])
    expected = torch.tensor([-128, -64, -32, 127, 127]) + 64
    got = fake_quantize(x, scale, zero_point, -1, 8, "p")
    torch.testing.assert_close(got, expected * scale)


def test_unsigned_four_bit_vector():
    scale, zero_point = affine_scale(torch.tensor([0.2]), torch.tensor([1.0]), 4, signed=False)
    assert (scale.item(), zero_point.item()) == (pytest.approx(1 / 15), 0)


def test_empty_range_is_scale_one():
    scale, zero_point = affine_scale(torch.zeros(1), torch.zeros(1), 8)
    assert (scale.item(), zero_point.item()) == (1.0, 0)


@pytest.mark.parametrize(("clip", "expected"), [(True, [0.0, 1, 1, 0, 0]), (False, [1.0, 1, 1, 1, 1])])
def test_gradient_clipping_is_inclusive_at_the_end_codes(clip, expected):
    p = point(clip_grad=clip)
    p.observe(torch.tensor([[-1.0, 3.0]]))
    p.observe = lambda *_: None
    x = torch.tensor([[-1.0], [0.0], [0.5], [3.0], [4.0]], requires_grad=True)
    p(x).sum().backward()
    assert x.grad.flatten().tolist() == expected


def test_training_and_eval_round_to_the_same_grid():
    torch.manual_seed(0)
    p, x = point(observer="per", quantile=0.01), torch.randn(500, 8)
    trained = p(x)
    p.eval()
    p.freeze()
    torch.testing.assert_close(p(x), trained, atol=1e-6, rtol=0)


def test_percentiles_of_what_is_nearly_all_zeros():
    """The words of a text: with a range of [0, 0] no code would tell any of them."""
    x = torch.zeros(200, 50)
    x[::2, 0] = torch.linspace(0.1, 0.2, 100)  # one in a hundred, as the quantile leaves out
    p = point(observer="per", quantile=0.01)
    p.observe(x, torch.ones(200, dtype=torch.int64))
    assert (float(p.lo), round(float(p.hi), 3)) == (0.0, 0.199)
    only = point(observer="per", quantile=0.01)
    only.observe(torch.zeros(9, 9))
    assert (float(only.lo), float(only.hi)) == (0.0, 0.0)


def test_percentile_ranks_of_the_paper():
    values = torch.arange(1, 10_001, dtype=torch.float32)[torch.randperm(10_000)].view(-1, 10)
    p = point(observer="per", quantile=0.001)
    p.observe(values)
    assert (p.lo.item(), p.hi.item()) == (10.0, 9990.0)
    p.observe(values * 0.5)  # a narrower batch moves nothing
    assert (p.lo.item(), p.hi.item()) == (5.0, 9990.0)
    small = point(observer="per", quantile=0.001)
    small.observe(torch.tensor([[3.0], [1.0], [2.0]]))
    assert small.lo.item() == 1.0  # n < 1/q: the minimum


def test_moving_average_and_running_extremes():
    mom, extremes = point(observer="mom"), point(observer="abs")
    for batch in (torch.tensor([[-1.0, 1.0]]), torch.tensor([[-3.0, 0.5]])):
        mom.observe(batch)
        extremes.observe(batch)
    assert (mom.lo.item(), mom.hi.item()) == (pytest.approx(-1.02), pytest.approx(0.995))
    assert (extremes.lo.item(), extremes.hi.item()) == (-3.0, 1.0)


def test_protected_rows_stay_float_and_out_of_the_statistics():
    x = torch.tensor([[0.1, 0.2], [100.0, -100.0], [0.33, -0.1]], requires_grad=True)
    p = point(clip_grad=True)
    out = p(x, torch.tensor([False, True, False]))
    assert out[1].tolist() == [100.0, -100.0]
    assert (p.lo.item(), p.hi.item()) == (pytest.approx(-0.1), pytest.approx(0.33))
    out.sum().backward()
    assert x.grad[1].tolist() == [1.0, 1.0]  # a protected value gets its whole gradient, wherever it lies


@pytest.mark.parametrize("observer", ["abs", "mom", "per"])
def test_every_row_protected_is_no_observation(observer):
    p = point(observer=observer)
    x = torch.randn(4, 3)
    assert torch.equal(p(x, torch.ones(4, dtype=torch.bool)), x)
    assert not p.seen
    assert torch.equal(p(torch.empty(0, 3)), torch.empty(0, 3))


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 60), st.integers(1, 4), st.integers(0, 10_000), st.booleans())
def test_weighted_order_statistic_equals_sorting_everything(rows, columns, seed, largest):
    g = torch.Generator().manual_seed(seed)
    x = torch.randint(-5, 6, (rows, columns), generator=g).float()
    weight = torch.randint(0, 4, (rows,), generator=g)
    everything = x.repeat_interleave(weight, 0).flatten().sort(descending=largest).values
    if everything.numel() == 0:
        return
    rank = int(torch.randint(1, everything.numel() + 1, (1,), generator=g))
    bound = float(torch.randint(-6, 7, (1,), generator=g))
    want = everything[rank - 1].item()
    want = want if (want > bound if largest else want < bound) else None
    assert order_statistic_beyond(x, rank, bound, weight, largest=largest) == want


def test_weights_are_symmetric_per_output_channel():
    w = torch.tensor([[1.0, -2.0], [0.5, 0.25]], requires_grad=True)
    p = QuantPoint("w", bits=4, observer="weight", channels=2, clip_grad=True)
    out = p(w)
    scale, _ = symmetric_scale(torch.tensor([2.0, 0.5]), 4)
    torch.testing.assert_close(p.scale, scale)
    torch.testing.assert_close(out, torch.round(w / scale[:, None]) * scale[:, None])
    out.sum().backward()
    assert w.grad.tolist() == [[1.0, 1.0], [1.0, 1.0]]
