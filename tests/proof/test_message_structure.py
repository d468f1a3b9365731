"""Where points go is proved, not guessed: on other inputs than the sample, 8 bits cost what 8 bits cost."""

import pytest
import torch
import torch_geometric.nn as pyg
from sweep import spread
from torch import nn
from torch_geometric.nn import MessagePassing
from torch_geometric.utils import add_self_loops, degree

from edgegnn.quantize import prepare, recipe
from edgegnn.quantize.dataflow import DataFlow, is_scaling_of

NODES, EDGES, WIDTH = 24, 90, 6


class Written(MessagePassing):
    """x W, then messages written by hand of x_j, x_i, the normalisation, the weight and the features of the edge."""

    def __init__(self, own, *, aggr="add"):
        super().__init__(aggr=aggr)
        self.lin, self.edge, self.own = nn.Linear(WIDTH, 8), nn.Linear(WIDTH, 8, bias=False), own

    def forward(self, x, edge_index, edge_weight, edge_attr):
        row, col = edge_index
        norm = degree(col, x.size(0)).pow(-0.5)
        norm = norm.masked_fill(norm == float("inf"), 0)
        norm = (norm[row] * norm[col]).view(-1, 1)
        w = edge_weight.view(-1, 1)
        return self.propagate(edge_index, x=self.lin(x), e=self.edge(edge_attr), norm=norm, w=w)

    def message(self, x_j, e, norm, w):
        return self.own(x_j, e, norm, w)


class Differences(MessagePassing):
    def __init__(self):
        super().__init__(aggr="add")
        self.lin = nn.Linear(WIDTH, 8)

    def forward(self, x, edge_index):
        degrees = degree(edge_index[1], x.size(0)).clamp(min=1).pow(-0.5)
        norm = (degrees[edge_index[0]] * degrees[edge_index[1]]).view(-1, 1)
        return self.propagate(edge_index, x=self.lin(x), norm=norm)

    def message(self, x_i, x_j, norm):
        return norm * (x_j - x_i)


class LearntWeights(nn.Module):
    """GCN over weights that a parameter times a feature of the edge gives; all 1 before training."""

    def __init__(self):
        super().__init__()
        self.conv, self.weight = pyg.GCNConv(WIDTH, 8), nn.Parameter(torch.zeros(WIDTH))

    def forward(self, x, edge_index, edge_attr):
        return self.conv(x, edge_index, (edge_attr @ self.weight).exp())


class Equivariant(MessagePassing):
    """Messages of squared distances, and positions that move (EGNN)."""

    def __init__(self):
        super().__init__(aggr="mean")
        self.message_mlp = nn.Sequential(nn.Linear(2 * WIDTH + 1, 8), nn.SiLU(), nn.Linear(8, 8))
        self.move, self.out = nn.Linear(8, 1, bias=False), nn.Linear(8 + 3, 4)

    def forward(self, x, edge_index, pos):
        row, col = edge_index
        apart = pos[row] - pos[col]
        m = self.message_mlp(torch.cat([x[row], x[col], apart.square().sum(1, keepdim=True)], 1))
        moved = pos + self.propagate(edge_index, x=(pos, pos), scale=self.move(m))
        return self.out(torch.cat([self.aggregate(m, col, dim_size=x.size(0)), moved], 1))

    def message(self, x_i, x_j, scale):
        return (x_j - x_i) * scale


class VirtualNode(nn.Module):
    def __init__(self):
        super().__init__()
        self.virtual = nn.Embedding(1, WIDTH)
        self.a, self.b, self.mlp = pyg.GCNConv(WIDTH, WIDTH), pyg.GCNConv(WIDTH, 8), nn.Linear(WIDTH, WIDTH)

    def forward(self, x, edge_index, batch):
        at = self.virtual(torch.zeros(int(batch.max()) + 1, dtype=torch.long))
        x = self.a(x + at[batch], edge_index).relu()
        at = self.mlp(at + pyg.global_add_pool(x, batch)).relu()
        return pyg.global_mean_pool(self.b(x + at[batch], edge_index), batch)


class Layers(nn.Module):
    """A layer of PyG between a Linear and another."""

    def __init__(self, conv, width=8):
        super().__init__()
        self.first, self.conv, self.last = nn.Linear(WIDTH, 8), conv, nn.Linear(width, 4)


class OfAttributes(Layers):
    def forward(self, x, edge_index, edge_attr):
        return self.last(self.conv(self.first(x), edge_index, edge_attr))


class OfWeights(Layers):
    def forward(self, x, edge_index, edge_weight):
        return self.last(self.conv(self.first(x), edge_index, edge_weight))


class Plain(Layers):
    def forward(self, x, edge_index):
        return self.last(self.conv(self.first(x), edge_index))


def mlp():
    return nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 8))


MODELS = {
    "term added without bias": lambda: Written(lambda x, e, norm, w: norm * (x + e)),
    "gate": lambda: Written(lambda x, e, norm, w: torch.sigmoid(e) * x),
    "weight and term": lambda: Written(lambda x, e, norm, w: x * w * e),
    "weighted norm": lambda: Written(lambda x, e, norm, w: norm * w * x),
    "weight near 1": lambda: Written(lambda x, e, norm, w: norm * x * (1 + 1e-7 * (w - 1)) + 0.3 * e),
    "limit": lambda: Written(lambda x, e, norm, w: (norm * x).clamp(-2, 2)),
    "differences": Differences,
    "learnt weights": LearntWeights,
    "egnn": Equivariant,
    "virtual node": VirtualNode,
    "gcn": lambda: OfWeights(pyg.GCNConv(8, 8)),
    "appnp": lambda: OfWeights(pyg.APPNP(3, 0.1)),
    "tag": lambda: OfWeights(pyg.TAGConv(8, 8, K=3)),
    "sg": lambda: OfWeights(pyg.SGConv(8, 8, K=2)),
    "graph conv": lambda: OfWeights(pyg.GraphConv(8, 8)),
    "gine": lambda: OfAttributes(pyg.GINEConv(mlp(), edge_dim=WIDTH)),
    "gatv2": lambda: OfAttributes(pyg.GATv2Conv(8, 8, edge_dim=WIDTH)),
    "cg": lambda: OfAttributes(pyg.CGConv(8, dim=WIDTH)),
    "res gated": lambda: OfAttributes(pyg.ResGatedGraphConv(8, 8, edge_dim=WIDTH)),
    "transformer": lambda: OfAttributes(pyg.TransformerConv(8, 8, edge_dim=WIDTH)),
    "gin": lambda: Plain(pyg.GINConv(mlp())),
    "sage": lambda: Plain(pyg.SAGEConv(8, 8)),
}


def graph(seed, model, *, sample=False):
    """Arguments of the model; in the sample every weight is 1 and features are a tenth of those elsewhere."""
    random, scale = torch.Generator().manual_seed(seed), 0.1 if sample else 1.0
    edge_index = torch.randint(NODES // 2, (2, EDGES), generator=random)
    edge_index[:, EDGES // 2 :] += NODES // 2
    values = {
        "x": scale * torch.randn(NODES, WIDTH, generator=random),
        "edge_index": edge_index,
        "edge_weight": torch.ones(EDGES) if sample else 3 * torch.rand(EDGES, generator=random) + 0.1,
        "edge_attr": scale * torch.randn(EDGES, WIDTH, generator=random),
        "pos": scale * torch.randn(NODES, 3, generator=random),
        "batch": torch.arange(NODES) // (NODES // 2),
    }
    names = model.forward.__code__.co_varnames[1 : model.forward.__code__.co_argcount]
    return {name: values[name] for name in names}


def quantized(model, name):
    """The model with points that were found on the sample, and ranges of other graphs."""
    made = prepare(model, recipe(name), list(graph(0, model, sample=True).values())).train()
    made.set_protection(None)
    with torch.no_grad():
        for seed in (20, 21, *range(1, 10)):
            made(*graph(seed, model).values())
    return made.eval()


METHODS = [("dq-int8:quantile=0", 0.04), ("qat-int8", 0.2)]  # a moving average of ranges clips the largest values


@pytest.mark.parametrize(("name", "chosen"), spread(list(MODELS), METHODS))
def test_eight_bits_cost_what_eight_bits_cost(name, chosen):
    method, limit = chosen
    torch.manual_seed(3)
    model = MODELS[name]().eval()
    made = quantized(model, method)
    args = graph(20, model)
    with torch.no_grad(), made.as_float() as plain:
        expected = plain(**args)
    with torch.no_grad():
        got = made(**args)
    noise = (got - expected).norm() / expected.norm()
    assert noise < limit, f"{name}: {float(noise):.3f} of the output"
    for key in set(args) & {"x", "edge_weight", "edge_attr", "pos"}:
        other = {**args, key: graph(21, model)[key]}
        with torch.no_grad():
            moved = made(**other) - got
            with made.as_float() as plain:
                moves = plain(**other) - expected
        if moves.norm() > 0.05 * expected.norm():  # a weight that the model hardly reads may stay below a code
            assert torch.nn.functional.cosine_similarity(moved.flatten(), moves.flatten(), dim=0) > 0.9, key
            assert 0.8 < moved.norm() / moves.norm() < 1.25, key


@pytest.mark.parametrize(
    ("weights", "scaled"),
    [
        (lambda edges, weight: None, True),
        (lambda edges, weight: torch.ones(edges.shape[1]), True),
        (lambda edges, weight: weight, False),
        (lambda edges, weight: torch.ones_like(weight), True),
        (lambda edges, weight: weight / weight, False),
        (lambda edges, weight: weight.new_ones(len(weight)) * float(weight.max()), False),
        (lambda edges, weight: torch.zeros(len(weight)).index_fill_(0, torch.arange(len(weight)), 1.0), True),
        (lambda edges, weight: torch.zeros(len(weight)).copy_(weight), False),
    ],
)
def test_a_layer_is_scaled_by_degrees_only_where_no_input_says_so(weights, scaled):
    class Weighted(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = pyg.GCNConv(WIDTH, 8)

        def forward(self, x, edge_index, edge_weight):
            return self.conv(x, edge_index, weights(edge_index, edge_weight))

    model = Weighted()
    layers = prepare(model, recipe("dq-int8"), list(graph(0, model, sample=True).values())).layers
    assert layers["conv"]["scaled"] is scaled


@pytest.mark.parametrize(
    "conv",
    [
        lambda: pyg.GCNConv(WIDTH, 8, normalize=False),
        lambda: pyg.ClusterGCNConv(WIDTH, 8),
    ],
)
def test_another_normalisation_is_not_taken_for_degrees(conv):
    model = pyg.Sequential("x, edge_index", [(conv(), "x, edge_index -> x")])
    # a ring: every degree is 2, with its self loops 3
    ring = torch.arange(NODES)
    edges = torch.stack([torch.cat([ring, (ring + 1) % NODES]), torch.cat([(ring + 1) % NODES, ring])])
    layers = prepare(model, recipe("dq-int8"), [torch.randn(NODES, WIDTH), edges]).layers
    assert not next(iter(layers.values()))["scaled"]


def test_degrees_that_no_node_of_the_example_tells_apart():
    class Limited(MessagePassing):
        def __init__(self):
            super().__init__(aggr="add")
            self.lin = nn.Linear(WIDTH, 8)

        def forward(self, x, edge_index):
            edge_index, _ = add_self_loops(edge_index, num_nodes=x.size(0))
            scale = degree(edge_index[1], x.size(0)).clamp(max=12).pow(-0.5)
            norm = (scale[edge_index[0]] * scale[edge_index[1]]).view(-1, 1)
            return self.propagate(edge_index, x=self.lin(x), norm=norm)

        def message(self, x_j, norm):
            return norm * x_j

    model = pyg.Sequential("x, edge_index", [(Limited(), "x, edge_index -> x")])
    edges = torch.stack([torch.arange(NODES).repeat(3), torch.arange(3 * NODES) * 7 % NODES])
    (layer,) = prepare(model, recipe("dq-int8"), [torch.randn(NODES, WIDTH), edges]).layers.values()
    assert layer == {"rows": "x", "shared": False, "scaled": False}


@pytest.mark.parametrize(
    ("code", "scales"),
    [
        (lambda x, w: x, True),
        (lambda x, w: -x * w, True),
        (lambda x, w: w.view(-1, 1) * x.view(5, 3, 1).squeeze(-1) / 2 + x, True),
        (lambda x, w: x * torch.ones_like(x), True),
        (lambda x, w: x + 1e-9, False),
        (lambda x, w: x.flip(-1), False),
        (lambda x, w: x * x, False),
        (lambda x, w: w / x, False),
        (lambda x, w: x.relu() * 1e-9 + x, False),
        (lambda x, w: x.sum(1, keepdim=True).expand(5, 3), False),
        (lambda x, w: x * float(x[0, 0]), False),
        (lambda x, w: x.new_zeros(5, 3).copy_(x) * w, False),
        (lambda x, w: torch.div(x, 2, rounding_mode="floor"), False),
        (lambda x, w: w.expand(5, 3), False),
    ],
)
def test_a_scaling_is_proved_from_operations(code, scales):
    x, w = torch.zeros(5, 3), torch.ones(5, 1)  # zeros: all look alike by their values
    assert is_scaling_of(x, lambda values: code(values, w)) is scales


def test_what_a_tensor_comes_from_is_followed_through_views_and_writes():
    a, b = torch.rand(4), torch.rand(4)
    flow = DataFlow()
    flow.mark(a, "a")
    flow.mark(b, "b")
    with flow:
        one, two, part = a * 2, torch.zeros(4), torch.zeros(4)
        part[1:].copy_(b[:3])
        read = float(b.sum())
        later = torch.zeros(2) + read
    assert [flow.sources(t) for t in (one, two, part, later)] == [{"a"}, set(), {"b"}, {"b"}]
    assert flow.control == {"b"}
