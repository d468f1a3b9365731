"""The sparse products that training uses, and the layers that may use them."""

import copy

import pytest
import torch
from torch import nn
from torch_geometric import nn as pyg
from torch_geometric.data import Data
from torch_geometric.utils import scatter

from edgegnn.models import build
from edgegnn.tasks import collate
from edgegnn.training import accelerate, csr_sum


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
    from edgegnn.training import sparse

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
    graphs = [Data(x=torch.randn(n, 2), edge_index=edges(n, n, 2 * n)) for n in (4, 7, 3)]
    batch = collate(graphs)
    with accelerate(model):
        together = model(batch.x, batch.edge_index, batch.batch)
        alone = [model(g.x, g.edge_index, torch.zeros(g.num_nodes, dtype=torch.long)) for g in graphs]
    assert products
    assert torch.allclose(together, torch.cat(alone), atol=1e-6)


def test_structures_do_not_outlive_the_context():
    from edgegnn.training import sparse

    conv = pyg.SAGEConv(4, 3)
    with accelerate(conv):
        conv(torch.randn(8, 4), edges(8, 8, 30))
        assert len(sparse._recent) == 1
    assert not sparse._recent
