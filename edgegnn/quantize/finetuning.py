"""Train a model with fake quantization: from its trained weights (fine-tuning) or from scratch."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from torch import nn

from edgegnn.errors import QuantizeError
from edgegnn.quantize.degree_protection import add_protection
from edgegnn.quantize.model import prepare
from edgegnn.quantize.quant_model import QuantModel
from edgegnn.quantize.reach import hold_data
from edgegnn.quantize.recipe import A2Q, DegreeQuant, Recipe
from edgegnn.signature import TypedGraph
from edgegnn.tasks import Task, example_graph, named_args
from edgegnn.tasks.points import point_graphs
from edgegnn.training import EpochLog, FitConfig, FitResult, fit, validate

__all__ = ["finetune"]

_HALVINGS = 4  # of all learning rates but the bit widths' own, where groups are learnt over batches of graphs


@point_graphs()
def finetune(
    model: nn.Module,
    task: Task,
    recipe: Recipe,
    config: FitConfig,
    *,
    progress: Callable[[EpochLog], None] | None = None,
    after_step: Callable[[nn.Module], None] | None = None,
) -> tuple[QuantModel, FitResult]:
    """Put the quantizers of `recipe` into `model` and train it; the best epoch by validation loss is kept.

    Args:
        model: a float module; it is changed (hooks, weights).
        task: its data; graphs get `dq_prob` when the recipe is Degree-Quant.
        recipe: one that trains.
        config: how long and how fast.
        progress: called after each epoch.
        after_step: called with the QuantModel after each optimizer step (masks of pruned weights).

    Raises:
        QuantizeError: the model is quantized already, or nothing in it can be.
    """
    if isinstance(model, QuantModel):
        raise QuantizeError(f"the model is quantized already, with {model.recipe.name}: start from the float model")
    if isinstance(recipe, DegreeQuant):
        add_protection(task.graphs, recipe.protect_low, recipe.protect_high)
    example = example_graph(task, 8)
    if isinstance(example, TypedGraph) and recipe.does.learns_bits:
        raise QuantizeError(
            f"{recipe.name} learns bits for nodes of one type, and these graphs have several: take dq-int8 or qat-int8"
        )
    any_graph = isinstance(recipe, A2Q) and recipe.any_graph
    nodes = int(example.num_nodes or 0) if not task.many and not any_graph else 0
    quantized = prepare(model, recipe, named_args(model, task, example), nodes, task.roles)
    hold_data(quantized, task)
    before_step = _add_penalty if recipe.does.learns_bits else None

    def settled(module: nn.Module) -> None:
        quantized.settle()
        if after_step is not None:
            after_step(module)

    if recipe.does.learns_bits and task.many:
        # Every batch has other rows for a group: at one rate its step never settles, and no epoch is like the last.
        often = max(1, config.epochs // _HALVINGS)
        config = dataclasses.replace(config, halve_lr_every=min(config.halve_lr_every or often, often))
    result = fit(quantized, task, config, progress=progress, before_step=before_step, after_step=settled)
    quantized.freeze()
    hold_data(quantized, task)
    val_loss, val_metric = validate(quantized, task)  # with the ranges that it is saved with
    result = dataclasses.replace(result, val_loss=val_loss, val_metric=val_metric)
    bits = quantized.average_bits()
    if bits:
        result = dataclasses.replace(result, facts={"average_bits": bits})
    return quantized, result


def _add_penalty(model: nn.Module) -> None:
    """Add the gradient of the learnt bit widths' cost to the task's gradient."""
    penalty = model.penalty() if isinstance(model, QuantModel) else None
    if penalty is not None:
        penalty.backward()
