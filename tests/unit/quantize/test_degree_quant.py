"""Degree-Quant: protection by degree, and where the points stand in PyG layers (2008.05000)."""

import json
from dataclasses import replace

import pytest
import torch
from sweep import spread
from torch import nn
from torch_geometric.nn import (
    EdgeConv,
    GATConv,
    GCNConv,
    GINConv,
    GraphConv,
    MessagePassing,
    SAGEConv,
    TAGConv,
    TransformerConv,
    global_mean_pool,
)

from edgegnn.errors import QuantizeError, UsageError
from edgegnn.quantize import (
    RECIPES,
    QuantModel,
    Recipe,
    prepare,
    protection_probability,
    recipe,
    recipe_from_dict,
)

DQ = recipe("dq-int8")
PAPER = replace(DQ, placement="paper")


class Two(nn.Module):
    """Any two layers, with a ReLU between."""

    def __init__(self, first, second):
        super().__init__()
        self.first, self.second = first, second

    def forward(self, x, edge_index):
        return self.second(self.first(x, edge_index).relu(), edge_index)


def mlp(i, o):
    return nn.Sequential(nn.Linear(i, o), nn.BatchNorm1d(o), nn.ReLU(), nn.Linear(o, o))


MODELS = {
    "gcn": lambda: Two(GCNConv(6, 8), GCNConv(8, 3)),
    "gat": lambda: Two(GATConv(6, 4, heads=2), GATConv(8, 3)),
    "gin": lambda: Two(GINConv(mlp(6, 8), train_eps=True), GINConv(mlp(8, 3))),
    "sage": lambda: Two(SAGEConv(6, 8), SAGEConv(8, 3, aggr="max")),
    "transformer": lambda: Two(TransformerConv(6, 4, heads=2), TransformerConv(8, 3)),
}


@pytest.fixture
def graph():
    g = torch.Generator().manual_seed(1)
    return torch.randn(40, 6, generator=g), torch.randint(0, 40, (2, 150), generator=g)


def test_protection_probability_vector():
    edge_index = torch.tensor([[0, 0, 0, 1], [1, 2, 3, 3]])
    p = protection_probability(edge_index, 4, 0.1, 0.5)
    torch.testing.assert_close(p, torch.tensor([0.2, 0.4, 0.4, 0.5]))


def test_points_of_the_paper():
    graph = torch.randn(5, 6), torch.tensor([[0, 1, 2], [1, 2, 3]])
    gcn = prepare(MODELS["gcn"](), PAPER, graph).structure()["points"]
    layer = ["lin.weight", "edge_weight", "lin.input", "lin.output", "message", "aggregate", "update"]
    assert set(gcn) == {f"{conv}.{p}" for conv in ("first", "second") for p in layer}
    gat = prepare(MODELS["gat"](), PAPER, graph).structure()["points"]
    layer = ["lin.weight", "att_src", "att_dst", "lin.input", "lin.output", "logit", "message", "aggregate", "update"]
    assert set(gat) == {f"{conv}.{p}" for conv in ("first", "second") for p in layer}
    gin = prepare(MODELS["gin"](), PAPER, graph).structure()["points"]
    layer = [f"nn.{i}.{p}" for i in (0, 3) for p in ("weight", "input", "output")] + ["message", "aggregate", "update"]
    assert set(gin) == {f"{conv}.{p}" for conv in ("first", "second") for p in layer}


def test_points_stand_in_front_of_integer_operators(graph):
    def points(name):
        quantized = prepare(MODELS[name](), DQ, graph)
        return set(quantized.structure()["points"]), quantized.layers["first"]

    gcn, layer = points("gcn")
    assert gcn == {f"{conv}.{p}" for conv in ("first", "second") for p in ("lin.weight", "lin.input", "message")}
    assert layer == {"rows": "x", "shared": False, "scaled": True}
    gat, layer = points("gat")
    wanted = ("lin.weight", "att_src", "att_dst", "lin.input", "message")
    assert gat == {f"{conv}.{p}" for conv in ("first", "second") for p in wanted}
    assert layer == {"rows": "x", "shared": False, "scaled": False}
    sage, layer = points("sage")  # lin_r reads the codes that the neighbours read
    wanted = ("lin_l.weight", "lin_r.weight", "lin_l.input", "message")
    assert sage == {f"{conv}.{p}" for conv in ("first", "second") for p in wanted}
    assert layer == {"rows": "x", "shared": True, "scaled": False, "products_first": []}
    transformer, layer = points("transformer")
    assert "first.message" in transformer
    assert layer["rows"] == "value"


def test_messages_computed_edge_by_edge_stay_float(graph):
    quantized = prepare(Two(EdgeConv(mlp(12, 8)), EdgeConv(mlp(16, 3))), DQ, graph)
    assert quantized.layers == {"first": {}, "second": {}}
    assert "edge by edge" in quantized.stayed_float["first messages"]
    assert set(quantized.structure()["points"]) == {
        f"{c}.nn.{i}.{p}" for c in ("first", "second") for i in (0, 3) for p in ("weight", "input")
    }


def test_mean_weights_of_a_regular_graph_are_not_degree_scales():
    """On a graph where every node has the same degree, 1 / degree equals deg^-1/2 of both ends."""

    class Mean(MessagePassing):
        def forward(self, x, edge_index):
            degree = torch.bincount(edge_index[1], minlength=x.size(0)).clamp(min=1).to(x.dtype)
            return self.propagate(edge_index, x=x, weight=1 / degree[edge_index[1]])

        def message(self, x_j, weight):
            return x_j * weight.view(-1, 1)

    n = torch.arange(12)
    ring = torch.stack([torch.cat([n, n]), torch.cat([(n + 1) % 12, (n + 2) % 12])])
    quantized = prepare(Two(Mean(), Mean()), DQ, (torch.randn(12, 4), ring))
    assert quantized.layers["first"] == {"rows": "x", "shared": True, "scaled": False, "products_first": []}


class Scaled(MessagePassing):
    """Channels get a factor each between the sum and the product: they don't commute."""

    def __init__(self):
        super().__init__()
        self.factor, self.lin = nn.Parameter(torch.rand(32) + 0.5), nn.Linear(32, 4)

    def forward(self, x, edge_index):
        return self.lin(self.propagate(edge_index, x=x) * self.factor)


class Picky(MessagePassing):
    """Takes no rows but ones without a sign."""

    def __init__(self):
        super().__init__()
        self.lin = nn.Linear(32, 4)

    def forward(self, x, edge_index):
        if x.min() < 0:
            raise ValueError("a count can't be negative")
        return self.lin(self.propagate(edge_index, x=x))


class PerRow(MessagePassing):
    """A user's own: the sum over degree, less the node's own row."""

    def __init__(self):
        super().__init__()
        self.out = nn.Linear(32, 4)

    def forward(self, x, edge_index):
        degree = torch.bincount(edge_index[1], minlength=x.size(0)).to(x.dtype) + 1
        return self.out(self.propagate(edge_index, x=x) / degree.unsqueeze(1) - 0.5 * x)


class Bent(PerRow):
    """A sum that something happens to on its way to the product."""

    def __init__(self, bend):
        super().__init__()
        self.bend = bend

    def forward(self, x, edge_index):
        return self.out(self.bend(self.propagate(edge_index, x=x)))


@pytest.mark.parametrize(
    ("conv", "products"),
    [
        (lambda: GINConv(mlp(32, 5), train_eps=True), ["first.nn.0"]),
        (lambda: GINConv(mlp(32, 6)), []),  # not narrow enough
        (lambda: SAGEConv(32, 4), ["first.lin_l"]),  # lin_r reads the codes themselves
        (lambda: SAGEConv(32, 4, aggr="max"), []),
        (lambda: SAGEConv(32, 4, normalize=True, project=True), []),  # its rows are a product's already
        (lambda: GraphConv(32, 4), ["first.lin_rel"]),
        (lambda: TAGConv(32, 4), []),  # several sums
        (lambda: GCNConv(32, 4), []),  # its product comes first anyway
        (Scaled, []),
        (Picky, []),
        (PerRow, ["first.out"]),
        (lambda: Bent(lambda x: 3 * x), ["first.out"]),
        (lambda: Bent(lambda x: x.clamp(-1000, 1000)), []),  # not seen in numbers around 1
        (lambda: Bent(lambda x: nn.functional.softshrink(x, 1e-3)), []),
        (lambda: Bent(lambda x: x + 1e-3), []),
    ],
    ids=[
        "gin",
        "wide",
        "sage",
        "max",
        "projected",
        "graph",
        "hops",
        "gcn",
        "scaled",
        "picky",
        "own",
        "times",
        "limit",
        "threshold",
        "constant",
    ],
)
def test_products_that_narrow_read_the_sum_without_a_point(conv, products):
    g = torch.Generator().manual_seed(1)
    wide = 100 * torch.rand(40, 32, generator=g), torch.randint(0, 40, (2, 150), generator=g)
    first = conv()
    model = Two(first, GCNConv(first(*wide).shape[1], 3))
    quantized = prepare(model, DQ, wide)
    assert quantized.layers["first"].get("products_first", []) == products
    points = set(quantized.structure()["points"])
    assert not {f"{name}.input" for name in products} & points
    assert {f"{name}.weight" for name in products} < points
    if products:
        a2q = prepare(model, recipe("a2q"), wide)
        assert a2q.layers["first"].get("products_first", []) == [], "bits of a row are learnt in front of the product"
        paper = prepare(model, PAPER, wide).structure()["points"]
        assert all(f"{name}.input" in paper for name in products)


@pytest.mark.parametrize("name", ["gcn", "gin", "sage", "gat"])
def test_quantizing_source_rows_changes_nothing_but_rounding(name, graph):
    """With points that let everything through, a layer computes what it computed before."""
    torch.manual_seed(0)
    model = MODELS[name]().eval()
    reference = model(*graph)
    quantized = prepare(model, DQ, graph).eval()
    for point in quantized._all_points():
        point.forward = lambda x, *_: x.clone()
    torch.testing.assert_close(quantized(*graph), reference)


def test_first_linear_of_a_scalar_feature_stays_float():
    x, edge_index = torch.randn(5, 1), torch.tensor([[0, 1, 2], [1, 2, 3]])
    model = prepare(Two(GINConv(mlp(1, 8)), GINConv(mlp(8, 3))), DQ, (x, edge_index))
    points = model.structure()["points"]
    assert not any(p.startswith("first.nn.0") for p in points)
    assert {"first.message", "first.nn.3.weight", "second.nn.0.weight"} <= set(points)
    assert "single" in model.stayed_float["first.nn.0.weight"]


@pytest.mark.parametrize(
    ("name", "kind", "placement"), spread(list(MODELS), ["qat-int8", "dq-int8"], ["inputs", "paper", "inputs"])
)
def test_eight_bits_stay_close_to_float(name, kind, placement, graph):
    torch.manual_seed(0)
    model = MODELS[name]()
    reference = model.eval()(*graph)
    quantized = prepare(model, replace(recipe(kind), placement=placement), graph)
    quantized.train()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d):
            module.eval()
    quantized(*graph)
    quantized.eval()
    quantized.freeze()
    error = (quantized(*graph) - reference).abs()
    assert 0 < error.mean() < 0.05 * reference.abs().max()


def test_dry_run_leaves_the_model_as_it_was(graph):
    model = MODELS["gin"]().train()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    state = torch.get_rng_state()
    prepare(model, DQ, graph)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())


@pytest.mark.parametrize("name", ["gin", "sage"])
def test_sum_of_copies_equals_the_edge_level_path(name, graph):
    """Ranges, outputs and gradients: quantizing a source once is quantizing each of its messages."""

    def run(copies):
        torch.manual_seed(0)
        model = MODELS[name]()
        quantized = prepare(model, PAPER, graph)
        assert quantized.layers
        if not copies:
            quantized.layers.clear()
        quantized.set_protection(protection_probability(graph[1], 40, 0.2, 0.6))
        quantized.train()
        torch.manual_seed(3)
        out = quantized(*graph)
        out.square().sum().backward()
        ranges = {p.name: (p.lo.item(), p.hi.item()) for p in quantized._all_points() if p.axis < 0}
        return out.detach(), ranges, [p.grad for p in model.parameters() if p.grad is not None]

    fast, slow = run(True), run(False)
    torch.testing.assert_close(fast[0], slow[0])
    assert fast[1].keys() == slow[1].keys()
    for name, span in fast[1].items():
        assert span == pytest.approx(slow[1][name], rel=1e-5)
    for a, b in zip(fast[2], slow[2], strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


def test_masks_reach_nodes_and_edges(graph):
    """With everybody protected, a training forward is the float forward."""
    torch.manual_seed(0)
    model = Two(GATConv(6, 4, heads=2), GATConv(8, 3))
    for name, value in model.named_parameters():
        if "att" in name or "weight" in name:  # weights on their grid already: only activations could differ
            value.data = torch.round(value.data * 4)
            value.data.flatten()[0] = 127
    reference = model(*graph)
    quantized = prepare(model, recipe_from_dict({**DQ.to_dict(), "weight_per_channel": True}), graph).train()
    quantized.set_protection(torch.ones(40))
    for point in quantized._all_points():
        if point.observer == "weight":
            point._weight = lambda x: x
    torch.testing.assert_close(quantized(*graph), reference)
    quantized.set_protection(None)
    assert not torch.allclose(quantized(*graph), reference)


def test_ranges_are_those_of_inference_under_dropout(graph):
    """A point after a dropout quantizes first and drops then: its range does not carry the factor 1 / (1 - p)."""

    class Dropped(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.drop = GINConv(mlp(6, 8)), nn.Dropout(0.8)
            self.lin = nn.Linear(6, 6)

        def forward(self, x, edge_index):
            x = nn.functional.dropout(x, 0.8, self.training)
            return self.conv(self.drop(self.lin(x)), edge_index)

    torch.manual_seed(0)
    x, edge_index = graph
    quantized = prepare(Dropped(), recipe_from_dict({**PAPER.to_dict(), "observer": "abs"}), graph).train()
    quantized(x, edge_index)
    assert quantized.point("lin.input").hi.item() == x.max().item()
    quantized.layers.clear()
    out = quantized.point("lin.output")
    message = quantized.point("conv.message")
    assert message.hi.item() == pytest.approx(out.hi.item(), rel=0.02)


def test_structure_rebuilds_the_model(graph):
    quantized = prepare(MODELS["gin"](), DQ, graph).train()
    quantized(*graph)
    again = QuantModel(MODELS["gin"](), DQ, quantized.structure())
    again.load_state_dict(quantized.state_dict())
    assert torch.equal(again.eval()(*graph), quantized.eval()(*graph))


@pytest.mark.parametrize(("name", "chosen"), spread(list(MODELS), [DQ, PAPER]))
def test_every_point_is_in_the_exported_program(name, chosen, graph):
    quantized = prepare(MODELS[name](), chosen, graph).train()
    quantized(*graph)
    quantized.eval()
    sizes = {"x": {0: torch.export.Dim("n")}, "edge_index": {1: torch.export.Dim("e")}}
    program = torch.export.export(quantized, graph, dynamic_shapes=sizes, strict=False)
    names = [n.args[-1] for n in program.graph.nodes if "fake_quantize" in str(n.target)]
    assert sorted(names) == sorted(quantized.structure()["points"])


def test_pooled_rows_are_never_masked():
    class Pooled(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.head = GCNConv(6, 8), nn.Linear(8, 2)

        def forward(self, x, edge_index, batch):
            return self.head(global_mean_pool(self.conv(x, edge_index), batch))

    x, edge_index = torch.randn(6, 6), torch.tensor([[0, 1, 3, 4], [1, 2, 4, 5]])
    batch = torch.tensor([0, 0, 0, 1, 1, 1])
    quantized = prepare(Pooled(), PAPER, (x, edge_index, batch)).train()
    quantized.set_protection(torch.ones(6))
    quantized(x, edge_index, batch)
    seen = {p.name for p in quantized._all_points() if p.seen}
    assert {"head.input", "head.output", "head.weight"} <= seen
    assert "conv.message" not in seen


def test_never_observed_is_an_error(graph):
    quantized = prepare(MODELS["gcn"](), DQ, graph)
    with pytest.raises(QuantizeError, match="never saw a value"):
        quantized.freeze()


def test_nothing_to_quantize(graph):
    class Nothing(nn.Module):
        def forward(self, x, edge_index):
            return x

    with pytest.raises(QuantizeError, match="nothing to quantize"):
        prepare(Nothing(), DQ, graph)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ("dq", "JSON object"),
        ({"name": "a", "bitz": 8}, "unknown field 'bitz'"),
        ({"name": "a", "method": "qat", "bits": "8"}, "bits must be int"),
        ({"name": "a", "method": "qat", "bits": 3}, "4 or 8"),
        ({"name": "a", "method": "magic"}, "method is none, dynamic"),
        ({"name": "a", "method": "dq", "protect_low": 0.5, "protect_high": 0.1}, "protect_low"),
        ({"name": "a", "method": "static", "bits": 4}, "bits is a field of qat, dq, a2q, not of static"),
        ({"name": "a", "method": "qat", "protect_high": 0.1}, "protect_high is a field of dq, not of qat"),
    ],
)
def test_bad_recipes(values, message):
    with pytest.raises(UsageError, match=message):
        recipe_from_dict(values)


def test_recipes_round_trip_and_unknown_names():
    for known in RECIPES.values():
        assert recipe_from_dict(json.loads(json.dumps(known.to_dict()))) == known
    # Older files have the fields of all methods.
    others = {"target_bits": 2.0, "groups": 1000, "bits_of": {}, "keep_float": []}
    assert recipe_from_dict({**RECIPES["dq-int8"].to_dict(), **others}) == RECIPES["dq-int8"]
    assert recipe_from_dict({"name": "none", "method": "none", "bits": 8, "observer": "mom", **others}) == Recipe(
        "none"
    )
    with pytest.raises(UsageError, match="did you mean dq-int8"):
        recipe("dq-int9")
    with pytest.raises(UsageError, match="can't read the recipe file"):
        recipe("nowhere.json")
