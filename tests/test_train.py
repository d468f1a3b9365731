"""Fit, and the sparse products it uses."""

import copy
import dataclasses
import math

import pytest
import torch
from torch import nn
from torch_geometric import nn as pyg
from torch_geometric.data import Data
from torch_geometric.utils import scatter

from edgegnn.errors import TrainError, UsageError
from edgegnn.models import build
from edgegnn.tasks import collate, evaluate, load_task, logits_and_labels, task_from_graphs
from edgegnn.train import EpochLog, FitConfig, accelerate, csr_sum, fit, fit_defaults
from edgegnn.train.memory import keep_freed_memory


def ring_graphs(n=60):
    """Rings; a graph's class is the sign of its features' mean."""
    generator = torch.Generator().manual_seed(0)
    graphs = []
    for i in range(n):
        nodes = 4 + i % 5
        at = torch.arange(nodes)
        edges = torch.stack([torch.cat([at, (at + 1) % nodes]), torch.cat([(at + 1) % nodes, at])])
        x = torch.randn(nodes, 2, generator=generator) + (1 if i % 2 else -1)
        graphs.append(Data(x=x, edge_index=edges, y=torch.tensor([i % 2])))
    return graphs


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

    result = fit(model, node_task, FitConfig(epochs=12, lr=0.3), progress=keep)
    best = losses.index(min(losses))
    assert best < 11, "choose a learning rate with which the last epoch is not the best"
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


# ---- sparse products ----


def edges(sources, targets, count, seed=0):
    generator = torch.Generator().manual_seed(seed)
    high = torch.tensor([[sources], [targets]])
    return (torch.rand(2, count, generator=generator) * high).long()


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(("sources", "targets", "count"), [(9, 9, 40), (5, 12, 30), (12, 5, 30), (3, 3, 0), (1, 1, 2)])
def test_csr_sum_is_gather_and_scatter(sources, targets, count, weighted):
    torch.manual_seed(0)
    edge_index = edges(sources, targets, count)
    x = torch.randn(sources, 3, dtype=torch.double, requires_grad=True)
    weight = torch.randn(count, dtype=torch.double, requires_grad=True) if weighted else None
    messages = x[edge_index[0]] * (weight.view(-1, 1) if weighted else 1)
    expected = scatter(messages, edge_index[1], 0, targets)
    out = csr_sum(x, edge_index, targets, weight)
    assert torch.equal(out, expected)
    inputs = (x, weight) if weighted else (x,)
    grad = torch.randn(targets, 3, dtype=torch.double)
    for ours, theirs in zip(
        torch.autograd.grad(out, inputs, grad), torch.autograd.grad(expected, inputs, grad), strict=True
    ):
        assert torch.allclose(ours, theirs, atol=1e-14)
    assert torch.autograd.gradcheck(lambda *a: csr_sum(a[0], edge_index, targets, *a[1:]), inputs)


def test_csr_sum_notices_changes_in_place():
    x = torch.randn(6, 2)
    edge_index = edges(6, 6, 20)
    csr_sum(x, edge_index, 6)
    edge_index[1, 3] = (edge_index[1, 3] + 1) % 6
    assert torch.allclose(csr_sum(x, edge_index, 6), scatter(x[edge_index[0]], edge_index[1], 0, 6))
    edge_index.numpy()[0, 0] = (edge_index[0, 0] + 1) % 6  # not counted by autograd's versions
    assert torch.allclose(csr_sum(x, edge_index, 6), scatter(x[edge_index[0]], edge_index[1], 0, 6))


@pytest.mark.parametrize("bad", [-1, 6])
@pytest.mark.parametrize("row", [0, 1])
def test_csr_sum_checks_indices(row, bad):
    edge_index = edges(6, 6, 20)
    edge_index[row, 4] = bad
    with pytest.raises(IndexError):
        csr_sum(torch.randn(6, 2), edge_index, 6)


class Doubling(pyg.MessagePassing):
    def forward(self, x, edge_index):
        return self.propagate(edge_index, x=x)

    def message(self, x_j):
        return 2 * x_j


class Rectifying(Doubling):
    def message(self, x_j):
        return x_j.relu()


class Dropping(Doubling):
    def message(self, x_j):
        return nn.functional.dropout(x_j, 0.5, self.training)


class Counting(Doubling):
    """Keeps a statistic of its messages."""

    def __init__(self):
        super().__init__()
        self.register_buffer("seen", torch.zeros(()))

    def message(self, x_j):
        self.seen += x_j.numel()
        return x_j


class OwnUpdate(Doubling):
    def message(self, x_j):
        return x_j

    def update(self, inputs):
        return inputs + 1


class OwnAggregate(Doubling):
    def message(self, x_j):
        return x_j

    def aggregate(self, inputs, index, dim_size=None):
        return scatter(inputs, index, 0, dim_size, "max")


class Renamed(Doubling):
    """A layer nobody has seen: other names, a weight for each edge."""

    def forward(self, x, edge_index, strength):
        return self.propagate(edge_index, h=x, strength=strength)

    def message(self, h_j, strength):
        return h_j * strength.unsqueeze(-1)


class BothWeights(Renamed):
    def message(self, h_j, strength):
        return h_j * strength.unsqueeze(-1) * strength.unsqueeze(-1)


FAST = {
    "gcn": lambda: pyg.GCNConv(4, 3),
    "gin": lambda: pyg.GINConv(nn.Linear(4, 3)),
    "sage": lambda: pyg.SAGEConv(4, 3),
    "graph": lambda: pyg.GraphConv(4, 3),
    "tag": lambda: pyg.TAGConv(4, 3),
    "cheb": lambda: pyg.ChebConv(4, 3, 3),
}
SLOW = {
    "max": lambda: pyg.SAGEConv(4, 3, aggr="max"),
    "gat": lambda: pyg.GATConv(4, 3),
    "backwards": lambda: pyg.GraphConv(4, 3, flow="target_to_source"),
    "doubling": Doubling,
    "rectifying": Rectifying,
    "dropping": Dropping,
    "counting": Counting,
    "update": OwnUpdate,
    "aggregate": OwnAggregate,
}


@pytest.fixture
def products(monkeypatch):
    """Count the sparse products."""
    from edgegnn.train import sparse

    made = []
    plain = sparse.csr_sum
    monkeypatch.setattr(sparse, "csr_sum", lambda *a: made.append(1) or plain(*a))
    return made


def outputs(conv, *args):
    """Output and gradients."""
    torch.manual_seed(0)
    x = args[0].clone().requires_grad_()
    out = conv(x, *args[1:])
    return [out, *torch.autograd.grad(out.square().sum(), [x, *conv.parameters()])]


@pytest.mark.parametrize("name", [*FAST, *SLOW])
def test_accelerate_changes_nothing_but_the_speed(name, products):
    torch.manual_seed(1)
    conv = (FAST | SLOW)[name]().train()
    x, edge_index = torch.randn(8, 4), edges(8, 8, 30)
    plain = outputs(conv, x, edge_index)
    assert not products
    with accelerate(conv):
        fast = outputs(conv, x, edge_index)
    assert bool(products) == (name in FAST)
    assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(plain, fast, strict=True))
    del products[:]
    outputs(conv, x, edge_index)
    assert not products


def test_accelerate_does_not_disturb_statistics():
    conv = Counting()
    with accelerate(conv):
        conv(torch.ones(3, 2), edges(3, 3, 5))
    assert int(conv.seen) == 10


def test_accelerate_finds_layers_by_what_they_send(products):
    x, edge_index, strength = torch.randn(8, 4), edges(8, 8, 30), torch.rand(30)
    for conv, fast in ((Renamed(), True), (BothWeights(), False)):
        del products[:]
        plain = conv(x, edge_index, strength)
        with accelerate(conv):
            assert torch.allclose(conv(x, edge_index, strength), plain, atol=1e-6)
        assert bool(products) == fast


@pytest.mark.parametrize("when", ["before", "within"])
@pytest.mark.parametrize("method", ["message", "aggregate"])
def test_accelerate_respects_methods_of_the_instance(method, when, products):
    conv = pyg.SAGEConv(4, 3, aggr="sum")
    x, edge_index = torch.randn(8, 4), edges(8, 8, 30)
    plain = conv(x, edge_index)
    whole = getattr(conv, method)

    def replace():
        setattr(conv, method, lambda inputs=None, *a, **k: whole(*(() if inputs is None else (inputs,)), *a, **k) * 3)

    if when == "before":
        replace()
    with accelerate(conv):
        if when == "within":
            replace()
        out = conv(x, edge_index)
    assert not products
    assert not torch.allclose(out, plain)


def test_accelerate_respects_hooks(products):
    conv = pyg.SAGEConv(4, 3)
    seen = []
    handle = conv.register_message_forward_hook(lambda *a: seen.append(1))
    with accelerate(conv):
        conv(torch.randn(8, 4), edges(8, 8, 30))
    assert seen
    assert not products
    handle.remove()


def test_accelerate_stays_out_of_export(products):
    model = build("gin", in_channels=4, out_channels=2, layers=3).eval()
    x, edge_index = torch.randn(8, 4), edges(8, 8, 30)
    with accelerate(model):
        program = torch.export.export(model, (x, edge_index))
        text = str(program.graph)
        assert "scatter" in text
        assert "embedding_bag" not in text
        assert not products
        expected = model(x, edge_index)
        assert len(products) == 3
    assert torch.allclose(program.module()(x, edge_index), expected, atol=1e-5)


def test_accelerated_copies_are_independent():
    conv = pyg.GCNConv(4, 3)
    x, edge_index = torch.randn(8, 4), edges(8, 8, 30)
    with accelerate(conv):
        twin = copy.deepcopy(conv)
        with torch.no_grad():
            twin.lin.weight.zero_()
        assert not twin(x, edge_index).any()
        assert conv(x, edge_index).any()


def test_a_batch_gives_what_its_graphs_give(products):
    model = build("sage", in_channels=2, out_channels=2, hidden=8, kind="graph").eval()
    graphs = ring_graphs(5)
    batch = collate(graphs)
    with accelerate(model):
        together = model(batch.x, batch.edge_index, batch.batch)
        alone = [model(g.x, g.edge_index, torch.zeros(g.num_nodes, dtype=torch.long)) for g in graphs]
    assert products
    assert torch.allclose(together, torch.cat(alone), atol=1e-6)


@pytest.mark.slow
def test_gcn_reaches_its_accuracy_on_cora(data_root):
    task = load_task("cora", root=data_root)
    results = []
    for seed in range(3):
        torch.manual_seed(seed)
        model = build("gcn", in_channels=1433, out_channels=7)
        fit(model, task, fit_defaults("node", model="gcn", data="cora", seed=seed))
        results.append(evaluate(model, task, "test"))
    assert math.fsum(results) / 3 >= 0.81


@pytest.mark.slow
def test_gin_learns_digits():
    task = load_task("digits")
    model = model_for(task, "gin", hidden=64, layers=3)
    fit(model, task, fit_defaults("graph", model="gin", data="digits"))
    assert evaluate(model, task, "test") >= 0.92
