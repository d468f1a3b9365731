"""How `edgegnn tune` chooses: what there is to choose from, what comes next, what is best, and on what it is judged."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
import torch
from command_line import community_graph
from tune_example import SPACE, figures, settings

from edgegnn.checkpoint import Checkpoint
from edgegnn.errors import DataError
from edgegnn.exporting.pipeline import export_checkpoint
from edgegnn.models import build
from edgegnn.quantize import RECIPES, recipe
from edgegnn.tasks import evaluate, logits_and_labels, task_from_graphs
from edgegnn.tuning.accuracy_drop import Judge, Verdict
from edgegnn.tuning.budget import Clock, Costs
from edgegnn.tuning.choose import best, figure, finalists, front, next_fixed, value_of
from edgegnn.tuning.space import Candidate, commands, presets, space_of, starts, suggest


def record(number, candidate, **more):
    size, drop = figures(candidate)
    excess = drop - 0.01
    known = {"bytes": size, "drop": drop, "excess": excess, "within": excess <= 0, "status": "done"}
    return {"number": number, "settings": candidate.to_dict(), "preset": candidate.preset, **known, **more}


# What there is to choose from ------------------------------------------------------------


def task_of(**changes):
    graph = community_graph()
    for key, value in changes.items():
        graph[key] = value
    return task_from_graphs([graph], data="mine")


def test_layers_are_found_in_order_with_the_points_of_their_weights():
    model = build("gat", in_channels=9, out_channels=3, kind="node", hidden=4, heads=2)
    found = space_of(model, task_of())
    assert [layer.name for layer in found.layers] == ["convs.0", "convs.1"]
    assert found.layers[0].weights == ("convs.0.att_src", "convs.0.att_dst", "convs.0.lin.weight")
    assert set(found.recipes) == set(RECIPES)
    assert found.methods == ["none", "dynamic-int8", "static-int8", "qat", "dq", "a2q", "a2q-groups"]


def test_layers_beyond_six_share_bits_with_their_neighbours():
    model = torch.nn.Sequential(*[torch.nn.Linear(9, 9) for _ in range(8)])

    class Deep(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.inside = model

        def forward(self, x, edge_index):
            return self.inside(x)

    found = space_of(Deep(), task_of())
    assert found.layers[0].patterns == ("inside.0.*", "inside.1.*")
    assert len(found.layers) == 4
    assert sum((layer.weights for layer in found.layers), ()) == tuple(f"inside.{i}.weight" for i in range(8))


def test_a_model_without_weights_is_left_to_post_training_recipes():
    class Sum(torch.nn.Module):
        def forward(self, x, edge_index):
            return x[:, :3]

    found = space_of(Sum(), task_of())
    assert (found.layers, found.methods) == ((), ["none", "dynamic-int8", "static-int8"])
    assert starts(found, "size") == []


def test_every_preset_is_a_candidate_and_is_that_recipe():
    found = presets(SPACE)
    assert {c.preset for c in found} == set(SPACE.recipes)
    assert all(c.recipe(SPACE) == RECIPES[c.preset] and c.full for c in found)
    assert not found[0].trains  # the quickest first
    assert next(c for c in found if c.dense).preset == "none"


def test_a_candidate_has_a_recipe_with_the_bits_of_its_layers():
    weights = settings(bits=("w4", "8"))
    assert weights.preset is None
    assert weights.recipe(SPACE) == dataclasses.replace(
        RECIPES["dq-int8"], name="dq-mixed", bits_of={"convs.0.lin.weight": 4}
    )
    both = settings(bits=("4", "w4")).recipe(SPACE)  # ranges of activations are those of four bits
    assert both.bits_of == {"convs.0.*": 4, "convs.1.lin.weight": 4}
    assert (both.bits, both.quantile, both.protect_high) == (8, RECIPES["dq-int4"].quantile, 0.2)
    assert settings(bits=("4", "4"), prune="global", sparsity=0.5).recipe(SPACE) == RECIPES["dq-int4"]
    learnt = Candidate("a2q", target_bits=3.1).recipe(SPACE)
    assert learnt == dataclasses.replace(RECIPES["a2q"], target_bits=3.1)
    again = settings(bits=("w4", "8"), prune="structured", sparsity=0.25, full=False)
    assert Candidate.from_dict(json.loads(json.dumps(again.to_dict()))) == again
    assert again.label(SPACE) == "structured 0.25 + dq convs.0 w4, convs.1 8"


@pytest.mark.parametrize(
    "asked",
    [
        Candidate("static-int8", prune="structured", sparsity=0.42, full=False),
        settings(bits=("w4", "4"), prune="global", sparsity=0.937, schedule="gradual", full=False),
        Candidate("a2q", target_bits=2.0, prune="regularized", sparsity=0.988, full=False),
        Candidate("none"),
        *starts(SPACE, "size"),
        *starts(SPACE, "latency"),
        *(dataclasses.replace(c, full=not c.trains) for c in presets(SPACE)),
    ],
)
def test_optuna_gives_back_the_candidate_that_was_asked_for(asked):
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study()
    study.enqueue_trial(asked.params(SPACE))
    assert suggest(study.ask(), SPACE) == asked


def test_what_optuna_suggests_is_possible():
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    for _ in range(200):
        found = suggest(study.ask(), SPACE)
        assert recipe(found.recipe(SPACE).name) if found.preset else found.recipe(SPACE)
        assert (found.sparsity is None) == (found.prune is None)
        assert found.sparsity is None or 0 < found.sparsity < 1
        assert found.full is not found.trains


# What comes next, what is best ------------------------------------------------------------


def following(records, **changes):
    options = {"nearly": 0.03, "used": 0.1, "fits": lambda _: True, **changes}
    return next_fixed(records, SPACE, "size", **options)


def test_presets_and_first_tries_come_first_and_what_does_not_fit_is_left_out():
    asked = []
    while (found := following([record(i, c) for i, c in enumerate(asked)])) is not None and found.full:
        asked.append(found)
    assert asked == presets(SPACE)
    assert found == starts(SPACE, "size")[0]
    assert following([], fits=lambda c: c.quant == "dq" and c.prune is None).preset == "dq-int8"


def test_what_promises_something_is_trained_in_full_after_some_short_ones():
    start = [record(i, c) for i, c in enumerate([*presets(SPACE), *starts(SPACE, "size")])]
    near = settings(bits=("4", "4"), prune="global", sparsity=0.8, full=False)
    lost = settings(bits=("4", "4"), prune="global", sparsity=0.97, full=False)
    larger = settings(bits=("8", "8"), prune="global", sparsity=0.55, full=False)
    short = [record(20, near), record(21, lost), record(22, larger, within=False)]
    assert [r["within"] for r in short] == [False, False, False]
    assert following([*start[:8], start[-1], *start[8:-1], *short]) == dataclasses.replace(near, full=True)
    after = [*start, *short, record(23, dataclasses.replace(near, full=True))]
    assert following(after) is None  # a sampler's turn
    assert following([*start, record(20, near)], used=0.1) is None or len(starts(SPACE, "size")) >= 2
    assert following([*start, *short], used=0.9, fits=lambda c: False) is None


def test_the_best_is_the_smallest_within_the_drop_and_the_front_is_pareto():
    small = record(1, settings(prune="global", sparsity=0.9), within=False)
    good = record(2, settings(prune="global", sparsity=0.5))
    same = record(3, settings(prune="fine-grained", sparsity=0.5)) | {"drop": 0.0}
    dense = record(4, Candidate("none"))
    failed = {"number": 5, "settings": settings().to_dict(), "status": "failed", "reason": "no"}
    everything = [dense, small, good, same, failed]
    assert best(everything, "size")["number"] == 3  # of equal ones that loses least
    assert [r["number"] for r in finalists(everything, "size", 2)] == [3, 2]
    assert [r["number"] for r in front(everything, "size")] == [1, 3]
    assert best([failed, small], "size") is None
    assert best(everything, "latency") is None
    fast = good | {"latency_ms": {"p50": 2.0}, "energy_j": {"gross": 0.5}}
    assert (best([*everything, fast], "latency"), figure(fast, "energy")) == (fast, 0.5)


def test_optuna_is_told_size_within_the_drop_and_the_drop_outside():
    def of(**facts):
        return value_of({"bytes": 1000, "within": facts["excess"] <= 0, **facts}, "size", 0.01)

    inside = [of(excess=-0.01), of(excess=0.0, bytes=10**9)]
    outside = [of(excess=0.001), of(excess=0.1, bytes=1)]
    assert sorted([*inside, *outside]) == [*inside, *outside]
    assert value_of({"status": "failed"}, "size", 0.01) is None
    # What has no room on the device is worse than what loses anything, and the worse the larger it is.
    large = [value_of({"status": "failed", "over": over}, "flash", 0.01) for over in (0.1, 2.0)]
    assert large[1] > large[0] > of(excess=0.9)


def test_costs_are_learnt_from_what_ended():
    costs = Costs([{"epoch_seconds": {"quantize dq": 1.0}, "rest_seconds": 4.0}])
    trained = settings(prune="global", sparsity=0.5)
    costs.note({"epoch_seconds": {"prune global": 3.0}})
    assert costs.seconds(trained, 10) == pytest.approx(1.25 * (10 + 30 + costs.rest))
    assert costs.seconds(dataclasses.replace(trained, prune="structured"), 10) > costs.seconds(settings(), 10)
    assert costs.seconds(Candidate("none"), 10) < costs.seconds(settings(), 10)
    clock = Clock(60.0)
    clock.before = 50.0
    assert 9 < clock.left <= 10


# What it is judged on ------------------------------------------------------------


@pytest.fixture(scope="module")
def trained():
    from edgegnn.training import FitConfig, fit

    task = task_of()
    torch.manual_seed(0)
    model = build("gcn", in_channels=9, out_channels=3, kind="node", hidden=8)
    fit(model, task, FitConfig(epochs=10))
    return model, task


def test_the_judge_knows_the_validation_split_and_not_the_test_split(trained):
    model, task = trained
    judge = Judge(model, task)
    assert (judge.val, judge.rows) == (evaluate(model, task, "val"), len(task.index["val"]))
    blind = task_of(y=torch.where(community_graph().test_mask, 2 - community_graph().y, community_graph().y))
    outputs, _ = logits_and_labels(model, task, "val")
    assert Judge(model, blind).outputs(outputs.numpy()) == judge.outputs(outputs.numpy())
    same = judge.outputs(outputs.numpy())
    assert (same.drop, same.error, same.agreement) == (0.0, 0.0, 1.0)


def test_an_artifact_is_judged_by_the_answers_of_its_export(trained, tmp_path):
    model, task = trained
    judge = Judge(model, task)
    checkpoint = Checkpoint(model, {"factory": "own:build", "args": {}}, task.spec)
    done = export_checkpoint(checkpoint, task, recipe("static-int8"), tmp_path / "a", max_accuracy_drop=100.0)
    found = judge.exported(done)
    assert found == judge.artifact(done.path)  # read from the disk, and run
    part = [dataclasses.replace(s, mask=s.mask & (np.arange(len(s.mask)) > 20)) for s in done.validation.samples]
    fewer = dataclasses.replace(done, validation=dataclasses.replace(done.validation, samples=part))
    assert judge.exported(fewer) == found  # some of the split is no split


def test_a_drop_and_its_standard_error_are_those_of_pairs(trained):
    model, task = trained
    judge = Judge(model, task)
    outputs, labels = (v.numpy().copy() for v in logits_and_labels(model, task, "val"))
    right = np.flatnonzero(outputs.argmax(1) == labels)[:4]
    outputs[right] = -outputs[right]
    found = judge.outputs(outputs)
    n = len(labels)
    assert found.drop == pytest.approx(4 / n)
    assert found.agreement == pytest.approx(1 - 4 / n)
    share = 4 / n
    assert found.error == pytest.approx(np.sqrt(share * (1 - share) / n), rel=0.25)
    assert judge.drop(None) == float("inf")


def test_the_margin_is_a_standard_error_and_half_of_the_drop_at_most():
    assert Verdict(0.8, 0.005, 0.002, 1.0).excess(0.01) < 0
    assert Verdict(0.8, 0.009, 0.002, 1.0).excess(0.01) > 0
    assert Verdict(0.8, 0.005, 0.2, 1.0).excess(0.01) <= 0  # a small split can't say more
    assert Verdict(0.8, 0.006, 0.2, 1.0).excess(0.01) > 0
    assert Verdict(0.8, 0.0, 0.2, 1.0).excess(0.0) <= 0


def test_an_error_may_rise_and_an_accuracy_may_fall(trained):
    model, task = trained
    judge = Judge(model, task)
    judge.metric, judge.val = "mae", 2.0
    assert (judge.drop(2.5), judge.drop(1.5)) == (0.5, -0.5)
    judge.metric = "roc_auc"
    assert (judge.drop(1.5), judge.drop(2.5)) == (0.5, -0.5)


def test_a_split_that_nothing_can_be_chosen_on_is_refused(trained):
    model, task = trained
    empty = dataclasses.replace(task, index={**task.index, "val": task.index["val"][:0]})
    with pytest.raises(DataError, match="no validation split"):
        Judge(model, empty)
    two = build("gcn", in_channels=9, out_channels=2, kind="node", hidden=4)
    graph = community_graph()
    graph.y = torch.where(graph.val_mask, 0, (graph.y > 0).long())
    one_class = task_from_graphs([graph], data="mine")
    one_class = dataclasses.replace(one_class, spec=dataclasses.replace(one_class.spec, metric="roc_auc"))
    with pytest.raises(DataError, match="both classes"):
        Judge(two, one_class)


# How it is made by hand ------------------------------------------------------------


def by_hand(candidate, tmp_path, **changes):
    options = {"model": "m.pt", "source": ["--data", "d.pt"], "where": ["--target", "x86"], "epochs": None, "seed": 0}
    return commands(candidate, SPACE, recipe_file=tmp_path / "recipe.json", **options | changes)


def test_the_command_lines_that_make_a_candidate(tmp_path):
    pruned = settings(bits=("4", "4"), prune="global", sparsity=0.937, schedule="gradual")
    assert by_hand(pruned, tmp_path, epochs=7, seed=3) == (
        "edgegnn compress m.pt --data d.pt --prune global --sparsity 0.937 --schedule gradual --quant dq-int4 "
        "--epochs 7 --seed 3 -o best.pt && edgegnn export best.pt --data d.pt --target x86 -o best",
        None,
    )
    assert by_hand(Candidate("static-int8"), tmp_path, where=[]) == (
        "edgegnn export m.pt --data d.pt --quant static-int8 -o best",
        None,
    )
    line, content = by_hand(settings(bits=("w4", "8")), tmp_path)
    assert f"--quant {tmp_path / 'recipe.json'}" in line
    assert json.loads(content) == settings(bits=("w4", "8")).recipe(SPACE).to_dict()
    assert "--quant a2q:target_bits=3.1 " in by_hand(Candidate("a2q", target_bits=3.1), tmp_path)[0]
    assert (
        "--quant dynamic-int8 --target"
        in by_hand(Candidate("dynamic-int8", prune="structured", sparsity=0.5), tmp_path)[0].partition("&&")[2]
    )
