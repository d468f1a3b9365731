"""Metrics, and a model's result on a split of a task."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import cache

import torch
from torch import Tensor, nn
from torch_geometric.data import Data

from edgegnn.errors import DataError, UsageError
from edgegnn.runtime import metrics
from edgegnn.runtime.metrics import LOWER_IS_BETTER, METRICS
from edgegnn.tasks.collating import collate, model_inputs, run_model
from edgegnn.tasks.link import METRICS as LINK_METRICS
from edgegnn.tasks.link import pick_pairs
from edgegnn.tasks.spec import Task

__all__ = ["all_metrics", "evaluate", "labelled_rows", "labels_of", "logits_and_labels", "logits_of_all", "score"]

# Bounds the memory of an evaluation batch: largest REDDIT-BINARY graph 3,782 nodes, 64 features -> tens of MB.
_MAX_NODES = 65_536


def score(metric: str, outputs: Tensor, labels: Tensor) -> float | None:
    """Return the metric; None where it isn't defined for these labels (ROC-AUC over one class).

    Args:
        metric: one of `edgegnn.runtime.metrics.METRICS`.
        outputs: [n, C] float.
        labels: [n] int64, or [n, C] float32 of labels or values.

    Raises:
        UsageError: unknown metric.
        DataError: no rows, or a metric that doesn't fit the outputs.
    """
    if labels.numel() == 0:
        raise DataError("there is nothing to score: the split is empty")
    if metric not in METRICS:
        raise UsageError(f"unknown metric {metric!r}: choose one of {', '.join(METRICS)}")
    value = metrics.score(metric, outputs.numpy(), labels.numpy())
    return None if math.isnan(value) else value


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
        Outputs [n, C] and labels ([n] int64, or [n, C] float32), in the order of
        `task.index[split]`; no rows of unknown class.
    """
    index = task.index[split]
    if task.of_links:
        graph = pick_pairs(task.graphs[0], index)
        return _logits(model, task, [graph]), graph.y
    if not task.many:
        return _logits(model, task, task.graphs)[index], labels_of(task, split)
    logits, labels = _logits(model, task, [task.graphs[i] for i in index.tolist()]), labels_of(task, split)
    known = labelled_rows(task, labels)
    return (logits, labels) if known is None else (logits[known], labels[known])


def labelled_rows(task: Task, labels: Tensor) -> Tensor | None:
    """Rows of a batch whose class is known; None: all. The parts of a split of one graph have no others."""
    if not task.many or task.spec.target != "classes" or bool((labels >= 0).all()):
        return None
    return (labels >= 0).nonzero().view(-1)


def labels_of(task: Task, split: str, key: str = "y") -> Tensor:
    """Labels of a part of the split, in its order; not of links, whose pairs are drawn.

    Args:
        task: the task.
        split: "train", "val" or "test".
        key: the attribute of its graphs that has them.
    """
    index = task.index[split]
    if not task.many:
        found: Tensor = task.graphs[0][key][index]
        return found
    return torch.cat([task.graphs[i][key] for i in index.tolist()])


def logits_of_all(model: nn.Module, task: Task) -> Tensor:
    """Logits [nodes or graphs, C] of every node, graph or pair of a task, in eval mode."""
    return _logits(model, task, task.graphs)


def _logits(model: nn.Module, task: Task, graphs: list[Data]) -> Tensor:
    names = model_inputs(model, task)
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            if not task.many:
                return run_model(model, names, graphs[0])
            return torch.cat([run_model(model, names, batch) for batch in batches(graphs)])
    finally:
        model.train(was_training)


def evaluate(model: nn.Module, task: Task, split: str) -> float | None:
    """Return `task.spec.metric` of the model on a split; None where its labels don't define it."""
    return score(task.spec.metric, *logits_and_labels(model, task, split))


def all_metrics(model: nn.Module, task: Task, val: float | None = None) -> dict[str, float | None]:
    """Every metric of the validation and the test split; None where the labels don't define one.

    Args:
        model: a module for this task.
        task: the task.
        val: `task.spec.metric` on validation, where training has it already.

    Returns:
        "val" and "test": `task.spec.metric`; further ones by name: "test_average_precision" of links, "test_rmse" of
        values, none of classes.
    """
    known = LINK_METRICS if task.of_links else LOWER_IS_BETTER if task.spec.target == "values" else ()
    of_split = cache(lambda split: logits_and_labels(model, task, split))
    metric = task.spec.metric
    found = {"val": score(metric, *of_split("val")) if val is None else val, "test": score(metric, *of_split("test"))}
    further = [(split, name) for split in ("val", "test") for name in known if name != metric]
    return found | {f"{split}_{name}": score(name, *of_split(split)) for split, name in further}
