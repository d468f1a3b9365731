"""Model inputs, batches, metrics and evaluation."""

import pytest
import torch
from torch import nn
from torch_geometric.data import Batch, Data

from edgegnn.errors import DataError, UsageError
from edgegnn.tasks import (
    collate,
    evaluate,
    forward_args,
    load_task,
    logits_and_labels,
    model_inputs,
    run_model,
    score,
    task_from_graphs,
)
from edgegnn.tasks.evaluation import batches


def graphs(n=30, **extra):
    generator = torch.Generator().manual_seed(0)
    made = []
    for i in range(n):
        nodes, edges = 2 + i % 5, 3 * (i % 4)
        made.append(
            Data(
                x=torch.randn(nodes, 4, generator=generator),
                edge_index=torch.randint(0, nodes, (2, edges), generator=generator),
                edge_attr=torch.randn(edges, 2, generator=generator),
                y=torch.tensor([i % 2]),
            )
        )
    return made


class Plain(nn.Module):
    def forward(self, x, edge_index, batch):
        return torch.zeros(int(batch.max()) + 1, 2).index_add_(0, batch, x[:, :2])


class OtherOrder(nn.Module):
    def forward(self, edge_index, batch, x, edge_attr=None, edge_weight=None, hints=None):
        assert edge_index.dtype == torch.int64
        assert edge_weight is None
        return torch.zeros(int(batch.max()) + 1, 2).index_add_(0, batch, x[:, :2]) + edge_attr.sum() * 0


class NodeWithOptions(nn.Module):
    def forward(self, x, edge_index, edge_weight=None, batch=None, *args, **kwargs):
        assert edge_weight is None
        assert batch is None
        return x[:, :2]


def test_inputs_are_read_from_the_signature():
    assert model_inputs(Plain()) == ("x", "edge_index", "batch")
    assert model_inputs(OtherOrder()) == ("x", "edge_index", "edge_attr", "edge_weight", "batch")
    task = task_from_graphs(graphs(), data="m")
    assert model_inputs(OtherOrder(), task) == ("x", "edge_index", "edge_attr", "batch")
    node_task = load_task("digits-knn")
    assert model_inputs(NodeWithOptions(), node_task) == ("x", "edge_index")
    assert evaluate(NodeWithOptions(), node_task, "test") < 0.5


@pytest.mark.parametrize(
    ("forward", "message"),
    [
        (lambda self, data: data, "needs data"),
        (lambda self, x, adjacency: x, "needs adjacency"),
        (lambda self, x, edge_index, colours: x, "needs colours.*--input colours=ATTRIBUTE"),
    ],
)
def test_forwards_that_take_something_else(forward, message):
    model = type("Mine", (nn.Module,), {"forward": forward})()
    with pytest.raises(UsageError, match=f"Mine.forward {message}"):
        model_inputs(model, task_from_graphs(graphs(), data="g"))


def test_forward_args():
    graph = graphs()[6]
    x, edge_index, batch = forward_args(Plain(), graph)
    assert x is graph.x
    assert edge_index is graph.edge_index
    assert batch.tolist() == [0, 0, 0]
    with pytest.raises(DataError, match="takes edge_weight, which the graphs lack"):
        forward_args(("x", "edge_weight"), graph)


def test_collate_is_pygs_batch():
    made = graphs()
    for graph in made:
        graph.dq_prob = torch.rand(graph.num_nodes)
    ours, theirs = collate(made), Batch.from_data_list(made)
    for key in ("x", "edge_index", "edge_attr", "y", "batch", "dq_prob"):
        assert torch.equal(ours[key], theirs[key]), key
    assert ours.num_nodes == theirs.num_nodes
    assert collate(made[:1]).batch.tolist() == [0, 0]


def test_batches_keep_order_and_bound_nodes():
    made = graphs()
    parts = list(batches(made, size=7))
    assert [len(p.y) for p in parts] == [7, 7, 7, 7, 2]
    assert torch.equal(torch.cat([p.x for p in parts]), collate(made).x)
    big = [
        Data(edge_index=torch.zeros(2, 0, dtype=torch.long), y=torch.tensor([0]), num_nodes=40_000) for _ in range(3)
    ]
    assert [len(p.y) for p in batches(big)] == [1, 1, 1]


def test_a_forward_in_another_order_gets_the_right_tensors():
    task = task_from_graphs(graphs(), data="m")
    batch = collate(task.graphs)
    expected = Plain()(batch.x, batch.edge_index, batch.batch)
    assert torch.equal(run_model(OtherOrder(), model_inputs(OtherOrder(), task), batch), expected)


def test_evaluation_of_a_split():
    task = task_from_graphs(graphs(), data="m")
    model = Plain().train()
    logits, labels = logits_and_labels(model, task, "train")
    assert model.training
    ids = task.index["train"].tolist()
    assert labels.tolist() == [i % 2 for i in ids]
    expected = torch.stack([task.graphs[i].x[:, :2].sum(0) for i in ids])
    assert torch.allclose(logits, expected, atol=1e-6)
    assert evaluate(model, task, "train") == pytest.approx(float((expected.argmax(1) == labels).float().mean()))


def test_evaluation_is_in_eval_mode_without_gradients():
    task = load_task("digits-knn")
    seen = []

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.lin = nn.Linear(64, 10)

        def forward(self, x, edge_index):
            seen.append((self.training, torch.is_grad_enabled()))
            return self.lin(x)

    logits, labels = logits_and_labels(Model(), task, "val")
    assert seen == [(False, False)]
    assert logits.shape == (len(task.index["val"]), 10)
    assert torch.equal(labels, task.graphs[0].y[task.index["val"]])


def test_scores():
    logits = torch.tensor([[2.0, 1.0], [0.0, 3.0], [1.0, 1.5], [4.0, 0.0]])
    assert score("accuracy", logits, torch.tensor([0, 1, 0, 0])) == 0.75
    # ranks by the difference of the logits: -1, 3, 0.5, -4; positives 3 and -1 -> 3 of 4 pairs in order
    assert score("roc_auc", logits, torch.tensor([1, 1, 0, 0])) == 0.75
    with pytest.raises(UsageError, match="unknown metric"):
        score("f1", logits, torch.tensor([0, 1, 0, 0]))
    assert score("roc_auc", logits, torch.zeros(4, dtype=torch.long)) is None
    with pytest.raises(DataError, match="two classes"):
        score("roc_auc", torch.ones(2, 3), torch.tensor([0, 1]))
    with pytest.raises(DataError, match="empty"):
        score("accuracy", logits[:0], torch.zeros(0, dtype=torch.long))
