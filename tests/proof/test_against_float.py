"""The artifact against the user's float model: every input counts, and quantization costs no more than the limit."""

from __future__ import annotations

import json

import numpy as np
import onnx
import pytest
import torch
import torch_geometric.nn as gnn
from torch import nn
from torch_geometric.data import Data
from traced_once import traced_once

from edgegnn import api
from edgegnn.checkpoint import Checkpoint
from edgegnn.errors import ParityError
from edgegnn.exporting import float_reference, onnx_format
from edgegnn.exporting.input_response import check_follows, variations
from edgegnn.exporting.samples import Sample
from edgegnn.exporting.signal_to_noise import (
    Layer,
    check_drop,
    check_noise,
    check_outputs,
    measure_drop,
    signal_to_noise,
    worst_output,
)
from edgegnn.quantize import recipe

NODES, EDGES = 60, 240
TRACED: dict[str, bytes] = {}  # Weighted, whose weights are the same in each test


def graph(**more):
    random = torch.Generator().manual_seed(0)
    y = torch.arange(NODES) % 3
    x = torch.randn(NODES, 8, generator=random) + 3 * nn.functional.one_hot(y, 8)
    return Data(x=x, edge_index=torch.randint(NODES, (2, EDGES), generator=random), y=y, **more)


class Weighted(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.out = gnn.GraphConv(8, 16), nn.Linear(16, 3)

    def forward(self, x, edge_index, edge_weight):
        return self.out(self.conv(x, edge_index, edge_weight).relu())


@pytest.fixture
def place(tmp_path):
    torch.save(graph(edge_weight=torch.ones(EDGES)), tmp_path / "data.pt")
    return tmp_path


def export(place, quant="none", model=None, **options):
    torch.manual_seed(0)
    checkpoint = Checkpoint((model or Weighted()).eval(), {"factory": "models:build", "args": {}})
    with traced_once(TRACED if model is None else {}):
        return api.export(
            checkpoint, quant=quant, data=str(place / "data.pt"), output=place / "a", settings={"epochs": 1}, **options
        )


# Inputs ------------------------------------------------------------


def with_a_constant_weight(model, **options):
    """The artifact's model, with edge weights of 1 whatever is given."""
    done = REWRITE(model, **options)
    broken = done.model
    for node in broken.graph.node:
        for i, name in enumerate(node.input):
            if name == "edge_weight":
                node.input[i] = "ones"
    shape = onnx.helper.make_node("Shape", ["edge_weight"], ["edges"])
    one = onnx.helper.make_tensor("one", onnx.TensorProto.FLOAT, [1], [1.0])
    ones = onnx.helper.make_node("ConstantOfShape", ["edges"], ["ones"], value=one)
    for node in (ones, shape):
        broken.graph.node.insert(0, node)
    return done


REWRITE = onnx_format.rewrite_proto


@pytest.mark.parametrize(
    ("quant", "found"),
    [
        ("none", "graph 'other edge_weight'"),
        ("dynamic-int8", "ignores the input edge_weight, which the model uses"),
        ("static-int8", "ignores the input edge_weight, which the model uses"),
    ],
)
def test_an_artifact_that_ignores_an_input_is_an_error_that_names_it(place, monkeypatch, quant, found):
    """On the data, and on the awkward graphs made of it, it is right: every weight of an edge is 1 there."""
    monkeypatch.setattr(onnx_format, "rewrite_proto", with_a_constant_weight)
    with pytest.raises(ParityError, match=found):
        export(place, quant)
    assert not (place / "a").exists()


@pytest.mark.parametrize("quant", ["static-int8", "qat-int8"])
def test_an_artifact_that_follows_says_how(place, quant):
    found = export(place, quant).manifest["against_float"]
    assert [entry["input"] for entry in found["inputs"]] == ["x", "edge_index", "edge_weight"]
    assert all(entry["cosine"] > 0.9 and 0.8 < entry["ratio"] < 1.2 for entry in found["inputs"])
    metric = found["metric"]
    assert metric["drop"] == pytest.approx(100 * (metric["float"] - metric["quantized"]), abs=1e-3)
    assert (metric["split"], metric["limit"]) == ("val", 2.0)
    assert found["signal_to_noise"]["outputs"] > 15
    assert found["signal_to_noise"]["other_inputs"] > found["signal_to_noise"]["floor"]
    layers = {entry["layer"].split(" ")[0]: entry["decibels"] for entry in found["signal_to_noise"]["layers"]}
    assert {"conv", "out"} <= set(layers)
    assert all(decibels > 10 for decibels in layers.values())
    json.dumps(found, allow_nan=False)


SAMPLE = Sample("probe", "data", {"x": np.eye(4, 3, dtype=np.float32), "edge_weight": np.ones(4, np.float32)})


def answers(of_x=1.0, of_weight=1.0):
    """A model that is right on the sample."""

    def run(inputs):
        x, weight = (inputs[name] - SAMPLE.inputs[name] for name in ("x", "edge_weight"))
        return SAMPLE.inputs["x"] + of_x * x + of_weight * weight[:, None]

    return run


@pytest.mark.parametrize(
    ("artifact", "problem"),
    [
        (answers(), None),
        (answers(of_weight=0.9), None),
        (answers(of_weight=0), "ignores the input edge_weight"),
        (answers(of_weight=-1), "doesn't follow the input edge_weight"),
        (answers(of_x=8), "doesn't follow the input x"),
        (lambda inputs: answers()(inputs) + (0 if inputs["edge_weight"][0] == 1 else np.nan), "NaN or infinite"),
    ],
)
def test_direction_and_size(artifact, problem):
    others = {name: [sample] for name, sample in variations(SAMPLE).items()}
    assert list(others) == ["x", "edge_weight"]
    if problem is None:
        assert {each.told for each in check_follows([SAMPLE], others, answers(), artifact)} == {"follows"}
        return
    with pytest.raises(ParityError, match=problem):
        check_follows([SAMPLE], others, answers(), artifact)


def test_an_input_that_the_float_model_ignores_is_said_and_no_error():
    others = {name: [sample] for name, sample in variations(SAMPLE).items()}
    found = check_follows([SAMPLE], others, answers(of_weight=0), answers(of_weight=0))
    assert [each.told for each in found] == ["follows", "ignored"]


def test_other_values_are_of_the_datas_own_scale():
    random = np.random.default_rng(0)
    inputs = {
        "x": random.normal(5, 2, (50, 3)).astype(np.float32),
        "edge_index": random.integers(0, 50, (2, 80)),
        "edge_attr": np.stack([random.normal(0, 9, 80), np.full(80, 4.0), np.zeros(80)], axis=1).astype(np.float32),
        "edge_weight": np.ones(80, np.float32),
        "batch": np.zeros(50, np.int64),
    }
    found = variations(Sample("probe", "data", inputs))
    assert set(found) == {"x", "edge_index", "edge_attr", "edge_weight"}
    changed = {name: sample.inputs[name] for name, sample in found.items()}
    assert all(changed[name].dtype == inputs[name].dtype for name in found)
    assert set(map(tuple, changed["x"])) < set(map(tuple, inputs["x"]))
    assert sorted(changed["edge_index"][1]) == sorted(inputs["edge_index"][1])
    assert (changed["edge_index"][0] == inputs["edge_index"][0]).all()
    assert 0.5 <= changed["edge_weight"].min() < changed["edge_weight"].max() <= 1.5
    assert 2 <= changed["edge_attr"][:, 1].min() < changed["edge_attr"][:, 1].max() <= 6
    assert not changed["edge_attr"][:, 2].any()
    for name, sample in found.items():
        assert all(value is inputs[key] for key, value in sample.inputs.items() if key != name)


def test_edges_stay_in_their_graph():
    batch = np.repeat(np.arange(5), 6)
    ends = np.arange(30).repeat(3)
    inputs = {"x": np.ones((30, 1), np.float32), "edge_index": np.stack([ends, np.roll(ends, 1)]), "batch": batch}
    inputs["edge_index"][1] = inputs["edge_index"][0] // 6 * 6 + inputs["edge_index"][1] % 6
    source, target = variations(Sample("probe", "data", inputs))["edge_index"].inputs["edge_index"]
    assert (batch[source] == batch[target]).all()
    assert (target != inputs["edge_index"][1]).mean() > 0.5


# Costs ------------------------------------------------------------


def predicted(rows):
    """Logits of two classes that predict `rows`."""
    return np.eye(2, dtype=np.float32)[rows]


def drop_of(lost, won, rows=500, limit=2.0):
    labels = np.zeros(rows, np.int64)
    before, after = labels.copy(), labels.copy()
    after[:lost] = 1
    before[lost : lost + won] = 1
    return measure_drop("accuracy", labels, predicted(before), predicted(after), limit)


@pytest.mark.parametrize(
    ("lost", "won", "rows", "significant"),
    [
        (10, 0, 500, False),  # 2 points: the limit
        (37, 23, 500, False),  # 2.8 points, of which chance explains half
        (50, 10, 500, True),  # 8 points
        (3, 0, 10, False),  # 30 points of ten rows
        (8, 0, 10, True),
        (0, 40, 500, False),  # a gain
    ],
)
def test_a_drop_counts_when_chance_does_not_explain_it(lost, won, rows, significant):
    drop = drop_of(lost, won, rows)
    assert drop.points == pytest.approx(100 * (lost - won) / rows)
    assert drop.significant is significant


def test_the_limit_counts():
    assert not drop_of(50, 10, limit=8).significant
    assert not drop_of(50, 10, limit=float("inf")).significant
    assert drop_of(50, 10, limit=0).significant


def test_it_is_right_about_chance():
    """Two models with a true drop of the limit: one in a hundred validation splits may say more, and no more."""
    random = np.random.default_rng(0)
    found = []
    for _ in range(2000):
        lost = random.random(100) < 0.12
        won = ~lost & (random.random(100) < 0.10 / 0.88)
        found.append(drop_of(int(lost.sum()), int(won.sum()), 100).significant)
    assert np.mean(found) < 0.015


def test_errors_are_in_hundredths_of_the_deviation():
    random = np.random.default_rng(0)
    labels = random.normal(0, 20, (300, 1)).astype(np.float32)
    near = labels + random.normal(0, 1, labels.shape).astype(np.float32)
    far = labels + random.normal(0, 5, labels.shape).astype(np.float32)
    drop = measure_drop("mae", labels, near, far, 2.0, [20.0])
    assert drop.points == pytest.approx(100 * (drop.quantized - drop.float_value) / 20)
    assert drop.significant
    assert not measure_drop("mae", labels, near, far, 20.0, [20.0]).significant
    assert not measure_drop("mae", labels, far, near, 2.0, [20.0]).significant
    assert not measure_drop("mae", labels[:4], near[:4], far[:4], 10.0, [20.0]).significant


def test_a_ranking_that_is_lost_is_found():
    random = np.random.default_rng(0)
    labels = random.integers(0, 2, 200)
    good = (labels[:, None] + random.normal(0, 0.4, (200, 1))).astype(np.float32)
    assert measure_drop("roc_auc", labels, good, good, 2.0).points == 0
    assert measure_drop("roc_auc", labels, good, random.normal(size=(200, 1)), 2.0).significant
    assert measure_drop("roc_auc", np.zeros(9, np.int64), good[:9], good[:9], 2.0) is None


LAYERS = [Layer("conv1 (GCNConv)", 31.0), Layer("act (ReLU)", None), Layer("conv2 (GCNConv)", 4.0), Layer("o", 3.0)]


def test_the_layer_where_it_starts_is_named():
    where = r"it starts at conv2 \(GCNConv\), where the signal-to-noise falls from 31.0 to 4.0 dB"
    with pytest.raises(ParityError, match=r"costs 8.0 points of accuracy .* limit of 2 .* n = 500.*" + where):
        check_drop(drop_of(50, 10), LAYERS)
    with pytest.raises(ParityError, match=r"of 1.0 dB, at least 3 is needed; " + where):
        check_noise(1.0, 3.0, LAYERS, "random graphs")
    with pytest.raises(ParityError, match=r"no layer loses much to rounding .* fine-tuning changed the model"):
        check_drop(drop_of(50, 10), LAYERS[:1])
    check_drop(drop_of(10, 0), LAYERS)
    check_noise(3.0, 3.0, LAYERS, "random graphs")
    check_noise(None, 3.0, LAYERS, "random graphs")


def test_signal_to_noise_is_about_the_mean():
    want = np.array([[100.0], [101.0], [99.0], [100.0]])
    assert signal_to_noise(want, want + 0.1) == pytest.approx(10 * np.log10(2 / 0.04))
    assert signal_to_noise(want, want) == 140
    assert signal_to_noise(np.ones((4, 1)), want) is None
    assert signal_to_noise(want[:1], want[:1] + 1) == pytest.approx(40)


class Narrow(nn.Module):
    """Two features on scales so far apart that one range of 8 bits holds only the larger."""

    def __init__(self):
        super().__init__()
        self.conv = gnn.SimpleConv(aggr="sum")
        self.first, self.last = nn.Linear(8, 8), nn.Linear(8, 3)
        with torch.no_grad():
            self.first.weight.copy_(torch.eye(8) * torch.tensor([1.0] * 7 + [3000.0])[:, None])
            self.first.bias.zero_()
            self.last.weight.zero_()
            self.last.weight[:, :3] = torch.eye(3)
            self.last.bias.zero_()

    def forward(self, x, edge_index):
        return self.last(self.first(x + 0.001 * self.conv(x, edge_index)))


def test_a_recipe_that_loses_the_metric_fails_and_names_the_layer(place):
    data = graph()
    data.x[:, 7] = torch.linspace(-3, 3, NODES)
    data.train_mask, data.val_mask, data.test_mask = (torch.arange(NODES) // 20 == i for i in range(3))
    torch.save(data, place / "data.pt")
    with pytest.raises(ParityError, match=r"points of accuracy on the validation split.*it starts at \w+") as caught:
        export(place, "static-int8", Narrow(), min_agreement=0.0)
    assert "\n" not in str(caught.value)
    assert not (place / "a").exists()
    with pytest.raises(ParityError, match="ignores the input x"):
        export(place, "static-int8", Narrow(), min_agreement=0.0, max_accuracy_drop=100.0)


def test_where_few_rows_hide_a_loss_the_outputs_decide(place):
    """Four rows of validation can't tell a lost metric from chance."""
    data = graph()
    data.x[:, 7] = torch.linspace(-3, 3, NODES)
    at = torch.arange(NODES)
    data.train_mask, data.val_mask, data.test_mask = at < 40, (at >= 40) & (at < 44), at >= 44
    torch.save(data, place / "data.pt")
    model = Narrow()
    with torch.no_grad():
        model.first.weight[7] *= 0.1
    with pytest.raises(ParityError, match="leaves little of the outputs on the validation split"):
        export(place, "static-int8", model, min_agreement=0.0)


def test_fine_tuning_is_compared_with_the_model_before_it(place, monkeypatch):
    """A fine-tuning that ruins the model is no success of the recipe."""
    seen = []

    def measured(metric, labels, plain, quantized, limit, deviation=None):
        seen.append((plain, quantized))
        return measure_drop(metric, labels, plain, quantized, limit, deviation)

    monkeypatch.setattr(float_reference, "measure_drop", measured)
    torch.manual_seed(0)
    model = Weighted().eval()
    data = torch.load(place / "data.pt", weights_only=False)
    with torch.no_grad():
        want = model(data.x, data.edge_index, data.edge_weight).numpy()
    found = export(place, "qat-int8", model).manifest["against_float"]
    assert found["reference"] == "the float model before fine-tuning"
    ((plain, _),) = seen
    assert (plain[:, None] == want).all(axis=2).any(axis=1).all()


@pytest.mark.slow
def test_a_model_that_was_trained_with_its_points_has_no_metric_to_lose(place):
    """There is no float model; how much its own points cost is said all the same."""
    torch.save(graph(), place / "data.pt")
    trained = api.train("gcn", str(place / "data.pt"), quant="qat-int8", output=place / "m.pt", settings={"epochs": 1})
    found = api.export(trained, data=str(place / "data.pt"), output=place / "a").manifest["against_float"]
    assert found["reference"] == "its own weights without quantization"
    assert found["metric"]["limit"] is None
    assert found["signal_to_noise"]["outputs"] > 10


# Each output ------------------------------------------------------------


def test_an_output_that_is_noise_is_named_with_the_layer_where_it_starts():
    random = np.random.default_rng(0)
    want = random.normal(size=(200, 3)) * [1.0, 5.0, 1e-4]
    layers = [Layer("first", 40.0), Layer("second", -9.0)]
    good = want + 0.01 * random.normal(size=want.shape)  # of the last output nothing is left, but it hardly moves
    at, decibels = worst_output(want, good)
    assert decibels > 30
    check_outputs((at, decibels), recipe("dq-int8"), layers, "graphs")
    garbage = good.copy()
    garbage[:, 0] = 3 * random.normal(size=200)
    assert signal_to_noise(want, garbage) > 3  # over all outputs it seems sound
    at, decibels = worst_output(want, garbage)
    assert (at, decibels < 0) == (0, True)
    check_outputs((at, -5.0), recipe("dq-int4"), layers, "graphs")
    with pytest.raises(ParityError, match=r"nothing of output 0 on graphs.* starts at second"):
        check_outputs((at, decibels), recipe("dq-int8"), layers, "graphs")
    assert worst_output(np.ones((5, 2)), np.zeros((5, 2))) is None
    assert worst_output(want[:1], want[:1]) is None


class Loud(nn.Module):
    """The last class is never predicted, and comes from features whose range one large value spans."""

    def __init__(self):
        super().__init__()
        self.out, self.never = nn.Linear(8, 2), nn.Linear(8, 1, bias=False)

    def forward(self, x, edge_index):
        # far below the others, in steps that eight bits of a range of millions don't have
        return torch.cat([self.out(x), self.never(torch.cat([x[:, :7], 1e6 + 0 * x[:, :1]], 1)) * 5 - 1e7], 1)


def test_an_artifact_whose_metric_survives_but_an_output_does_not_is_refused(place):
    torch.manual_seed(0)
    model = Loud()
    with torch.no_grad():
        model.never.weight[0, 7] = 0
    with pytest.raises(ParityError, match="nothing of output 2"):
        export(place, "static-int8", model)
    assert not (place / "a").exists()


def test_masked_scores_are_no_noise():
    """Attention masks with -inf: equal ones don't count, others do."""
    want = np.array([[1.0, -np.inf], [3.0, 2.0], [5.0, 4.0]])
    assert signal_to_noise(want, want) == signal_to_noise(want[:, :1], want[:, :1])
    found = signal_to_noise(want, want + 0.1)
    assert found is not None
    assert 20 < found < 40
    assert signal_to_noise(want, np.where(np.isfinite(want), want, 0.0)) is None  # what was masked is seen
