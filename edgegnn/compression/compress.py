"""`edgegnn compress`: from a trained checkpoint to a smaller one, with what it costs.

    prune ──▶ fine-tune, masks held ──▶ fake quantization, fine-tune again, masks held ──▶ checkpoint

Which epoch is kept is chosen on validation data, or not at all (`edgegnn.prune.finetune`); test data are only reported.
"""

from __future__ import annotations

import dataclasses
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram

from edgegnn.checkpoint import Checkpoint, history_step, save_checkpoint
from edgegnn.checkpoint.onnx_module import OnnxModule
from edgegnn.compression.plan import Pruned, PrunePlan
from edgegnn.compression.steps import prune_channels, prune_edges
from edgegnn.errors import PruneError, QuantizeError
from edgegnn.prune.finetune import before_the_cut, finetune_pruned
from edgegnn.prune.magnitude import gradual_masks, magnitude_masks
from edgegnn.prune.masks import Masks, masks_of, sparsity_of
from edgegnn.prune.methods import METHODS
from edgegnn.prune.regularized import growing_l1
from edgegnn.prune.weights import find_weights
from edgegnn.quantize import QuantModel, Recipe, finetune
from edgegnn.tasks import (
    Task,
    all_metrics,
    example_graph,
    logits_of_all,
    model_inputs,
    named_args,
    run_model,
)
from edgegnn.tasks.points import point_graphs
from edgegnn.training import EpochLog, FitConfig, fit, steps_per_epoch
from edgegnn.utils.model_copies import copied

__all__ = [
    "Compressed",
    "check_compressible",
    "compress",
    "dense_row",
    "float_part",
    "hold",
    "measure",
    "prune",
]

Progress = Callable[[EpochLog], None]
Status = Callable[[str], None]


@dataclasses.dataclass(frozen=True)
class Compressed:
    """A compressed model and its row in the table.

    Attributes:
        checkpoint: the result.
        row: "sparsity" (asked; None without pruning), "achieved", "val", "test" (metric in [0, 1]), "bytes" of its
            checkpoint file, "nonzero" and "parameters" of the float module, "eager_ms" (median of one PyTorch forward;
            None when quantized: fake quantization tells nothing of an artifact's speed).
        path: where it was saved, if it was.
    """

    checkpoint: Checkpoint
    row: dict[str, Any]
    path: Path | None = None


@point_graphs()
def compress(
    checkpoint: Checkpoint,
    task: Task,
    plan: PrunePlan | None,
    recipe: Recipe | None,
    config: FitConfig,
    quant_config: FitConfig,
    *,
    progress: Progress | None = None,
    status: Status = lambda _: None,
) -> Compressed:
    """Prune, quantize, or both in this order. The given checkpoint stays as it is.

    Args:
        checkpoint: a float model (pruned already, or not).
        task: its data.
        plan: what to prune; None to quantize only.
        recipe: one that trains; None to prune only.
        config: how to fine-tune after pruning.
        quant_config: how to fine-tune with fake quantization.
        progress: called after each epoch.
        status: told in a few words what is being done.

    Raises:
        PruneError, QuantizeError: it can't be applied to this model.
        UsageError, TrainError: as their names say.
    """
    check_compressible(checkpoint)
    current = dataclasses.replace(checkpoint, model=copied(checkpoint.model), task=task.spec)
    if plan is not None:
        current, task = _prune_step(current, task, plan, config, progress, status)
    if recipe is not None:
        status(f"fine-tuning with {recipe.name}")
        module, result = finetune(
            float_part(current), task, recipe, quant_config, progress=progress, after_step=hold(current)
        )
        current = _with(
            current,
            module,
            task,
            history_step("quantize", quant_config, result, recipe=recipe.name, caveat=task.caveat),
        )
    row = {
        "sparsity": plan.sparsity if plan is not None else None,
        "achieved": (current.pruning or {}).get("achieved", 0.0),
        **measure(current, task),
    }
    return Compressed(current, row)


def check_compressible(checkpoint: Checkpoint) -> None:
    """Refuse what can't be trained, or is quantized already.

    Raises:
        PruneError, QuantizeError
    """
    if isinstance(checkpoint.model, ExportedProgram):
        raise PruneError("a .pt2 program can't be compressed: give a checkpoint, or a state_dict with --factory")
    if isinstance(checkpoint.model, OnnxModule):
        raise PruneError("an ONNX file can't be compressed, which trains: give the PyTorch model that it was made from")
    if isinstance(checkpoint.model, QuantModel):
        raise QuantizeError(
            f"the model is quantized already, with {checkpoint.model.recipe.name}: compress the float model, "
            "and give --quant with --prune to do both"
        )


def prune(
    model: nn.Module,
    task: Task,
    plan: PrunePlan,
    config: FitConfig,
    *,
    earlier: dict[str, Any] | None = None,
    progress: Progress | None = None,
    status: Status = lambda _: None,
) -> Pruned:
    """Prune a model in place and fine-tune it.

    Args:
        model: a float module.
        task: its data.
        plan: what to prune.
        config: how to fine-tune; with `distill`, the model as it is now is the teacher.
        earlier: `Checkpoint.pruning` of a model that is pruned already.
        progress: called after each epoch.
        status: told in a few words what is being done.

    Raises:
        PruneError: the plan can't be applied to this model.
        TrainError: fine-tuning failed.
    """
    teacher = logits_of_all(model, task) if config.distill else None
    if plan.method in METHODS or (plan.method == "regularized" and plan.variant in (None, "l1")):
        return _prune_weights(model, task, plan, config, earlier, progress, status, teacher)
    step = prune_edges if plan.method == "edges" else prune_channels
    return Pruned(*step(model, task, plan, config, earlier, progress, status, teacher))


@point_graphs()
def dense_row(checkpoint: Checkpoint, task: Task) -> Compressed:
    """The model as it is, measured as the compressed ones are."""
    module = float_part(checkpoint)
    metrics = all_metrics(module, task)
    current = dataclasses.replace(checkpoint, metrics=metrics)
    achieved = (checkpoint.pruning or {}).get("achieved", 0.0)
    return Compressed(current, {"sparsity": None, "achieved": achieved, **measure(current, task)})


def hold(checkpoint: Checkpoint) -> Callable[[nn.Module], None] | None:
    """A function for `fit(..., after_step=...)` that keeps pruned weights at zero; None when none are pruned."""
    names = (checkpoint.pruning or {}).get("tensors")
    module = float_part(checkpoint)
    return masks_of(module, names).bind(module) if names else None


def float_part(checkpoint: Checkpoint) -> nn.Module:
    """The float module of a checkpoint, out of its fake quantization."""
    model = checkpoint.model
    if isinstance(model, ExportedProgram):
        raise PruneError("a .pt2 program has no parameters to prune")
    return model.model if isinstance(model, QuantModel) else model


def measure(checkpoint: Checkpoint, task: Task) -> dict[str, Any]:
    """The columns of a row that any checkpoint has; see `Compressed.row`."""
    module = float_part(checkpoint)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.pt"
        save_checkpoint(checkpoint, path)
        size = path.stat().st_size
    parameters = list(module.parameters())
    quantized = isinstance(checkpoint.model, QuantModel)
    return {
        "val": checkpoint.metrics["val"],
        "test": checkpoint.metrics["test"],
        "caveat": task.caveat,
        "bytes": size,
        "nonzero": sum(int(p.detach().count_nonzero()) for p in parameters),
        "parameters": sum(p.numel() for p in parameters),
        "eager_ms": None if quantized else _eager_ms(module, task),
    }


# ---------------------------------------------------------------------------------------------------------------------


def _prune_step(
    checkpoint: Checkpoint,
    task: Task,
    plan: PrunePlan,
    config: FitConfig,
    progress: Progress | None,
    status: Status,
) -> tuple[Checkpoint, Task]:
    pruned = prune(
        float_part(checkpoint), task, plan, config, earlier=checkpoint.pruning, progress=progress, status=status
    )
    step = history_step("prune", config, pruned.fit, seconds=pruned.seconds, caveat=task.caveat)
    step |= {**dataclasses.asdict(plan), "achieved": pruned.facts["achieved"]}
    result = dataclasses.replace(checkpoint, pruning=pruned.facts)
    return _with(result, pruned.model, pruned.task, step), pruned.task


def _with(checkpoint: Checkpoint, model: nn.Module, task: Task, step: dict[str, Any]) -> Checkpoint:
    metrics = all_metrics(model, task)
    return dataclasses.replace(
        checkpoint, model=model, history=[*checkpoint.history, step | {"metrics": metrics}], metrics=metrics
    )


def _prune_weights(
    model: nn.Module,
    task: Task,
    plan: PrunePlan,
    config: FitConfig,
    earlier: dict[str, Any] | None,
    progress: Progress | None,
    status: Status,
    teacher: Tensor | None,
) -> Pruned:
    """Single weights: by magnitude at once or gradually, or after training with a growing L1 penalty."""
    names, excluded = find_weights(model, named_args(model, task, example_graph(task, 8)))
    held = _held(model, names, plan.sparsity, earlier)
    # The cut of regularized pruning is global: L1 is one penalty on all weights, and so is the threshold.
    method = plan.method if plan.method in METHODS else "global"
    weights = {name: model.get_parameter(name) for name in names}
    masks = magnitude_masks(weights, plan.sparsity, method, held=held)  # also where it comes later: a check at no cost
    result, seconds, ramp = None, 0.0, config
    if plan.schedule == "gradual" or plan.method == "regularized":
        if plan.schedule == "gradual":
            ramp = dataclasses.replace(config, epochs=max(1, config.epochs // 2))
            config = dataclasses.replace(config, epochs=max(1, config.epochs - ramp.epochs))
        status(f"{plan.method}: {'pruning gradually' if plan.schedule == 'gradual' else 'training with the penalty'}")
        steps = ramp.epochs * steps_per_epoch(task, ramp)
        if plan.schedule == "gradual":
            after = gradual_masks(model, names, plan.sparsity, method, steps, held=held)
        else:
            after = _both(growing_l1(model, names, plan.sparsity, steps), held.bind(model) if held else None)
        gentle = before_the_cut(ramp)
        result = fit(model, task, gentle, progress=progress, after_step=after, keep_last=True, teacher=teacher)
        seconds = result.seconds
        held = masks_of(model, names) if plan.schedule == "gradual" else held
        masks = magnitude_masks(weights, plan.sparsity, method, held=held)
    masks.apply(model)
    if plan.finetune:
        status(f"fine-tuning at sparsity {plan.sparsity:g}")
        result = finetune_pruned(model, task, config, masks, teacher, progress)
        seconds += result.seconds
    return Pruned(model.eval(), task, _facts(model, plan, names, excluded, earlier), result, seconds)


def _held(model: nn.Module, names: list[str], sparsity: float, earlier: dict[str, Any] | None) -> Masks | None:
    """What is pruned already, and stays so."""
    before = (earlier or {}).get("tensors") or []
    if not before:
        return None
    found = sparsity_of(model, names).values()
    share = sum(s.zeros for s in found) / sum(s.total for s in found)
    if sparsity < share - 1e-4:  # counts are whole numbers
        raise PruneError(f"the model is pruned to {share:.4f} already: ask for a higher sparsity than {sparsity:g}")
    return masks_of(model, [name for name in names if name in set(before)])


def _both(
    first: Callable[[nn.Module], None], second: Callable[[nn.Module], None] | None
) -> Callable[[nn.Module], None]:
    def after_step(model: nn.Module) -> None:
        first(model)
        if second is not None:
            second(model)

    return after_step


def _facts(
    model: nn.Module,
    plan: PrunePlan,
    names: list[str],
    excluded: list[dict[str, str]],
    earlier: dict[str, Any] | None,
) -> dict[str, Any]:
    found = sparsity_of(model, names).values()
    return {
        "method": plan.method,
        "sparsity": plan.sparsity,
        "achieved": round(sum(s.zeros for s in found) / sum(s.total for s in found), 6),
        "tensors": names,
        "excluded": excluded,
        "structure": (earlier or {}).get("structure"),
        "edges": (earlier or {}).get("edges"),
    }


def _eager_ms(model: nn.Module, task: Task, seconds: float = 0.5) -> float:
    """Median of one PyTorch forward in milliseconds: of the graph of a node task, else of one of the larger graphs."""
    names, graph = model_inputs(model, task), example_graph(task, 1)
    model.eval()
    times: list[float] = []
    with torch.no_grad():
        for _ in range(3):
            run_model(model, names, graph)
        until = time.perf_counter() + seconds
        while len(times) < 5 or (time.perf_counter() < until and len(times) < 200):
            start = time.perf_counter()
            run_model(model, names, graph)
            times.append(1e3 * (time.perf_counter() - start))
    return round(statistics.median(times), 4)
