"""Link prediction: the split, the models that score pairs, the metrics, and what is wrong with a user's data."""

import copy

import numpy as np
import pytest
import torch
from link_example import Recommender, social_graph
from sklearn.metrics import average_precision_score, roc_auc_score
from torch_geometric.data import Data
from torch_geometric.nn import GAE, GCNConv

from edgegnn.errors import DataError, TrainError, UsageError
from edgegnn.models import build
from edgegnn.runtime.metrics import score
from edgegnn.tasks import load_task, model_inputs, restore_task, task_from_graphs
from edgegnn.tasks.link import training_pairs
from edgegnn.tasks.pair_models import PairModel, as_pair_model, inner_product
from edgegnn.training import FitConfig, fit


def links_of(pairs):
    return {tuple(sorted(p)) for p in pairs.t().tolist()}


def task_of(graph, split=None, seed=0):
    return task_from_graphs(graph, data="social", split=split, seed=seed, task="link-prediction")


def parts_of(task):
    """Split -> (links, negatives), each a set of unordered pairs."""
    graph = task.graphs[0]
    return {
        part: tuple(links_of(graph.edge_label_index[:, ids[graph.y[ids] == label]]) for label in (1, 0))
        for part, ids in task.index.items()
    }


@pytest.mark.parametrize("directed", [False, True])
@pytest.mark.parametrize("seed", [0, 1])
def test_split_leaks_nothing(directed, seed):
    graph = social_graph(seed=seed, directed=directed)
    graph.edge_index = torch.cat([graph.edge_index, graph.edge_index[:, :9], torch.tensor([[3], [3]])], dim=1)
    task = task_of(graph, "random:0.1,0.2", seed)
    parts, whole = parts_of(task), links_of(graph.edge_index) - {(3, 3)}
    links = [parts[p][0] for p in ("train", "val", "test")]
    assert set.union(*links) == whole
    assert sum(map(len, links)) == len(whole)  # no link in two splits, in whatever direction
    assert [len(part) for part in links[1:]] == [int(0.1 * len(whole)), int(0.2 * len(whole))]
    negatives = [parts[p][1] for p in ("train", "val", "test")]
    assert not set.union(*negatives) & whole
    assert sum(map(len, negatives)) == len(set.union(*negatives))  # and no negative in two splits
    assert all(a != b for a, b in set.union(*negatives))
    assert [len(n) for n in negatives[1:]] == [len(part) for part in links[1:]]
    assert links_of(task.graphs[0].edge_index) == links[0] | {(3, 3)}  # messages: training links and self loops
    facts = task.facts["link_split"]
    assert facts["directed"] is directed
    assert facts["links"] == {"train": len(links[0]), "val": len(links[1]), "test": len(links[2])}
    if directed:  # pairs keep the direction that they have
        ids = torch.cat(list(task.index.values()))
        positive = task.graphs[0].edge_label_index[:, ids[task.graphs[0].y[ids] == 1]]
        assert {tuple(p) for p in positive.t().tolist()} <= {tuple(p) for p in graph.edge_index.t().tolist()}


def test_split_is_a_function_of_its_seed():
    one, same, other = (task_of(social_graph(), seed=s) for s in (3, 3, 4))
    assert torch.equal(one.graphs[0].edge_label_index, same.graphs[0].edge_label_index)
    assert not torch.equal(one.graphs[0].edge_label_index, other.graphs[0].edge_label_index)
    assert one.spec.split == "random:0.05,0.15"
    assert one.spec.metric == "roc_auc"


def test_edge_features_follow_the_messages():
    graph = social_graph()
    graph.edge_attr = graph.edge_index.t().float()
    graph.edge_weight = graph.edge_index[0] + 100.0 * graph.edge_index[1]
    data = task_of(graph).graphs[0]
    assert torch.equal(data.edge_attr, data.edge_index.t().float())
    assert torch.equal(data.edge_weight, data.edge_index[0] + 100.0 * data.edge_index[1])


def test_degrees_know_training_links_only(tmp_path):
    graph = social_graph()
    del graph.x
    graph.num_nodes = 60
    torch.save(graph, tmp_path / "g.pt")
    task = load_task(str(tmp_path / "g.pt"), task="link-prediction")
    degree = torch.bincount(task.graphs[0].edge_index[1], minlength=60).float()
    assert torch.allclose(task.graphs[0].x[:, 0], (degree - degree.mean()) / degree.std(correction=0), atol=1e-5)
    again = restore_task(task.spec)
    assert torch.equal(again.graphs[0].x, task.graphs[0].x)
    assert torch.equal(again.graphs[0].edge_label_index, task.graphs[0].edge_label_index)


def test_dense_graph_lists_its_negatives():
    nodes = 14
    every = torch.triu_indices(nodes, nodes, 1)
    task = task_of(Data(x=torch.eye(nodes), edge_index=every[:, ::3]), "random:0.1,0.1")
    parts = parts_of(task)
    assert not set.union(*(p[1] for p in parts.values())) & links_of(every[:, ::3])
    assert len(parts["train"][1]) >= len(parts["train"][0])


def test_training_draws_other_negatives_each_epoch():
    task = task_of(social_graph())
    graph, train = task.graphs[0], task.index["train"]
    generator = torch.Generator().manual_seed(0)
    one, two = (training_pairs(graph.y, train, generator) for _ in range(2))
    count = int(graph.y[train].sum())
    assert len(one) == 2 * count
    assert int(graph.y[one].sum()) == count
    assert not torch.equal(one, two)
    assert set(one.tolist()) <= set(train.tolist())


@pytest.mark.parametrize(
    ("graph", "split", "error", "words"),
    [
        (Data(x=torch.eye(5), edge_index=torch.zeros(2, 0, dtype=torch.long)), None, DataError, "needs edges"),
        (Data(x=torch.ones(1, 3), edge_index=torch.zeros(2, 2, dtype=torch.long)), None, DataError, "no link to pred"),
        (Data(x=torch.eye(5), edge_index=torch.tensor([[0, 1, 2], [1, 2, 3]])), None, DataError, "too few"),
        (social_graph(), "random:0,0.1", UsageError, "between 0 and 1"),
        (social_graph(), "random:0.6,0.5", UsageError, "between 0 and 1"),
        (social_graph(), "random:nan,0.5", UsageError, "between 0 and 1"),
        (social_graph(), "random:0.1", UsageError, "random:VAL,TEST"),
        (social_graph(), "public", UsageError, "no public split"),
        (Data(x=torch.eye(30), edge_index=torch.triu_indices(30, 30, 1)), None, DataError, "too dense"),
    ],
)
def test_bad_input_is_one_line(graph, split, error, words):
    with pytest.raises(error, match=words) as caught:
        task_of(copy.copy(graph), split)
    assert "\n" not in str(caught.value)


def test_many_graphs_are_no_link_task():
    with pytest.raises(UsageError, match="link"):
        task_from_graphs([social_graph(), social_graph()], data="two", task="link-prediction")


# Models ------------------------------------------------------------


class Weighted(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = GCNConv(8, 4)

    def forward(self, x, edge_index, edge_weight=None):
        return self.conv(x, edge_index, edge_weight)


def gae():
    class Encoder(Weighted):
        def forward(self, x, edge_index):
            return self.conv(x, edge_index)

    return GAE(Encoder())


@pytest.mark.parametrize("make", [lambda: Recommender(8), Weighted, gae], ids=["encode+decode", "forward", "GAE"])
def test_one_forward_and_its_parts_agree(make):
    task = task_of(social_graph())
    model = as_pair_model(make()).eval()
    assert as_pair_model(model) is model
    assert model_inputs(model, task) == ("x", "edge_index", "edge_label_index")
    graph, pairs = task.graphs[0], task.graphs[0].edge_label_index[:, :7]
    for each in (model, copy.deepcopy(model)):
        z = each(graph.x, graph.edge_index)
        logits = each(graph.x, graph.edge_index, pairs)
        assert z.shape[0] == 60
        assert logits.shape == (7, 1)
        assert torch.equal(each(z=z, edge_label_index=pairs), logits)
    if not isinstance(model.model, Recommender):
        assert torch.allclose(logits, inner_product(z, pairs))
    copied = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in copied.parameters():
            parameter.zero_()
    assert not copied(graph.x, graph.edge_index, pairs).any()  # a copy runs its own weights
    assert model(graph.x, graph.edge_index, pairs).any()


def test_edge_weights_reach_the_encoder():
    graph = social_graph()
    graph.edge_weight = torch.rand(graph.edge_index.shape[1], generator=torch.Generator().manual_seed(0))
    task = task_of(graph)
    model = PairModel(Weighted())
    assert model_inputs(model, task) == ("x", "edge_index", "edge_label_index", "edge_weight")
    data = task.graphs[0]
    z = model.model(data.x, data.edge_index, data.edge_weight)
    assert torch.equal(model(data.x, data.edge_index, edge_weight=data.edge_weight), z)


def test_ness_is_the_mean_of_its_subgraphs():
    model = build("ness", in_channels=1433, out_channels=32, kind="link")
    assert sum(p.numel() for p in model.parameters()) == 45_888
    model = build("ness", in_channels=8, out_channels=5, kind="link", dropout=0.0)
    inner = model.model
    inner.edge_dropout = 0.0
    graph = social_graph()
    x, edges = graph.x, graph.edge_index
    part = inner._subgraph(edges)
    assert torch.equal(part, inner._subgraph(edges.flip(0)))
    assert part.unique().tolist() == [0, 1, 2, 3]
    h = 1.8 * torch.nn.functional.normalize(inner.lin(x), dim=1)
    each = []
    for k in range(4):
        conv = GCNConv(5, 5, bias=False)
        with torch.no_grad():
            conv.lin.weight.copy_(torch.eye(5))
        each.append(conv(h, edges[:, part == k]))
    z = model.train()(x, edges)
    assert torch.allclose(z, torch.cat(each, dim=1), atol=1e-5)
    assert torch.allclose(model.eval()(x, edges), sum(each) / 4, atol=1e-5)
    pairs = edges[:, :6]
    others = [sum(each[j] for j in range(4) if j != k) / 3 for k in part[:6].tolist()]
    wanted = torch.stack([(others[i][a] * others[i][b]).sum() for i, (a, b) in enumerate(pairs.t().tolist())])
    assert torch.allclose(model.train()(x, edges, pairs)[:, 0], wanted, atol=1e-5)


@pytest.mark.parametrize("name", ["gcn", "gat", "gin", "sage", "spline", "transformer", "ness"])
def test_zoo_learns_links(name):
    task = task_of(social_graph())
    torch.manual_seed(0)
    model = build(name, in_channels=8, out_channels=8, kind="link", dropout=0.0)
    result = fit(model, task, FitConfig(epochs=12, lr=0.02, weight_decay=0.0))
    aucs = [e["val_metric"] for e in result.history]
    assert result.val_metric == max(aucs)  # chosen by validation ROC-AUC, not by the loss
    assert result.val_metric > 0.6


def test_ness_is_for_links_only():
    with pytest.raises(UsageError, match="no form for node tasks"):
        build("ness", in_channels=8, out_channels=2)


@pytest.mark.parametrize(
    ("forward", "decode", "words"),
    [
        (lambda s, x, edge_index: s.conv(x, edge_index)[:1], None, "one row for each of the 60 nodes"),
        (lambda s, x, edge_index: (x, x), None, "a tuple"),
        (lambda s, x, edge_index: x, lambda s, z, pairs: z[pairs[0]], "one logit for each pair"),
        (lambda s, x, edge_index: x, lambda s, z, pairs: z[:3, :1], "logits of shape"),
    ],
)
def test_modules_of_another_shape(forward, decode, words):
    methods = {"forward": forward} | ({"decode": decode} if decode else {})
    module = type("Mine", (torch.nn.Module,), methods)()
    module.conv = GCNConv(8, 4)
    with pytest.raises((DataError, TrainError), match=words) as caught:
        fit(PairModel(module), task_of(social_graph()), FitConfig(epochs=1))
    assert "\n" not in str(caught.value)


# Metrics ------------------------------------------------------------


@pytest.mark.parametrize("seed", range(4))
def test_metrics_are_those_of_scikit_learn(seed):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, 50)
    logits = rng.integers(-5, 6, (50, 1)).astype(np.float32)  # with ties
    assert score("roc_auc", logits, labels) == pytest.approx(roc_auc_score(labels, logits[:, 0]))
    assert score("average_precision", logits, labels) == pytest.approx(average_precision_score(labels, logits[:, 0]))


def test_metrics_of_one_class_are_undefined():
    for metric in ("roc_auc", "average_precision"):
        for label in (0, 1):
            assert np.isnan(score(metric, np.ones((3, 1), np.float32), np.full(3, label)))
