"""GradES and the ways to stop early."""

import copy
import dataclasses
import json
import math

import pytest
import torch
from command_line import run
from torch import nn
from torch_geometric.data import Data

from edgegnn import api
from edgegnn.errors import TrainError, UsageError
from edgegnn.models import build
from edgegnn.quantize import finetune, recipe
from edgegnn.tasks import load_task, task_from_graphs
from edgegnn.training import FitConfig, fit, fit_defaults
from edgegnn.training.config import parse_early_stop
from edgegnn.training.grades import GradES

GRADES = FitConfig(epochs=20, early_stop="grades", grades_alpha=0.25, grades_tau=1e9)  # freezes once the grace is over


class Two(nn.Module):
    """Two matrices and their biases."""

    def __init__(self):
        super().__init__()
        self.one, self.two = nn.Linear(2, 3), nn.Linear(3, 2)


def watch(model, planned=100, **options):
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1, weight_decay=0.1)
    return GradES(model, optimizer, planned, **options), optimizer


def step(grades, optimizer, model, **values):
    """One step in which every gradient of the matrix `name` is values[name], and that of each bias 1."""
    for name, parameter in model.named_parameters():
        value = values.get(name.partition(".")[0]) if parameter.dim() > 1 else 1.0
        parameter.grad = None if value is None or not parameter.requires_grad else torch.full_like(parameter, value)
    grades.observe(epoch=grades.steps + 1)
    optimizer.step()


def frozen(grades):
    return {f.tensor: f.step for f in grades.frozen}


def test_a_matrix_is_frozen_when_the_change_of_its_gradient_falls_under_tau():
    model = Two()
    grades, optimizer = watch(model, statistic="gradient", tau=0.5, alpha=0.0)
    for one, two in [(1, 1), (3, 2), (2.25, 2.75), (1.5, 3.125), (1.25, 4)]:  # of one: 2, .75, .75, .25; of two: .375
        step(grades, optimizer, model, one=one, two=two)
    assert [(f.tensor, f.step, f.epoch, f.value) for f in grades.frozen] == [
        ("two.weight", 4, 4, 0.375),
        ("one.weight", 5, 5, 0.25),
    ]
    assert grades.done


def test_the_statistic_does_not_depend_on_the_size_of_the_matrix():
    class Sizes(nn.Module):
        def __init__(self):
            super().__init__()
            self.one, self.two = nn.Linear(2, 2), nn.Linear(64, 64)

    model = Sizes()
    grades, optimizer = watch(model, statistic="gradient", tau=0.5, alpha=0.0)
    for value in (1, 2, 2.25):
        step(grades, optimizer, model, one=value, two=value)
    assert [(f.step, f.value) for f in grades.frozen] == [(3, 0.25)] * 2


def test_relative_compares_the_level_of_the_changes_with_the_level_before():
    model = Two()
    grades, optimizer = watch(model, statistic="relative", tau=0.2, alpha=0.0, window=2)
    # Changes 8, 6, 5, 3, 3, 3: levels 7 -> 4 (movement 3/7), 5.5 -> 3 (2.5/7), 4 -> 3 (1/7, under tau).
    for value in (0, 8, 2, 7, 4, 1, 4):
        step(grades, optimizer, model, one=value, two=-100 * value)
    assert frozen(grades) == {"one.weight": 7, "two.weight": 7}
    assert [f.value for f in grades.frozen] == pytest.approx([1 / 7] * 2)


def test_relative_sees_a_gradient_that_rests_in_its_noise_and_one_that_fades():
    model = Two()
    grades, optimizer = watch(model, planned=100, statistic="relative", tau=0.1, alpha=0.0)
    generator = torch.Generator().manual_seed(0)
    for t in range(100):
        noise = float(torch.randn((), generator=generator))
        step(grades, optimizer, model, one=min(t, 40) * noise, two=1000 * 0.9**t)
    at = frozen(grades)
    assert at["one.weight"] > 40  # not while its changes grow
    assert 10 < at["two.weight"] < 60


def test_relative_freezes_a_gradient_that_is_always_zero():
    model = Two()
    grades, optimizer = watch(model, statistic="relative", tau=0.1, alpha=0.0, window=2)
    for value in range(5):
        step(grades, optimizer, model, one=0, two=value**3)
    assert frozen(grades) == {"one.weight": 5}


def test_weight_statistic_is_the_change_of_the_weights():
    model = Two()
    grades, optimizer = watch(model, statistic="weight", tau=0.05, alpha=0.0)
    for parameter in model.parameters():
        parameter.data.zero_()
    step(grades, optimizer, model, one=1, two=1)
    for value in (1.0, 1.1, 1.1):  # changes 1, 0.1 and 0; Adam's own steps are overwritten
        model.one.weight.data.fill_(value)
        model.two.weight.data.fill_(value * 10 if value > 1 else 3)
        step(grades, optimizer, model, one=1, two=1)
        before = model.one.weight.clone()
    assert frozen(grades) == {"one.weight": 4, "two.weight": 4}
    assert torch.equal(model.one.weight, before)


@pytest.mark.parametrize("statistic", ["relative", "gradient", "weight"])
def test_nothing_is_frozen_by_the_first_gradient_or_in_the_grace_period(statistic):
    model = Two()
    grades, optimizer = watch(model, planned=10, statistic=statistic, tau=1e9, alpha=0.0)
    step(grades, optimizer, model, one=1, two=1)
    assert grades.frozen == []
    grades, optimizer = watch(model, planned=10, statistic=statistic, tau=1e9, alpha=0.5)
    for expected in (0, 0, 0, 0, 0, 2):  # "relative" has seen its two windows of two steps by then
        step(grades, optimizer, model, one=1, two=1)
        assert len(grades.frozen) == expected


def test_gradients_that_are_not_finite_freeze_nothing():
    model = Two()
    grades, optimizer = watch(model, statistic="gradient", tau=1e9, alpha=0.0)
    for value in (1, math.nan, math.nan, math.inf, math.inf):
        step(grades, optimizer, model, one=value, two=None)
    assert grades.frozen == []


def test_a_matrix_without_gradients_is_not_waited_for():
    model = Two()
    grades, optimizer = watch(model, statistic="gradient", tau=0.5, alpha=0.0)
    assert not grades.done
    step(grades, optimizer, model, one=1, two=None)
    step(grades, optimizer, model, one=1, two=None)
    assert grades.done
    assert (grades.report().matrices, len(grades.report().frozen)) == (1, 1)


def test_what_is_frozen_moves_no_more():
    """Neither momentum nor weight decay, nor a gradient that somebody writes."""
    model = Two()
    grades, optimizer = watch(model, statistic="gradient", tau=0.5, alpha=0.0)
    step(grades, optimizer, model, one=1, two=1)
    step(grades, optimizer, model, one=1, two=9)
    assert frozen(grades) == {"one.weight": 2}
    before = {n: p.detach().clone() for n, p in model.named_parameters()}
    for value in (1, 9):
        step(grades, optimizer, model, one=1, two=value)
        model.one.weight.grad = torch.ones(3, 2)
        optimizer.step()
    moved = {n for n, p in model.named_parameters() if not torch.equal(p, before[n])}
    assert moved == {"two.weight", "two.bias"}
    assert not model.one.weight.requires_grad
    assert not any(p is model.one.weight for p in optimizer.state)


def test_vectors_are_frozen_with_the_last_matrix_of_the_smallest_module_around_them():
    model = build("gin", in_channels=2, out_channels=2, hidden=4, layers=2, kind="graph")
    grades, _ = watch(model, statistic="gradient", tau=0.5, alpha=0.0)
    first = {n: p for n, p in model.named_parameters() if n.startswith("convs.0.")}

    values = dict.fromkeys([n for n, _ in model.named_parameters()], 0.0)

    def one_step(resting):
        for name, parameter in model.named_parameters():
            values[name] += name != resting
            if parameter.requires_grad:
                parameter.grad = torch.full_like(parameter, values[name])
        grades.observe(1)

    one_step(None)
    one_step("convs.0.nn.0.weight")
    assert {n for n, p in first.items() if not p.requires_grad} == {"convs.0.nn.0.weight", "convs.0.nn.0.bias"}
    one_step("convs.0.nn.2.weight")
    assert not any(p.requires_grad for p in first.values())  # its epsilon and its batch norm too
    assert all(p.requires_grad for n, p in model.named_parameters() if n not in first)


def ring_graphs(n=40):
    """Rings; a graph's class is the sign of its features' mean."""
    generator = torch.Generator().manual_seed(0)
    at = torch.arange(5)
    edges = torch.stack([torch.cat([at, (at + 1) % 5]), torch.cat([(at + 1) % 5, at])])
    labels = [i % 2 for i in range(n)]
    return [
        Data(x=torch.randn(5, 2, generator=generator) + 2 * y - 1, edge_index=edges, y=torch.tensor([y]))
        for y in labels
    ]


@pytest.fixture(scope="module")
def graph_task():
    return task_from_graphs(ring_graphs(), data="rings")


@pytest.fixture(scope="module")
def node_task():
    return load_task("digits-knn")


def model_for(task, name="gcn", **changes):
    torch.manual_seed(0)
    shape = {"in_channels": task.spec.num_features, "out_channels": task.spec.num_classes, "kind": task.spec.kind}
    return build(name, **shape, **({"hidden": 8, "layers": 2} | changes))


@pytest.mark.parametrize("name", ["gat", "gcn", "gin", "sage", "transformer"])
def test_training_ends_when_everything_is_frozen(graph_task, name):
    model = model_for(graph_task, name)
    logs = []
    result = fit(model, graph_task, dataclasses.replace(GRADES, batch_size=8), progress=logs.append)
    report = result.grades
    assert report.planned_steps == 20 * 4
    assert report.steps == 0.25 * report.planned_steps + 1
    assert result.epochs_run == len(logs) == 6
    assert report.matrices == len(report.frozen) == sum(p.dim() > 1 for p in model.parameters())
    assert {(f.step, f.epoch) for f in report.frozen} == {(21, 6)}
    assert all(p.requires_grad for p in model.parameters())
    assert not model.training


@pytest.mark.parametrize("spoiled", [None, 4])
def test_few_epochs_are_validated_and_the_best_of_them_is_kept(node_task, spoiled):
    model = model_for(node_task)
    states = []

    def keep(log):
        states.append(copy.deepcopy(model.state_dict()))
        if log.epoch == spoiled:
            with torch.no_grad():
                for parameter in model.parameters():
                    parameter.normal_(std=100.0)

    result = fit(model, node_task, GRADES, progress=keep)
    losses = {h["epoch"]: h["val_loss"] for h in result.history if h["val_loss"] is not None}
    assert list(losses) == [1, 3, 5, 6]
    # The step that freezes everything moves nothing, so that the last epoch is as good as the one before.
    assert result.best_epoch == min(losses, key=losses.get) == (3 if spoiled else 5)
    assert result.val_loss == losses[result.best_epoch]
    assert all(torch.equal(v, states[result.best_epoch - 1][k]) for k, v in model.state_dict().items())


def test_without_a_frozen_matrix_training_runs_to_its_end(node_task):
    never = FitConfig(epochs=4, early_stop="grades", grades_tau=1e-30)
    plain, watched = model_for(node_task), model_for(node_task)
    states = []
    fit(
        plain, node_task, FitConfig(epochs=4), progress=lambda _: states.append([p.clone() for p in plain.parameters()])
    )
    result = fit(watched, node_task, never)
    assert (result.epochs_run, result.grades.frozen) == (4, [])
    assert all(
        torch.equal(a, b) for a, b in zip(states[-1], watched.parameters(), strict=True)
    )  # watching changes nothing


def test_backward_does_not_enter_layers_that_are_frozen(node_task):
    model = model_for(node_task, layers=3)
    first, reached = {"convs.0.lin.weight"}, []

    def rest(m):  # the first layer's gradient alone stands still
        for name, parameter in m.named_parameters():
            if parameter.grad is not None:
                parameter.grad.fill_(0.0 if name in first else float(len(reached) ** 2))

    model.convs[0].register_forward_hook(lambda m, a, out: reached.append(out.requires_grad) if m.training else None)
    result = fit(
        model,
        node_task,
        FitConfig(epochs=8, early_stop="grades", grades_statistic="gradient", grades_tau=1e-3, grades_alpha=0.5),
        before_step=rest,
    )
    assert [f.tensor for f in result.grades.frozen] == ["convs.0.lin.weight"]
    assert reached == [True] * 5 + [False] * 3


def test_everything_learns_again_after_an_error(node_task):
    model = model_for(node_task)
    model.convs[0].bias.requires_grad_(False)

    def stop(log):
        if sum(p.requires_grad for p in model.parameters()) < 3:
            raise TrainError("enough")

    config = dataclasses.replace(GRADES, grades_statistic="weight", grades_tau=1.0, grades_alpha=0.1)
    with pytest.raises(TrainError, match="enough"):
        fit(model, node_task, config, progress=stop)
    assert [n for n, p in model.named_parameters() if not p.requires_grad] == ["convs.0.bias"]


def test_with_fake_quantization_and_masks(node_task):
    model = model_for(node_task)
    weight = model.convs[0].lin.weight
    keep = torch.rand_like(weight) > 0.5
    weight.data.mul_(keep)

    def mask(_):
        weight.data.mul_(keep)

    quantized, result = finetune(model, node_task, recipe("dq-int8"), GRADES, after_step=mask)
    assert {f.tensor for f in result.grades.frozen} == {"model.convs.0.lin.weight", "model.convs.1.lin.weight"}
    assert result.epochs_run == 6
    assert not weight[~keep].any()
    assert weight[keep].all()
    assert all(p.requires_grad for p in quantized.parameters())


def test_a_phase_that_must_run_to_its_end_stops_for_nothing(node_task):
    for config in (GRADES, FitConfig(epochs=20, patience=1, lr=1.0)):
        result = fit(model_for(node_task), node_task, config, keep_last=True)
        assert (result.epochs_run, result.grades) == (20, None)


def test_the_report_goes_into_the_checkpoint(tmp_path, capsys):
    from edgegnn.cli.render import summaries

    path = tmp_path / "model.pt"
    settings = {"epochs": 20, "early_stop": "grades", "grades_tau": 1e9}
    api.train("gcn", "digits-knn", output=path, architecture={"hidden": 8}, settings=settings)
    loaded = api.load(path)
    grades = loaded.history[-1]["grades"]
    assert (grades["matrices"], grades["planned_steps"], grades["alpha"]) == (2, 20, 0.5)
    assert [f["tensor"] for f in grades["frozen"]] == ["convs.0.lin.weight", "convs.1.lin.weight"]
    assert [f["step"] for f in grades["frozen"]] == [11, 11]
    summaries.trained(loaded, path, as_json=True)
    assert json.loads(capsys.readouterr().out)["grades"] == grades
    summaries.trained(loaded, path, as_json=False)
    text = " ".join(capsys.readouterr().out.split())
    assert "2 of 2 matrices frozen, 11 of 20 steps" in text


# ---------------------------------------------------------------------------------------------------------------------


def test_early_stop_patience(node_task):
    assert FitConfig(early_stop="patience").patience == 20
    assert FitConfig(early_stop="patience", patience=3).patience == 3
    config = FitConfig(epochs=200, lr=1.0, patience=3)
    alone = fit(model_for(node_task), node_task, config)
    both = fit(model_for(node_task), node_task, dataclasses.replace(config, early_stop="patience"))
    assert alone.epochs_run == both.epochs_run == both.best_epoch + 3 < 200


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"early_stop": "grades", "patience": 5}, "leave one of them out"),
        ({"early_stop": "grads"}, "unknown early stopping 'grads': use patience or grades"),
        ({"grades_statistic": "l1"}, "unknown statistic 'l1' of grades: use relative, gradient, weight"),
        ({"grades_statistic": "gradient"}, "gradient needs a tau: grades:statistic=gradient,tau="),
        ({"grades_tau": 0.0}, "grades_tau must be above 0"),
        ({"grades_tau": math.nan}, "grades_tau must be above 0"),
        ({"grades_alpha": 1.0}, "grades_alpha must be at least 0 and below 1"),
        ({"grades_alpha": math.nan}, "grades_alpha"),
    ],
)
def test_settings_that_make_no_sense(values, message):
    with pytest.raises(UsageError, match=message):
        FitConfig(**values)


def test_early_stop_as_typed():
    assert parse_early_stop("patience") == {"early_stop": "patience"}
    assert parse_early_stop("grades") == {"early_stop": "grades"}
    assert parse_early_stop("grades:tau=0.25,statistic=weight,alpha=0") == {
        "early_stop": "grades",
        "grades_tau": 0.25,
        "grades_statistic": "weight",
        "grades_alpha": 0.0,
    }
    assert fit_defaults("node", **parse_early_stop("grades:alpha=0")).grades_alpha == 0.0


@pytest.mark.parametrize(
    "text", ["", "grade", "grades:", "grades:beta=1", "grades:tau=x", "grades:tau=-1", "patience:5"]
)
def test_early_stop_mistyped(text):
    with pytest.raises(UsageError):
        parse_early_stop(text)


# As typed -------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_every_command_that_trains_stops_early(capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    short = ("--epochs", 20, "--early-stop", "grades:tau=1e9,alpha=0.25", "--json")
    code, out, _ = run(capsys, monkeypatch, "train", "gcn", "digits-knn", "--hidden", 8, *short)
    assert (code, json.loads(out)["grades"]["steps"]) == (0, 6)
    code, out, _ = run(capsys, monkeypatch, "export", "model.pt", "--quant", "dq-int8", *short)
    step = json.loads(out)["history"][-1]
    assert (code, step["step"], step["epochs_run"], step["grades"]["steps"]) == (0, "quantize", 6, 6)
    assert step["settings"]["early_stop"] == "grades"
    prune = ("--prune", "global", "--sparsity", 0.5)
    code, _, _ = run(capsys, monkeypatch, "compress", "model.pt", *prune, *short, "-o", "small.pt")
    small = api.load("small.pt")
    assert (code, small.history[-1]["step"], small.history[-1]["grades"]["steps"]) == (0, "prune", 6)
    zeros = sum(int((p == 0).sum()) for n, p in small.model.named_parameters() if n in small.pruning["tensors"])
    assert zeros / sum(small.model.get_parameter(n).numel() for n in small.pruning["tensors"]) == pytest.approx(
        0.5, abs=0.01
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--early-stop", "grads"], "unknown early stopping 'grads'"),
        (["--early-stop", "grades", "--patience", "5"], "leave one of them out"),
        (["--early-stop", "grades:alpha=2"], "grades_alpha"),
    ],
)
def test_mistakes_are_one_line(capsys, monkeypatch, tmp_path, options, message):
    monkeypatch.chdir(tmp_path)
    code, _, err = run(capsys, monkeypatch, "train", "gcn", "digits-knn", *options)
    assert code == 2
    assert message in err
    assert err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
