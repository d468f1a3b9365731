"""A point for each use, of modules with two names and of modules that run twice; none where no output reads it."""

import pytest
import torch
import torch_geometric.nn as pyg
from sweep import spread
from torch import nn
from torch_geometric.nn.models.schnet import GaussianSmearing, InteractionBlock

from edgegnn.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from edgegnn.exporting.capture import capture
from edgegnn.exporting.qdq import qdq_points
from edgegnn.quantize import QuantModel, prepare, recipe
from edgegnn.quantize.recipe import recipe_from_dict

NODES, WIDTH = 24, 6
DQ = recipe("dq-int8:quantile=0")  # percentiles of so few values would clip the largest
PAPER = recipe_from_dict({**DQ.to_dict(), "name": "paper", "placement": "paper"})
RECIPES = {"dq-int8": DQ, "qat-int8": recipe("qat-int8"), "a2q": recipe("a2q-groups"), "paper": PAPER}


def graph(seed=0):
    random = torch.Generator().manual_seed(seed)
    edges = torch.randint(NODES, (2, 80), generator=random)
    return {"x": torch.rand(NODES, WIDTH, generator=random), "edge_index": torch.cat([edges, edges.flip(0)], 1)}


def mlp(width=WIDTH):
    return nn.Sequential(nn.Linear(width, 8), nn.ReLU(), nn.Linear(8, WIDTH))


class AlsoAnAttribute(nn.Module):
    def __init__(self):
        super().__init__()
        self.nn1 = mlp()
        self.conv1, self.out = pyg.GINConv(self.nn1), nn.Linear(WIDTH, 3)

    def forward(self, x, edge_index):
        return self.out(self.conv1(x, edge_index).relu())


class OneLayerThrice(nn.Module):
    def __init__(self):
        super().__init__()
        self.convs, self.out = nn.ModuleList([pyg.GCNConv(WIDTH, WIDTH)] * 3), nn.Linear(WIDTH, 3)

    def forward(self, x, edge_index):
        for scale, conv in zip((1.0, 10.0, 0.1), self.convs, strict=True):
            x = conv(x, edge_index) * scale
        return self.out(x)


class Blocks(nn.Module):
    """PyG's SchNet block: its MLP is an attribute of it and of its convolution."""

    def __init__(self):
        super().__init__()
        self.block = InteractionBlock(WIDTH, 10, 8, 5.0)
        self.distances, self.out = GaussianSmearing(0.0, 5.0, 10), nn.Linear(WIDTH, 3)

    def forward(self, x, edge_index):
        far = (x[edge_index[0]] - x[edge_index[1]]).norm(dim=1)
        return self.out(self.block(x, edge_index, far, self.distances(far)))


class Nested(nn.Module):
    """A model inside that is also a list's member, and weights tied to another Linear's."""

    def __init__(self):
        super().__init__()
        self.inner = AlsoAnAttribute()
        self.all = nn.ModuleDict({"again": self.inner, "deep": nn.ModuleList([self.inner.nn1, nn.Linear(3, 3)])})
        self.first, self.second = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH)
        self.second.weight = self.first.weight

    def forward(self, x, edge_index):
        x = self.all["deep"][0](self.second(self.first(x).relu()))
        return self.all["deep"][1](self.all["again"](x, edge_index))


class UsesLess(nn.Module):
    """An old head, a layer whose result is left, and attention to edge features that nobody gives."""

    def __init__(self):
        super().__init__()
        self.conv, self.left = pyg.GATConv(WIDTH, 8, edge_dim=3), pyg.GCNConv(8, 8)
        self.old, self.out = nn.Linear(8, 9), nn.Linear(8, 3)

    def forward(self, x, edge_index):
        x = self.conv(x, edge_index)
        self.left(x, edge_index)
        return self.out(x)


class LastMoves(nn.Module):
    """Two steps of EGNN: the positions that the last one moves are read by nobody."""

    def __init__(self):
        super().__init__()
        self.edge = nn.ModuleList([nn.Linear(2 * WIDTH + 1, WIDTH), nn.Linear(2 * WIDTH + 1, WIDTH)])
        self.move = nn.ModuleList([nn.Linear(WIDTH, 1), nn.Linear(WIDTH, 1)])
        self.out = nn.Linear(WIDTH, 3)

    def forward(self, x, edge_index):
        (row, col), pos = edge_index, x[:, :3]
        for edge, move in zip(self.edge, self.move, strict=True):
            apart = pos[row] - pos[col]
            sent = edge(torch.cat([x[row], x[col], apart.square().sum(1, keepdim=True)], 1)).relu()
            pos = pos + torch.zeros_like(pos).index_add_(0, col, apart * move(sent))
            x = x + torch.zeros_like(x).index_add_(0, col, sent)
        return self.out(x)


MODELS = {m.__name__: m for m in (AlsoAnAttribute, OneLayerThrice, Blocks, Nested, UsesLess, LastMoves)}


def trained(model, chosen, steps=3):
    """The model with points, after a few real steps of training."""
    made = prepare(model, chosen, list(graph().values())).train()
    optimizer = torch.optim.SGD([p for p in made.model.parameters() if p.requires_grad], 1e-3)
    for seed in range(steps):
        made.zero_grad()
        made(**graph(seed)).square().mean().backward()
        optimizer.step()
        made.settle()
    made.freeze()
    return made.eval()


@pytest.mark.parametrize(("name", "chosen"), spread(list(MODELS), list(RECIPES)))
def test_it_trains_and_is_rebuilt_from_its_structure(name, chosen):
    torch.manual_seed(0)
    made = trained(MODELS[name](), RECIPES[chosen])
    assert all(point.seen for point in made._all_points())
    again = QuantModel(MODELS[name](), RECIPES[chosen], made.structure())
    again.load_state_dict(made.state_dict())
    args = graph(7)
    assert torch.equal(again.eval()(**args), made(**args))
    assert again.structure() == made.structure()
    with again.as_float() as plain:
        assert isinstance(
            dict(plain.named_parameters())["out.bias" if name != "Nested" else "first.bias"], nn.Parameter
        )


@pytest.mark.parametrize("name", ["AlsoAnAttribute", "OneLayerThrice", "Blocks", "Nested"])
def test_every_name_of_a_module_learns(name):
    torch.manual_seed(0)
    model = MODELS[name]()
    made = prepare(model, recipe("dq-int8"), list(graph().values())).train()
    made(**graph()).square().mean().backward()
    for path, parameter in model.named_parameters(remove_duplicate=False):
        assert isinstance(parameter, nn.Parameter)
        assert parameter.grad is not None, path


@pytest.mark.slow
@pytest.mark.parametrize("name", ["UsesLess", "LastMoves", "OneLayerThrice"])
def test_the_exported_graph_holds_every_point(name):
    torch.manual_seed(0)
    made = trained(MODELS[name](), recipe("dq-int8"))
    file = capture(made, graph(), kind="node")
    assert set(qdq_points(file)) == set(made.structure()["points"])


def test_what_no_output_reads_has_no_point_and_a_reason():
    made = prepare(UsesLess(), recipe("dq-int8"), list(graph().values()))
    assert made.structure()["points"].keys() == {
        *(f"conv.{end}" for end in ("lin.input", "lin.weight", "att_src", "att_dst", "message")),
        *("out.input", "out.weight"),
    }
    assert {k for k, why in made.stayed_float.items() if why == "forward does not use it"} == {
        *("conv.att_edge", "conv.lin_edge.weight", "old.weight", "left.lin.weight", "left.lin.input", "left.message")
    }


def test_a_point_that_training_never_reaches_is_dropped(tmp_path):
    class Rare(nn.Module):
        def __init__(self):
            super().__init__()
            self.lin, self.rare, self.out = (nn.Linear(WIDTH, WIDTH) for _ in range(3))

        def forward(self, x, edge_index):
            return self.out(self.lin(x) + (self.rare(x) if len(x) == NODES else 0))

    made = prepare(Rare(), recipe("qat-int8"), list(graph().values())).train()
    made(torch.rand(5, WIDTH), graph()["edge_index"])
    made.freeze()
    assert made.stayed_float == {"rare.input": "no value passed here in training"}
    assert "rare.input" not in made.structure()["points"]
    again = QuantModel(Rare(), recipe("qat-int8"), made.structure())
    again.load_state_dict(made.state_dict())
    assert torch.equal(again.eval()(**graph(1)), made.eval()(**graph(1)))


def test_a_checkpoint_keeps_both_names(tmp_path):
    made = trained(AlsoAnAttribute(), recipe("dq-int8"))
    source = {"factory": f"{__name__}:AlsoAnAttribute", "args": {}}
    save_checkpoint(Checkpoint(made, source), tmp_path / "m.pt")
    again = load_checkpoint(tmp_path / "m.pt", allow_import=True).model
    assert torch.equal(again(**graph(3)), made(**graph(3)))
    assert again.model.nn1 is again.model.conv1.nn


SEVERAL = {
    "cheb": lambda: pyg.ChebConv(WIDTH, 8, 4),
    "tag": lambda: pyg.TAGConv(WIDTH, 8, K=3),
    "sg": lambda: pyg.SGConv(WIDTH, 8, K=3),
    "appnp": lambda: pyg.APPNP(4, 0.1),
    "arma": lambda: pyg.ARMAConv(WIDTH, 8, 2, 3),
    "mixhop": lambda: pyg.MixHopConv(WIDTH, 8, [0, 1, 3]),
    "ssg": lambda: pyg.SSGConv(WIDTH, 8, 0.1, K=3),
    "one layer thrice": OneLayerThrice,
}


@pytest.mark.parametrize(("name", "chosen"), spread(list(SEVERAL), ["dq-int8", "qat-int8", "paper"]))
def test_a_layer_that_sums_several_times_has_a_range_for_each(name, chosen):
    torch.manual_seed(1)
    layer = SEVERAL[name]()
    made = prepare(layer, RECIPES[chosen], list(graph().values())).train()
    with torch.no_grad():
        for _ in range(40):
            made(**graph())
        got, again = made.eval()(**graph()), QuantModel(SEVERAL[name](), RECIPES[chosen], made.structure())
        again.load_state_dict(made.state_dict())
        assert torch.equal(again.eval()(**graph()), got)
        with made.as_float() as plain:
            expected = plain(**graph())
    assert (got - expected).abs().max() < 0.05 * expected.abs().max()
    assert any(point.endswith(".1") for point in made.structure()["points"])


def test_a_shared_head_has_a_range_for_each_tensor():
    class Shared(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.out = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, 3)

        def forward(self, x, edge_index):
            x = self.first(x)
            return torch.cat([self.out(x), self.out(100 * x)], 1)

    made = prepare(Shared(), recipe("dq-int8"), list(graph().values())).train()
    made(**graph())
    made.eval()
    one, two = made.point("out.input").scale, made.point("out.input.1").scale
    assert two.item() == pytest.approx(100 * one.item(), rel=1e-3)


def test_a_model_saved_with_one_point_for_all_calls_gives_what_it_gave():
    torch.manual_seed(0)
    made = trained(SEVERAL["cheb"](), recipe("dq-int8"))
    old = made.structure()
    old["points"] = {k: v for k, v in old["points"].items() if "message." not in k}
    again = QuantModel(SEVERAL["cheb"](), recipe("dq-int8"), old)
    state = {k: v for k, v in made.state_dict().items() if "message/" not in k}
    again.load_state_dict(state)
    codes = []
    again.point(".message").register_forward_hook(lambda *_: codes.append(1))
    again.eval()(**graph())
    assert len(codes) == 3
