"""Metrics, and a model's result on a split of a task."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch_geometric.data import Data

from edgegnn.errors import DataError, UsageError
from edgegnn.tasks.inputs import collate, model_inputs, run_model
from edgegnn.tasks.spec import Task

__all__ = ["evaluate", "logits_and_labels", "logits_of_all", "score"]

# Bounds the memory of an evaluation batch: largest REDDIT-BINARY graph 3,782 nodes, 64 features -> tens of MB.
_MAX_NODES = 65_536


def score(metric: str, logits: Tensor, labels: Tensor) -> float:
    """Return the metric in [0, 1].

    Args:
        metric: "accuracy", or "roc_auc" (two classes; the score is the difference of the two logits).
        logits: [n, C] float.
        labels: [n] int64.

    Raises:
        UsageError: unknown metric.
        DataError: no rows, or a metric that the labels don't allow.
    """
    if labels.numel() == 0:
        raise DataError("there is nothing to score: the split is empty")
    if metric == "accuracy":
        return float((logits.argmax(dim=1) == labels).double().mean())
    if metric != "roc_auc":
        raise UsageError(f"unknown metric {metric!r}: choose accuracy or roc_auc")
    if logits.size(1) != 2:
        raise DataError(f"roc_auc needs two classes, the model has {logits.size(1)}: use accuracy")
    if labels.unique().numel() < 2:
        raise DataError("roc_auc needs labels of both classes in the split: choose another split or seed")
    from sklearn.metrics import roc_auc_score

    return float(roc_auc_score(labels.numpy(), (logits[:, 1] - logits[:, 0]).double().numpy()))


def batches(graphs: list[Data], size: int = 256) -> Iterator[Data]:
    """Yield the graphs in order, in batches of at most `size` graphs and about 65,536 nodes."""
    held: list[Data] = []
    nodes = 0
    for graph in graphs:
        if held and (len(held) == size or nodes + int(graph.num_nodes) > _MAX_NODES):
            yield collate(held)
            held, nodes = [], 0
        held.append(graph)
        nodes += int(graph.num_nodes)
    if held:
        yield collate(held)


def logits_and_labels(model: nn.Module, task: Task, split: str) -> tuple[Tensor, Tensor]:
    """Run the model over a whole split, in eval mode and without gradients; the model's mode is restored.

    Args:
        model: a module for this task.
        task: the task.
        split: "train", "val" or "test".

    Returns:
        Logits [n, C] and labels [n] int64, in the order of `task.index[split]`.
    """
    index = task.index[split]
    if task.spec.kind == "node":
        return _logits(model, task, task.graphs)[index], task.graphs[0].y[index]
    graphs = [task.graphs[i] for i in index.tolist()]
    return _logits(model, task, graphs), torch.cat([g.y for g in graphs])


def logits_of_all(model: nn.Module, task: Task) -> Tensor:
    """Logits [nodes or graphs, C] of every node of a node task or every graph of a graph task, in eval mode."""
    return _logits(model, task, task.graphs)


def _logits(model: nn.Module, task: Task, graphs: list[Data]) -> Tensor:
    names = model_inputs(model, task)
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            if task.spec.kind == "node":
                return run_model(model, names, graphs[0])
            return torch.cat([run_model(model, names, batch) for batch in batches(graphs)])
    finally:
        model.train(was_training)


def evaluate(model: nn.Module, task: Task, split: str) -> float:
    """Return `task.spec.metric` of the model on a split, in [0, 1]."""
    return score(task.spec.metric, *logits_and_labels(model, task, split))
