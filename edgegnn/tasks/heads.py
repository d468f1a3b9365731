"""Further heads of a model: outputs that have labels of their own, each with a loss and a metric.

The main output has the labels `y` and the task's metric. Every further head is a record of its output, the
attribute of the data that has its labels, what these are, its metric and its scale. The loss is the sum over all.
With many graphs, a head may be of nodes, of edges or of graphs, whatever the others are of; those of one graph belong
to what the task is about.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch_geometric.data import Data

from edgegnn.errors import DataError, UsageError
from edgegnn.runtime.metrics import TARGETS
from edgegnn.signature import Every, TypedGraph, as_rows, every_output
from edgegnn.tasks import graph_checks, labels
from edgegnn.tasks.collating import model_inputs, run_model
from edgegnn.tasks.evaluation import batches, labelled_rows, labels_of, score
from edgegnn.tasks.row_tasks import labels_of_rows, level_of, rows_of
from edgegnn.tasks.spec import Head, Task, TaskSpec
from edgegnn.tasks.target import columns_fit, loss

__all__ = ["check_outputs", "head_metrics", "heads_loss", "run_heads", "validation_loss", "with_heads"]


def with_heads(task: Task, attributes: Mapping[str, str], where: str) -> Task:
    """The task with further heads, whose labels its graphs have.

    Args:
        task: of the main output.
        attributes: name of an output -> attribute of the graphs with its labels.
        where: what to call the data in a message.

    Raises:
        UsageError: graphs without the attribute, or a task that has no heads.
        DataError: labels that can't be used.
    """
    if not attributes:
        return task
    if isinstance(task.graphs[0], TypedGraph) or task.of_links or not task.spec.labelled:
        raise UsageError("--target: several heads are for labelled nodes, edges or graphs of one type: keep one")
    graphs = [copy.copy(graph) for graph in task.graphs]
    heads = []
    for output, attribute in attributes.items():
        given = [copy.copy(graph) for graph in graphs]
        labels.label_graphs(given, attribute, where)
        head, rows = _head(task, given, output, attribute, f"{where}: {attribute}")
        heads.append(head)
        for graph, row in zip(graphs, rows, strict=True):
            graph[head.key] = row
    return dataclasses.replace(task, graphs=graphs, heads=tuple(heads))


def _head(task: Task, graphs: list[Data], output: str, attribute: str, where: str) -> tuple[Head, list[Tensor]]:
    """A head, and its labels for each graph of the task."""
    kind, index = level_of(graphs) if task.many else task.spec.kind, task.index
    if task.many and kind != "graph":
        target, rows = labels_of_rows(graphs, kind, None, where)
        table, index = torch.cat(rows), rows_of(rows, task.index)
    elif task.many:
        target = labels.target_of(graphs, where)
        whole = graph_checks.graph_labels(graphs, where) if target == "classes" else None
        table = labels.label_table(graphs, target, where) if whole is None else whole
        rows = list(table.split(1))
    else:
        count = len(task.graphs[0].y)
        y = graphs[0].y
        target = "values" if y.is_floating_point() else "classes"
        used = torch.cat(list(task.index.values()))
        if target == "classes":
            table = graph_checks.node_labels(graphs[0], used, where, kind, count)
        else:
            table = labels.row_table(y, target, used, where, kind, count)
        rows = [table]
    if target == "classes" and bool((table[torch.cat(list(index.values()))] < 0).any()):
        raise DataError(f"{where}: a {kind} of the split has no label: give every head a label for each")
    scale = labels.scale_of(table, index["train"], where) if target == "values" else {}
    columns = int(table.max()) + 1 if target == "classes" else table.shape[1]
    return Head(output, attribute, target, TARGETS[target][0], columns, scale, kind), rows


def check_outputs(task: Task, shapes: Mapping[str, Tensor]) -> None:
    """Refuse heads that the model has no fitting output for.

    Args:
        task: with heads.
        shapes: name of an output -> what the model gave on one graph.

    Raises:
        UsageError: no such output.
        DataError: it has other columns than the labels need.
    """
    for head in task.heads:
        if head.output not in shapes:
            raise UsageError(
                f"--target {head.output}=...: the model gives no such output, it gives {', '.join(shapes)}"
            )
        columns = as_rows(shapes[head.output]).shape[1]
        if not columns_fit(_spec(task.spec, head), columns):
            raise DataError(
                f"--target {head.output}={head.attribute}: the output has {columns} columns, {head.attribute} has "
                f"{head.columns} {head.target}"
            )


def _spec(spec: TaskSpec, head: Head) -> TaskSpec:
    """The task of one head alone."""
    return dataclasses.replace(
        spec,
        kind=head.kind or spec.kind,
        target=head.target,
        metric=head.metric,
        num_classes=head.columns,
        scale=dict(head.scale),
    )


def run_heads(model: nn.Module, names: Any, data: Data, task: Task) -> tuple[Tensor, Every]:
    """The main output of a graph or batch as a matrix, and all outputs where there are further heads."""
    if not task.heads:
        return run_model(model, names, data), Every()
    with every_output():
        found: Any = run_model(model, names, data)
    return as_rows(found[task.gives.main]), found


def heads_loss(task: Task, outputs: Every, batch: Data, rows: Tensor | None) -> Tensor | float:
    """The sum of the losses of further heads; 0 where there are none."""
    total: Tensor | float = 0.0
    for head in task.heads:
        given, wanted = as_rows(outputs[head.output]), batch[head.key]
        if given.shape[0] != wanted.shape[0]:
            raise DataError(
                f"--target {head.output}={head.attribute}: the output has {given.shape[0]} rows, {head.attribute} has "
                f"{wanted.shape[0]}: are both of {head.kind}s?"
            )
        of_all = rows is None or head.kind != task.spec.kind
        pair = (given, wanted) if of_all else (given[rows], wanted[rows])
        total = total + loss(_spec(task.spec, head), *pair)
    return total


def _outputs(model: nn.Module, task: Task, split: str) -> tuple[Tensor, list[Tensor]]:
    """What the main output and each further head give in a part of the split, in one pass."""
    names, index, training = model_inputs(model, task), task.index[split], model.training
    graphs = [task.graphs[i] for i in index.tolist()] if task.many else task.graphs
    model.eval()
    try:
        with torch.no_grad():
            ran = [run_heads(model, names, batch, task) for batch in (batches(graphs) if task.many else graphs)]
    finally:
        model.train(training)
    main = torch.cat([outputs for outputs, _ in ran])
    further = [torch.cat([as_rows(outputs[head.output]) for _, outputs in ran]) for head in task.heads]
    return (main, further) if task.many else (main[index], [each[index] for each in further])


def validation_loss(model: nn.Module, task: Task) -> tuple[float, Tensor, Tensor]:
    """The sum of the losses of all heads on the validation split, and the main output with its labels there."""
    main, further = _outputs(model, task, "val")
    labelled, pairs = labels_of(task, "val"), zip(task.heads, further, strict=True)
    more = sum(float(loss(_spec(task.spec, head), out, labels_of(task, "val", head.key))) for head, out in pairs)
    known = labelled_rows(task, labelled)
    main, labelled = (main, labelled) if known is None else (main[known], labelled[known])
    return float(loss(task.spec, main, labelled)) + more, main, labelled


def head_metrics(model: nn.Module, task: Task) -> dict[str, float | None]:
    """The metric of each further head on validation and test: "test_age_mae"."""
    return {
        f"{split}_{head.output}_{head.metric}": score(head.metric, out, labels_of(task, split, head.key))
        for split in ("val", "test")
        for head, out in (zip(task.heads, _outputs(model, task, split)[1], strict=True) if task.heads else ())
    }
