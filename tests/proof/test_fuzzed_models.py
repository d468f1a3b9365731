"""Random models, exported: right, or refused with a clear message. `random_models.py` runs more of them."""

from __future__ import annotations

import numpy as np
import pytest
import random_check
from random_models import CRASHED, RIGHT, SLOW, TOGETHER, WRONG, limited, run, smaller
from random_spec import Layer, Spec, draw
from random_summary import reason, summary
from sweep import sweep

SEEDS = 10_000_000  # others than those of the long run
SMALL = Spec(1, "none", (Layer("gcn"),))


@pytest.mark.slow
@pytest.mark.parametrize("batch", sweep(range(6), lambda i: i == 3))
def test_random_models_are_right_or_refused(batch):
    """Ten pairs of a model and a recipe: three models with the recipes that train nothing, one with another."""
    found = {}
    for model in range(3):
        seed, traced = SEEDS + 4 * batch + model, {}
        found |= {(seed, recipe): limited(draw(seed, recipe), traced) for recipe in TOGETHER}
    seed = SEEDS + 4 * batch + 3
    found[seed, "dq-int8"] = limited(draw(seed, "dq-int8"))
    assert {key: each for key, each in found.items() if each.kind in (WRONG, CRASHED, SLOW)} == {}
    assert sum(each.kind == RIGHT for each in found.values()) >= 3


@pytest.mark.slow
@pytest.mark.parametrize(
    ("recipe", "spoil", "problem"),
    [
        ("none", lambda out: out + 0.05, "from the float model"),
        ("none", lambda out: np.where(np.arange(len(out))[:, None] == 0, np.nan, out), "NaN or infinite"),
        ("static-int8", lambda out: -out, "little is left of the outputs on the data"),
    ],
)
def test_the_check_finds_what_is_wrong(monkeypatch, recipe, spoil, problem):
    real = random_check._sessions

    def spoiled(artifact):
        return {name: lambda inputs, run=run: spoil(run(inputs)) for name, run in real(artifact).items()}

    monkeypatch.setattr(random_check, "_sessions", spoiled)
    found = run(Spec(1, recipe, SMALL.layers))
    assert (found.kind, problem in found.message) == (WRONG, True), found


def test_a_spec_gets_smaller_until_nothing_is_left():
    spec = draw(SEEDS)
    while (simpler := next(smaller(spec), None)) is not None:
        assert simpler != spec
        spec = simpler
    assert spec == Spec(SEEDS, spec.recipe, (Layer(spec.layers[0].name),), task=spec.task, edges=spec.edges)


def line(seed, recipe, outcome, message=""):
    return {"seed": seed, "recipe": recipe, "outcome": outcome, "message": message, "known": 20.0, "graphs": 9}


def test_the_summary_counts_the_last_try_of_each():
    rows = [
        line(1, "none", WRONG, "NaN"),
        line(1, "none", RIGHT),
        line(1, "static-int8", "refused", "ParityError: quantization costs 8.1 points of mae"),
        line(2, "static-int8", "refused", "ParityError: quantization costs 12 points of accuracy"),
        line(3, "none", CRASHED, "KeyError"),
    ]
    found = summary(rows)
    assert found["by_recipe"] == {"none": {"right": 1, "crashed": 1}, "static-int8": {"refused": 2}}
    assert (found["models"], found["models_and_recipes"]) == (3, 4)
    assert [each["seed"] for each in found["failures"]] == [3]
    assert [(each["seed"], each["now"]) for each in found["failures_fixed"]] == [(1, "right")]
    assert list(found["refusals"].values()) == [2]


def test_a_reason_has_no_numbers_of_its_own():
    one, other = (f"ExportError: convs.{i} (X) can't be exported: {i} values (spec.py:{i})" for i in (1, 23))
    assert reason(one) == reason(other)
