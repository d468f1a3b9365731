"""Models that turn on the last bit of their inputs: where PyTorch is undecided, so may the artifact be."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from edgegnn.errors import ParityError
from edgegnn.exporting.parity import Tolerance, check_parity, tolerance_for, torch_outputs
from edgegnn.exporting.rounding import rounded_otherwise
from edgegnn.exporting.samples import Sample
from edgegnn.quantize import prepare, recipe

SAMPLE = Sample("test/7", "data", {"x": np.full((3, 2), 0.1, np.float32), "edge_index": np.zeros((2, 1), np.int64)})
EXPECTED = [np.array([[1.0, 0.0]] * 3, np.float32)]


def checked(error: float, moves: float):
    return check_parity(
        lambda _: EXPECTED[0] + np.float32(error),
        [SAMPLE],
        EXPECTED,
        Tolerance(0.999, 1e-4),
        rounding=lambda sample: {"test/7": [EXPECTED[0] - np.float32(moves)]}.get(sample.name, []),
    )[0]


def test_a_difference_within_the_models_own_passes_and_is_named():
    parity = checked(1e-3, moves=5e-4)
    assert parity.sensitive == ["test/7"]
    assert parity.tolerance.max_abs_error == pytest.approx(2e-3, rel=1e-3)
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


def test_where_a_model_turns():
    outputs = rounded_otherwise(Undecided(), SAMPLE)
    assert max(np.ptp(np.stack(outputs), axis=0).ravel()) == pytest.approx(0.3)
    linear = nn.Linear(2, 2)
    linear.forward = lambda x, edge_index: nn.functional.linear(x, linear.weight)  # type: ignore[method-assign]
    outputs = rounded_otherwise(linear, SAMPLE)
    assert 0 < max(np.ptp(np.stack(outputs), axis=0).ravel()) < 1e-6


# Predictions ------------------------------------------------------------

ROWS = 100
NEAR = np.tile(np.float32([[1.0, 0.0]]), (ROWS, 1))
NEAR[3] = 0.5, 0.49
GRAPHS = [Sample(f"test/{i}", "data", {"x": np.full((ROWS, 2), i, np.float32)}) for i in range(2)]


def flipped(*rows: int):
    out = NEAR.copy()
    out[list(rows)] = out[list(rows)][:, ::-1]
    return out


def predicted(artifact, pytorch, agreement: float = 0.999):
    """Of two graphs, the second is the one that differs."""
    return check_parity(
        lambda inputs: artifact if inputs["x"][0, 0] else NEAR,
        GRAPHS,
        [NEAR, NEAR],
        Tolerance(agreement, 2.0),
        rounding=lambda sample: {"test/1": pytorch}.get(sample.name, []),
    )[0]


def test_a_prediction_that_pytorch_changes_itself_passes_and_its_graph_is_named():
    parity = predicted(flipped(3), [NEAR, flipped(3)])
    assert parity.sensitive == ["test/1"]
    assert parity.agreement == parity.tolerance.agreement == 0.995
    assert parity.per_graph[1]["agreement"] == 0.99


@pytest.mark.parametrize("pytorch", [[NEAR], [flipped(5)]], ids=["never", "another"])
def test_one_that_it_does_not_change_is_an_error(pytorch):
    with pytest.raises(ParityError, match=r"on 1 of 200 rows \(agreement 0\.9950, needed 0\.999\)"):
        predicted(flipped(3), pytorch)


def test_one_is_not_excused_by_the_other():
    with pytest.raises(ParityError, match="2 of 200 rows"):
        predicted(flipped(3, 5), [flipped(3)])


def test_no_prediction_is_asked_of_pytorch_within_the_limit():
    assert predicted(flipped(3), None, agreement=0.99).tolerance.agreement == 0.99


def test_codes_on_the_edge_fall_to_either_side():
    """Exactly between two codes: what moves them is the noise in front of the point, not the input."""

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.lin = nn.Linear(2, 1, bias=False)
            nn.init.ones_(self.lin.weight)

        def forward(self, x, edge_index):
            return self.lin(x.double().float())

    model = prepare(
        Model(), replace(recipe("qat-int8"), observer="abs"), (torch.tensor([[0.0, 255.0]]), torch.zeros(2, 1).long())
    )
    model(torch.tensor([[0.0, 255.0]]), torch.zeros(2, 1).long())
    model.eval().freeze()
    sample = Sample("edge", "data", {"x": np.float32([[0.5, 255.0]]), "edge_index": np.zeros((2, 1), np.int64)})
    outputs = np.concatenate(rounded_otherwise(model, sample)).ravel()
    assert sorted(set(np.round(outputs - 255))) == [0, 1]
    assert len(set(torch_outputs(model, [sample] * 3)[0].ravel())) == 1, "the noise is off again"


def post_training(rows: int, differ: int, asked: float | None = None):
    want = np.tile(np.array([[1.0, 0.0]], np.float32), (rows, 1))
    got = want.copy()
    got[:differ] = [0.0, 1.0]
    return check_parity(lambda _: got, [SAMPLE], [want], tolerance_for(recipe("static-int8"), [want], asked))[0]


@pytest.mark.parametrize(("rows", "differ"), [(6, 1), (6, 2), (5, 2), (120, 17), (2000, 220)])
def test_few_rows_say_little_of_a_share(rows, differ):
    parity = post_training(rows, differ)
    assert parity.agreement == parity.tolerance.agreement == pytest.approx(1 - differ / rows)


@pytest.mark.parametrize(("rows", "differ", "asked"), [(6, 3, None), (120, 25, None), (2000, 260, None), (6, 1, 0.9)])
def test_more_than_chance_or_less_than_was_asked_for_is_an_error(rows, differ, asked):
    with pytest.raises(ParityError, match=f"predicts differently from PyTorch on {differ} of {rows} rows"):
        post_training(rows, differ, asked)
