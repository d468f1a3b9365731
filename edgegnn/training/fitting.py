"""Fit a model to a task: Adam, the best epoch by validation loss, everything a function of the seed."""

from __future__ import annotations

import copy
import dataclasses
import math
import time
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch_geometric.data import Data

from edgegnn.errors import TrainError, first_line
from edgegnn.tasks import target
from edgegnn.tasks.collating import collate, model_inputs
from edgegnn.tasks.evaluation import labelled_rows, logits_and_labels, score
from edgegnn.tasks.heads import heads_loss, run_heads, validation_loss
from edgegnn.tasks.link import pick_pairs, training_pairs
from edgegnn.tasks.points import point_graphs
from edgegnn.tasks.spec import Task
from edgegnn.tasks.target import columns_fit
from edgegnn.training.config import FitConfig
from edgegnn.training.grades import GradES, GradESReport
from edgegnn.training.memory import keep_freed_memory
from edgegnn.training.sparse import accelerate

__all__ = ["EpochLog", "FitResult", "fit", "steps_per_epoch", "validate"]


@dataclasses.dataclass(frozen=True)
class EpochLog:
    """One epoch: its number from 1, training loss, validation loss and metric (or None), seconds, the metric's name."""

    epoch: int
    epochs: int
    train_loss: float
    val_loss: float | None
    val_metric: float | None
    seconds: float
    metric: str = ""


@dataclasses.dataclass(frozen=True)
class FitResult:
    """What training gave: the epoch (from 1) that is kept with its validation loss and metric, and all epochs.

    With GradES, `grades` says when each matrix was frozen; `facts` is what else belongs into a history (JSON-able).
    """

    best_epoch: int
    epochs_run: int
    val_loss: float
    val_metric: float | None
    history: list[dict[str, float | None]]
    seconds: float
    grades: GradESReport | None = None
    facts: dict[str, Any] = dataclasses.field(default_factory=dict)


@point_graphs()
def fit(
    model: nn.Module,
    task: Task,
    config: FitConfig,
    *,
    progress: Callable[[EpochLog], None] | None = None,
    before_step: Callable[[nn.Module], None] | None = None,
    after_step: Callable[[nn.Module], None] | None = None,
    keep_last: bool = False,
    teacher: Tensor | None = None,
) -> FitResult:
    """Train a model in place and leave it in eval mode with the weights of its best epoch.

    The task's target (`edgegnn.tasks.target`) gives the loss, on training nodes or graphs only; the best epoch has
    the lowest validation loss (of a link task, the highest ROC-AUC). With a teacher, a share `config.distill` of
    the loss that is trained is the divergence from the teacher's outputs on the same graphs or pairs, or on all nodes
    that are not held out: a teacher needs no labels.

    With `config.early_stop` "grades" nothing but the gradients decides when training ends. To choose what is kept, the
    first epoch, the last and one in each tenth of the planned epochs are validated.

    Args:
        model: any module for the task; one with `set_protection(prob)` gets [N] float32 before each training forward
            from the graphs' `dq_prob`, or None; `parameter_groups()` gives groups of Adam with rates of their own,
            and an epoch with a higher `excess()` is never kept before one with a lower.
        task: what to train on.
        config: how to train.
        progress: called after each epoch.
        before_step: called with the model after backward, before each optimizer step.
        after_step: called with the model after each optimizer step; it may change weights (masks of pruned weights).
        keep_last: keep the weights of the last epoch instead, and stop for nothing before (a phase of training with a
            schedule, that more training follows).
        teacher: what another model gives for every node or graph of the task: logits `[nodes or graphs, classes]`.

    Raises:
        TrainError: the loss is not finite, or the model's output doesn't fit the task.
    """
    keep_freed_memory()
    if keep_last:
        config = dataclasses.replace(config, early_stop=None, patience=None)
    learning = [p for p in model.parameters() if p.requires_grad]
    try:
        with accelerate(model):
            return _fit(model, task, config, progress, before_step, after_step, keep_last, teacher)
    finally:
        for parameter in learning:  # what GradES froze was frozen for this training only
            parameter.requires_grad_(True)


def steps_per_epoch(task: Task, config: FitConfig) -> int:
    """How many optimizer steps an epoch of `fit` takes."""
    return 1 if not task.many else len(_starts(len(task.index["train"]), config.batch_size))


def _fit(
    model: nn.Module,
    task: Task,
    config: FitConfig,
    progress: Callable[[EpochLog], None] | None,
    before_step: Callable[[nn.Module], None] | None,
    after_step: Callable[[nn.Module], None] | None,
    keep_last: bool,
    teacher: Tensor | None,
) -> FitResult:
    names = model_inputs(model, task)
    generator = torch.Generator().manual_seed(config.seed)
    torch.manual_seed(config.seed)
    parameters = [p for p in model.parameters() if p.requires_grad]
    groups: list[dict[str, Any]] = getattr(model, "parameter_groups", list)()
    grouped = {id(p) for group in groups for p in group["params"]}
    rest = [p for p in parameters if id(p) not in grouped]
    optimizer = torch.optim.Adam([{"params": rest}, *groups], lr=config.lr, weight_decay=config.weight_decay)
    history: list[dict[str, float | None]] = []
    best_epoch, best_loss, best_excess = 0, float("inf"), float("inf")
    best_metric: float | None = None
    best_state: dict[str, Any] = {}
    grades = _grades(model, optimizer, task, config)
    every = 1 if grades is None else max(1, config.epochs // 10)  # validation: a fifth of the time of an epoch
    taught = _not_held_out(task) if teacher is not None and task.spec.kind == "node" and not task.many else None
    start = time.perf_counter()
    for epoch in range(1, config.epochs + 1):
        epoch_start = time.perf_counter()
        model.train()
        total, count = 0.0, 0
        for batch, rows, items in _training_batches(task, config.batch_size, generator):
            _set_protection(model, batch)
            optimizer.zero_grad(set_to_none=True)
            outputs, every_one = run_heads(model, names, batch, task)
            _check_shape(outputs, batch, task)
            logits, labels = (outputs, batch.y) if rows is None else (outputs[rows], batch.y[rows])
            loss = target.loss(task.spec, logits, labels) + heads_loss(task, every_one, batch, rows)
            if teacher is not None and config.distill:
                pair = (logits, teacher[items]) if taught is None else (outputs[taught], teacher[taught])
                distance = target.divergence(task.spec, *pair)
                loss = (1 - config.distill) * loss + config.distill * distance
            value = float(loss.detach())
            _check_loss(value, "training", epoch, config)
            _differentiate(loss)
            if before_step is not None:
                before_step(model)
            if grades is not None:
                grades.observe(epoch)
            optimizer.step()
            if after_step is not None:
                after_step(model)
            total, count = total + value * len(labels), count + len(labels)
            if grades is not None and grades.done:
                break
        ended = epoch == config.epochs or (grades is not None and grades.done)
        val_loss: float | None = None
        val_metric: float | None = None
        if ended or (epoch - 1) % every == 0:
            val_loss, val_metric = validate(model, task)
            _check_loss(val_loss, "validation", epoch, config)
            excess: float = getattr(model, "excess", float)()
            better = (excess, *_rank(task, val_loss, val_metric)) < (best_excess, *_rank(task, best_loss, best_metric))
            if better or not best_state or keep_last:
                best_epoch, best_loss, best_metric, best_excess = epoch, val_loss, val_metric, excess
                best_state = copy.deepcopy(model.state_dict())
        seconds = time.perf_counter() - epoch_start
        log = EpochLog(epoch, config.epochs, total / count, val_loss, val_metric, seconds, task.spec.metric)
        history.append({k: v for k, v in dataclasses.asdict(log).items() if k != "metric"})
        if progress is not None:
            progress(log)
        if config.halve_lr_every and epoch % config.halve_lr_every == 0:
            for group in optimizer.param_groups:
                if not group.get("constant_lr"):
                    group["lr"] /= 2
        if ended or (config.patience and epoch - best_epoch >= config.patience):
            break
    model.load_state_dict(best_state)
    model.eval()
    seconds = time.perf_counter() - start
    report = None if grades is None else grades.report()
    return FitResult(best_epoch, len(history), best_loss, best_metric, history, seconds, report)


def _grades(model: nn.Module, optimizer: torch.optim.Optimizer, task: Task, config: FitConfig) -> GradES | None:
    if config.early_stop != "grades":
        return None
    steps = config.epochs * steps_per_epoch(task, config)
    return GradES(model, optimizer, steps, statistic=config.grades_statistic, tau=config.tau, alpha=config.grades_alpha)


def _training_batches(
    task: Task, size: int, generator: torch.Generator
) -> Iterator[tuple[Data, Tensor | None, Tensor]]:
    """Yield batches, the rows of the logits with a training label (None: all), and their numbers in the whole task."""
    index = task.index["train"]
    if not task.many and not task.of_links:
        yield task.graphs[0], index, index
        return
    if task.of_links:
        chosen = training_pairs(task.graphs[0].y, index, generator)
        yield pick_pairs(task.graphs[0], chosen), None, chosen
        return
    order = index[torch.randperm(len(index), generator=generator)]
    starts = _starts(len(order), size)
    sizes = [len(graph.y) for graph in task.graphs]
    numbers = torch.arange(sum(sizes)).split(sizes)
    for i, start in enumerate(starts):
        drawn = order[start : starts[i + 1] if i + 1 < len(starts) else len(order)].tolist()
        batch = collate([task.graphs[j] for j in drawn])
        rows, items = labelled_rows(task, batch.y), torch.cat([numbers[j] for j in drawn])
        yield batch, rows, items if rows is None else items[rows]


def _not_held_out(task: Task) -> Tensor:
    """Nodes of neither validation nor test, with a label or without."""
    free = torch.ones(len(task.graphs[0].y), dtype=torch.bool)
    free[task.index["val"]] = free[task.index["test"]] = False
    return free.nonzero().flatten()


def _starts(count: int, size: int) -> list[int]:
    """Where each batch of `count` graphs starts."""
    starts = list(range(0, count, size))
    # A last batch of one graph has no variance for batch norm: it joins the batch before.
    if len(starts) > 1 and count - starts[-1] == 1:
        starts.pop()
    return starts


def _check_loss(loss: float, what: str, epoch: int, config: FitConfig) -> None:
    if not math.isfinite(loss):
        raise TrainError(
            f"the {what} loss is {loss} in epoch {epoch}: lower the learning rate (now {config.lr:g}), "
            "or look for extreme values in the features"
        )


def _check_shape(logits: Tensor, batch: Data, task: Task) -> None:
    rows = len(batch.y)
    if logits.dim() != 2 or logits.size(0) != rows or not columns_fit(task.spec, logits.size(1)):
        raise TrainError(
            f"the model gives logits of shape {list(logits.shape)}, the {task.spec.kind} task needs [{rows}, "
            f"{task.spec.num_classes}]: build it for {task.spec.num_classes} {task.spec.target} and "
            f"{task.spec.kind} outputs"
        )


def _rank(task: Task, loss: float, metric: float | None) -> tuple[float, float]:
    """What is compared between epochs, lower is better: of links the order of all scores, not how sure the model is."""
    return (-(metric or 0.0), loss) if task.of_links else (loss, 0.0)


def _differentiate(loss: Tensor) -> None:
    try:
        loss.backward()
    except RuntimeError as error:
        raise TrainError(
            f"PyTorch can't compute the gradients of this model: {first_line(error)}; export it with a recipe that "
            "doesn't train: none, dynamic-int8 or static-int8"
        ) from error


def _set_protection(model: nn.Module, batch: Data) -> None:
    setter = getattr(model, "set_protection", None)
    if setter is not None:
        setter(batch.get("dq_prob"))


def validate(model: nn.Module, task: Task) -> tuple[float, float | None]:
    """Return the loss and the metric of a model over the validation split; None where the labels don't define it."""
    if task.heads:
        loss, outputs, labels = validation_loss(model, task)
    else:
        outputs, labels = logits_and_labels(model, task, "val")
        loss = float(target.loss(task.spec, outputs, labels))
    return loss, score(task.spec.metric, outputs, labels)
