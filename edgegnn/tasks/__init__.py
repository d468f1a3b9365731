"""What a model is trained for: data sets, splits, model inputs, loss and metric."""

from __future__ import annotations

import edgegnn.utils.pyg_sources  # noqa: F401
from edgegnn.tasks.collating import collate, example_graph, forward_args, model_inputs, named_args, run_model
from edgegnn.tasks.evaluation import all_metrics, evaluate, logits_and_labels, logits_of_all, score
from edgegnn.tasks.loading import TASKS, load_task, names, restore_task, task_from_graphs
from edgegnn.tasks.spec import Task, TaskSpec

__all__ = [
    "TASKS",
    "Task",
    "TaskSpec",
    "all_metrics",
    "collate",
    "evaluate",
    "example_graph",
    "forward_args",
    "load_task",
    "logits_and_labels",
    "logits_of_all",
    "model_inputs",
    "named_args",
    "names",
    "restore_task",
    "run_model",
    "score",
    "task_from_graphs",
]
