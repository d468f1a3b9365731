"""What a model is trained for: data sets, splits, model inputs, loss and metric.

Names of data sets, tasks and metrics are known without importing torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgegnn.tasks.catalog import TASKS, names
from edgegnn.utils.lazy import on_first_use

if TYPE_CHECKING:
    from edgegnn.tasks.collating import collate, example_graph, forward_args, model_inputs, named_args, run_model
    from edgegnn.tasks.evaluation import all_metrics, evaluate, logits_and_labels, logits_of_all, score
    from edgegnn.tasks.loading import load_task, restore_task, task_from_graphs
    from edgegnn.tasks.spec import Task, TaskSpec
else:
    __getattr__ = on_first_use(
        __name__,
        {
            "collating": ("collate", "example_graph", "forward_args", "model_inputs", "named_args", "run_model"),
            "evaluation": ("all_metrics", "evaluate", "logits_and_labels", "logits_of_all", "score"),
            "loading": ("load_task", "restore_task", "task_from_graphs"),
            "spec": ("Task", "TaskSpec"),
        },
    )

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
