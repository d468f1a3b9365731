"""Fit a model to a task: Adam, the best epoch by validation loss, everything a function of the seed."""

from __future__ import annotations

import copy
import dataclasses
import math
import time
from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch_geometric.data import Data

from edgegnn.errors import TrainError
from edgegnn.tasks.evaluation import logits_and_labels, score
from edgegnn.tasks.inputs import collate, model_inputs, run_model
from edgegnn.tasks.spec import Task
from edgegnn.train.config import FitConfig
from edgegnn.train.memory import keep_freed_memory
from edgegnn.train.sparse import accelerate

__all__ = ["EpochLog", "FitResult", "fit"]


@dataclasses.dataclass(frozen=True)
class EpochLog:
    """One epoch: its number from 1, mean training loss, validation loss and metric, and its duration."""

    epoch: int
    epochs: int
    train_loss: float
    val_loss: float
    val_metric: float
    seconds: float


@dataclasses.dataclass(frozen=True)
class FitResult:
    """What training gave: the best epoch (from 1) by validation loss with its loss and metric, and all epochs."""

    best_epoch: int
    epochs_run: int
    val_loss: float
    val_metric: float
    history: list[dict[str, float]]
    seconds: float


def fit(
    model: nn.Module,
    task: Task,
    config: FitConfig,
    *,
    progress: Callable[[EpochLog], None] | None = None,
    before_step: Callable[[nn.Module], None] | None = None,
) -> FitResult:
    """Train a model in place and leave it in eval mode with the weights of its best epoch.

    The loss is the cross entropy of training nodes or graphs only; the best epoch has the lowest validation loss.

    Args:
        model: any module for the task; one with `set_protection(prob)` gets [N] float32 before each training forward
            from the graphs' `dq_prob`, or None.
        task: what to train on.
        config: how to train.
        progress: called after each epoch.
        before_step: called with the model after backward, before each optimizer step.

    Raises:
        TrainError: the loss is not finite, or the model's output doesn't fit the task.
    """
    keep_freed_memory()
    with accelerate(model):
        return _fit(model, task, config, progress, before_step)


def _fit(
    model: nn.Module,
    task: Task,
    config: FitConfig,
    progress: Callable[[EpochLog], None] | None,
    before_step: Callable[[nn.Module], None] | None,
) -> FitResult:
    names = model_inputs(model, task)
    generator = torch.Generator().manual_seed(config.seed)
    torch.manual_seed(config.seed)
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.Adam(parameters, lr=config.lr, weight_decay=config.weight_decay)
    history: list[dict[str, float]] = []
    best = EpochLog(0, config.epochs, float("inf"), float("inf"), 0.0, 0.0)
    best_state: dict[str, Any] = {}
    start = time.perf_counter()
    for epoch in range(1, config.epochs + 1):
        epoch_start = time.perf_counter()
        model.train()
        total, count = 0.0, 0
        for batch, rows in _training_batches(task, config.batch_size, generator):
            _set_protection(model, batch)
            optimizer.zero_grad(set_to_none=True)
            logits = run_model(model, names, batch)
            labels = batch.y
            _check_shape(logits, batch, task)
            if rows is not None:
                logits, labels = logits[rows], labels[rows]
            loss = F.cross_entropy(logits, labels)
            value = float(loss.detach())
            _check_loss(value, "training", epoch, config)
            loss.backward()
            if before_step is not None:
                before_step(model)
            optimizer.step()
            total, count = total + value * len(labels), count + len(labels)
        val_loss, val_metric = _validate(model, task)
        _check_loss(val_loss, "validation", epoch, config)
        log = EpochLog(epoch, config.epochs, total / count, val_loss, val_metric, time.perf_counter() - epoch_start)
        history.append(dataclasses.asdict(log))
        if val_loss < best.val_loss or not best_state:
            best, best_state = log, copy.deepcopy(model.state_dict())
        if progress is not None:
            progress(log)
        if config.halve_lr_every and epoch % config.halve_lr_every == 0:
            for group in optimizer.param_groups:
                group["lr"] /= 2
        if config.patience and epoch - best.epoch >= config.patience:
            break
    model.load_state_dict(best_state)
    model.eval()
    return FitResult(best.epoch, len(history), best.val_loss, best.val_metric, history, time.perf_counter() - start)


def _training_batches(task: Task, size: int, generator: torch.Generator) -> Iterator[tuple[Data, Tensor | None]]:
    """Yield batches and the rows with a training label; None when every row of the logits has one."""
    index = task.index["train"]
    if task.spec.kind == "node":
        yield task.graphs[0], index
        return
    order = index[torch.randperm(len(index), generator=generator)].tolist()
    starts = list(range(0, len(order), size))
    # A last batch of one graph has no variance for batch norm: it joins the batch before.
    if len(starts) > 1 and len(order) - starts[-1] == 1:
        starts.pop()
    for i, start in enumerate(starts):
        stop = starts[i + 1] if i + 1 < len(starts) else len(order)
        yield collate([task.graphs[j] for j in order[start:stop]]), None


def _check_loss(loss: float, what: str, epoch: int, config: FitConfig) -> None:
    if not math.isfinite(loss):
        raise TrainError(
            f"the {what} loss is {loss} in epoch {epoch}: lower the learning rate (now {config.lr:g}), "
            "or look for extreme values in the features"
        )


def _check_shape(logits: Tensor, batch: Data, task: Task) -> None:
    rows = batch.num_nodes if task.spec.kind == "node" else len(batch.y)
    if logits.dim() != 2 or logits.size(0) != rows or logits.size(1) < task.spec.num_classes:
        raise TrainError(
            f"the model gives logits of shape {list(logits.shape)}, the {task.spec.kind} task needs [{rows}, "
            f"{task.spec.num_classes}]: build it for {task.spec.num_classes} classes and {task.spec.kind} outputs"
        )


def _set_protection(model: nn.Module, batch: Data) -> None:
    setter = getattr(model, "set_protection", None)
    if setter is not None:
        setter(batch.get("dq_prob"))


def _validate(model: nn.Module, task: Task) -> tuple[float, float]:
    logits, labels = logits_and_labels(model, task, "val")
    return float(F.cross_entropy(logits, labels)), score(task.spec.metric, logits, labels)
