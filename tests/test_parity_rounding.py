"""Models that turn on the last bit of their inputs: where PyTorch is undecided, so may the artifact be."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from edgegnn.errors import ParityError
from edgegnn.export.parity import Tolerance, check_parity, rounding_of
from edgegnn.export.samples import Sample

SAMPLE = Sample("test/7", "data", {"x": np.ones((3, 2), np.float32), "edge_index": np.zeros((2, 1), np.int64)})
EXPECTED = [np.array([[1.0, 0.0]] * 3, np.float32)]


def checked(error: float, moves: float):
    return check_parity(
        lambda _: EXPECTED[0] + np.float32(error),
        [SAMPLE],
        EXPECTED,
        Tolerance(0.999, 1e-4),
        rounding=lambda sample: {"test/7": moves}[sample.name],
    )[0]


def test_a_difference_within_the_models_own_passes_and_is_named():
    parity = checked(1e-3, moves=5e-4)
    assert parity.sensitive == ["test/7"]
    assert parity.tolerance.max_abs_error == pytest.approx(2e-3)
    assert parity.to_dict()["sensitive"] == ["test/7"]


def test_a_larger_one_is_an_error():
    with pytest.raises(ParityError, match=r"differ from PyTorch's by 0\.001"):
        checked(1e-3, moves=1e-4)


def test_nothing_is_asked_within_the_limit():
    assert checked(1e-5, moves=float("nan")).tolerance.max_abs_error == 1e-4


class Undecided(nn.Module):
    """The larger of two equal columns wins."""

    def forward(self, x, edge_index):
        return torch.where(x[:, :1] >= x[:, 1:], torch.tensor([[0.0, 0.0]]), torch.tensor([[0.0, 0.3]]))


def test_rounding_of_a_model():
    assert rounding_of(Undecided(), SAMPLE) == pytest.approx(0.3)
    linear = nn.Linear(2, 2)
    linear.forward = lambda x, edge_index: nn.functional.linear(x, linear.weight)  # type: ignore[method-assign]
    assert 0 < rounding_of(linear, SAMPLE) < 1e-6
