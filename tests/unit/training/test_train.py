"""Fit a model to a task."""

import copy
import dataclasses

import pytest
import torch
from ring_graphs import ring_graphs
from torch import nn
from torch_geometric import nn as pyg
from zoo_accuracy import mean_accuracy

from edgegnn.errors import TrainError, UsageError
from edgegnn.models import build
from edgegnn.tasks import evaluate, load_task, logits_and_labels, task_from_graphs
from edgegnn.training import EpochLog, FitConfig, fit, fit_defaults
from edgegnn.training.memory import keep_freed_memory


@pytest.fixture(scope="module")
def graph_task():
    return task_from_graphs(ring_graphs(), data="rings")


@pytest.fixture(scope="module")
def node_task():
    return load_task("digits-knn")


def model_for(task, name="gcn", seed=0, **changes):
    torch.manual_seed(seed)
    shape = {"in_channels": task.spec.num_features, "out_channels": task.spec.num_classes, "kind": task.spec.kind}
    return build(name, **shape, **({"hidden": 16, "layers": 2} | changes))


def test_fit_learns_digits(node_task):
    model = model_for(node_task, dropout=0.2)
    logs: list[EpochLog] = []
    result = fit(model, node_task, FitConfig(epochs=30, lr=0.02), progress=logs.append)
    assert result.epochs_run == len(result.history) == len(logs) == 30
    assert evaluate(model, node_task, "test") > 0.95
    assert not model.training
    assert logs[0].train_loss > 2 > 1 > logs[-1].train_loss


@pytest.mark.parametrize("name", ["gat", "gin", "sage"])
def test_fit_learns_graphs(graph_task, name):
    model = model_for(graph_task, name, hidden=8)
    fit(model, graph_task, FitConfig(epochs=15, lr=0.01, batch_size=16))
    assert evaluate(model, graph_task, "test") == 1.0


def test_fit_is_a_function_of_its_seed(graph_task):
    def weights(seed):
        model = model_for(graph_task, "gin", seed=3)
        result = fit(model, graph_task, FitConfig(epochs=3, batch_size=16, seed=seed))
        return torch.cat([p.flatten() for p in model.parameters()]).detach(), result.val_loss

    (one, loss), (same, same_loss), (other, _) = weights(1), weights(1), weights(2)
    assert torch.equal(one, same)
    assert loss == same_loss
    assert not torch.equal(one, other)


def test_best_epoch_is_kept(node_task):
    model = model_for(node_task)
    losses, states = [], []

    def keep(log):
        losses.append(log.val_loss)
        states.append(copy.deepcopy(model.state_dict()))
        if log.epoch == 6:  # spoil the model, so that no later epoch can be the best
            with torch.no_grad():
                for parameter in model.parameters():
                    parameter.normal_(std=100.0)

    result = fit(model, node_task, FitConfig(epochs=9, lr=0.05), progress=keep)
    best = losses.index(min(losses))
    assert best < 6
    assert (result.best_epoch, result.val_loss) == (best + 1, losses[best])
    assert all(torch.equal(v, states[best][k]) for k, v in model.state_dict().items())
    logits, labels = logits_and_labels(model, node_task, "val")
    assert float(nn.functional.cross_entropy(logits, labels)) == pytest.approx(result.val_loss)
    assert evaluate(model, node_task, "val") == result.val_metric


def test_only_training_labels_are_learned_from(node_task):
    graph = copy.copy(node_task.graphs[0])
    graph.y = graph.y.clone()
    graph.y[node_task.index["test"]] = 0
    blind = dataclasses.replace(node_task, graphs=[graph])
    models = [model_for(node_task), model_for(node_task)]
    for model, task in zip(models, (node_task, blind), strict=True):
        fit(model, task, FitConfig(epochs=3))
    assert all(torch.equal(a, b) for a, b in zip(*(m.parameters() for m in models), strict=True))


def test_every_training_graph_is_seen_once_in_an_epoch(graph_task):
    class Spy(nn.Module):
        def __init__(self):
            super().__init__()
            self.lin = nn.Linear(2, 2)
            self.seen = []

        def forward(self, x, edge_index, batch):
            if self.training:
                self.seen.append(x.detach().clone())
            return self.lin(pyg.global_mean_pool(x, batch))

    task = dataclasses.replace(graph_task, index=graph_task.index | {"train": graph_task.index["train"][:33]})
    model = Spy()
    fit(model, task, FitConfig(epochs=2, batch_size=16))
    expected = sum(task.graphs[i].num_nodes for i in task.index["train"].tolist())
    # 16 + 17: a last batch of one graph, which batch norm can't do, joins the one before
    assert len(model.seen) == 4
    for epoch in (model.seen[:2], model.seen[2:]):
        rows = torch.cat(epoch)
        assert rows.size(0) == rows.unique(dim=0).size(0) == expected
    assert not torch.equal(model.seen[0][:4], model.seen[2][:4])


def test_learning_rate_is_halved(node_task, monkeypatch):
    rates = []
    step = torch.optim.Adam.step
    monkeypatch.setattr(
        torch.optim.Adam, "step", lambda self, *a: rates.append(self.param_groups[0]["lr"]) or step(self, *a)
    )
    fit(model_for(node_task), node_task, FitConfig(epochs=6, lr=0.08, halve_lr_every=2))
    assert rates == [0.08, 0.08, 0.04, 0.04, 0.02, 0.02]


def test_patience(node_task):
    result = fit(model_for(node_task), node_task, FitConfig(epochs=200, lr=1.0, patience=3))
    assert result.epochs_run == result.best_epoch + 3 < 200


def test_protection_is_set_before_each_training_forward(graph_task):
    class Protected(nn.Module):
        def __init__(self):
            super().__init__()
            self.lin, self.got, self.at = nn.Linear(2, 2), None, []

        def set_protection(self, prob):
            self.got = prob

        def forward(self, x, edge_index, batch):
            if self.training:
                self.at.append(None if self.got is None else torch.equal(self.got, x[:, 0]))
            return self.lin(pyg.global_mean_pool(x, batch))

    config = FitConfig(epochs=1, batch_size=16)
    bare = Protected()
    fit(bare, graph_task, config)
    assert bare.at == [None] * 3
    graphs = [copy.copy(g) for g in graph_task.graphs]
    for graph in graphs:
        graph.dq_prob = graph.x[:, 0]
    model = Protected()
    fit(model, dataclasses.replace(graph_task, graphs=graphs), config)
    assert model.at == [True] * 3


def test_before_step_sees_gradients(node_task):
    model = model_for(node_task)
    norms = []
    fit(
        model,
        node_task,
        FitConfig(epochs=2),
        before_step=lambda m: norms.append(float(m.convs[0].lin.weight.grad.norm())),
    )
    assert len(norms) == 2
    assert all(n > 0 for n in norms)


class Exploding(nn.Module):
    def __init__(self, training_only):
        super().__init__()
        self.lin, self.training_only = nn.Linear(64, 10), training_only

    def forward(self, x, edge_index):
        return self.lin(x) * (float("nan") if self.training == self.training_only else 1.0)


@pytest.mark.parametrize("training", [True, False])
def test_losses_that_are_not_finite(node_task, training):
    what = "training" if training else "validation"
    with pytest.raises(TrainError, match=f"{what} loss is nan in epoch 1: lower the learning rate"):
        fit(Exploding(training), node_task, FitConfig(epochs=2))


def test_outputs_that_do_not_fit(node_task, graph_task):
    few = build("gcn", in_channels=64, out_channels=3)
    with pytest.raises(TrainError, match=r"shape \[1797, 3\], the node task needs \[1797, 10\]"):
        fit(few, node_task, FitConfig(epochs=1))
    node = build("gcn", in_channels=2, out_channels=2)
    with pytest.raises(TrainError, match="the graph task needs"):
        fit(node, graph_task, FitConfig(epochs=1))


def test_interrupt_leaves_the_model_usable(node_task):
    model = model_for(node_task)

    def stop(log):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(model, node_task, FitConfig(epochs=5), progress=stop)
    assert all("propagate" not in m.__dict__ for m in model.modules())


@pytest.mark.parametrize(
    "values",
    [{"epochs": 0}, {"lr": 0.0}, {"lr": float("nan")}, {"weight_decay": -1.0}, {"batch_size": 0}, {"seed": -1}],
)
def test_settings_out_of_range(values):
    with pytest.raises(UsageError):
        FitConfig(**values)


def test_defaults_of_training():
    assert fit_defaults("graph").halve_lr_every == 50
    assert fit_defaults("node", model="gat").lr == 0.005
    assert fit_defaults("node", model="gat", lr=0.1, epochs=None) == dataclasses.replace(
        fit_defaults("node", model="gat"), lr=0.1
    )
    assert fit_defaults("graph", data="digits").epochs < fit_defaults("graph", data="proteins").epochs


def test_memory_setting_is_made_once():
    assert keep_freed_memory() is keep_freed_memory()


@pytest.mark.slow
@pytest.mark.every  # the README's flow, in tests/integration/test_readme.py, trains it as well
def test_gcn_reaches_its_accuracy_on_cora(data_root):
    task = load_task("cora", root=data_root)
    assert mean_accuracy("gcn", task, seeds=1) >= 0.81  # over more seeds: benchmarks/accuracy.py


@pytest.mark.slow
@pytest.mark.every  # a study in test_study.py trains it on some of them
def test_gin_learns_digits():
    task = load_task("digits")
    model = model_for(task, "gin", hidden=64, layers=3)
    fit(model, task, fit_defaults("graph", model="gin", data="digits"))
    assert evaluate(model, task, "test") >= 0.92
