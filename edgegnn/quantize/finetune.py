"""Train a model with fake quantization: from its trained weights (fine-tuning) or from scratch."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from edgegnn.errors import QuantizeError
from edgegnn.quantize.degree import add_protection
from edgegnn.quantize.model import QuantModel, prepare
from edgegnn.quantize.recipe import Recipe
from edgegnn.tasks import Task, collate, forward_args, model_inputs
from edgegnn.train import EpochLog, FitConfig, FitResult, fit

__all__ = ["finetune"]


def finetune(
    model: nn.Module,
    task: Task,
    recipe: Recipe,
    config: FitConfig,
    *,
    progress: Callable[[EpochLog], None] | None = None,
) -> tuple[QuantModel, FitResult]:
    """Put the quantizers of `recipe` into `model` and train it; the best epoch by validation loss is kept.

    Args:
        model: a float module; it is changed (hooks, weights).
        task: its data; graphs get `dq_prob` when the recipe is Degree-Quant.
        recipe: one that trains.
        config: how long and how fast.
        progress: called after each epoch.

    Raises:
        QuantizeError: the model is quantized already, or nothing in it can be.
    """
    if isinstance(model, QuantModel):
        raise QuantizeError(f"the model is quantized already, with {model.recipe.name}: start from the float model")
    if recipe.method == "dq":
        add_protection(task.graphs, recipe.protect_low, recipe.protect_high)
    quantized = prepare(model, recipe, _example(model, task))
    result = fit(quantized, task, config, progress=progress)
    quantized.freeze()
    return quantized, result


def _example(model: nn.Module, task: Task) -> tuple[Tensor, ...]:
    """The training graphs with the most edges of the first few: every point has to see a value."""
    names = model_inputs(model, task)
    if task.spec.kind == "node":
        return forward_args(names, task.graphs[0])
    graphs = sorted(
        (task.graphs[i] for i in task.index["train"].tolist()[:64]), key=lambda g: -int(g.edge_index.shape[1])
    )
    return forward_args(names, collate(graphs[:8]))
