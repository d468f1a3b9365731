"""The steps of `edgegnn.compression.compress` that change more than weights: channels and edges."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from edgegnn.prune.count import compare_work, count_work
from edgegnn.prune.edges import cut_edges, edges_to_cut, learn_edges, pack_edges
from edgegnn.prune.finetune import before_the_cut, finetune_pruned
from edgegnn.prune.masks import masks_of
from edgegnn.prune.penalty import channel_penalty
from edgegnn.prune.structure import merge_structures, structure_of
from edgegnn.prune.structured import prune_structured
from edgegnn.tasks import Task, example_graph, forward_args, model_inputs
from edgegnn.training import EpochLog, FitConfig, FitResult, fit, steps_per_epoch

if TYPE_CHECKING:
    from edgegnn.compression.plan import PrunePlan

__all__ = ["prune_channels", "prune_edges"]

Progress = Callable[[EpochLog], None]
Status = Callable[[str], None]
Step = tuple[nn.Module, Task, dict[str, Any], FitResult | None, float]


def prune_channels(
    model: nn.Module,
    task: Task,
    plan: PrunePlan,
    config: FitConfig,
    earlier: dict[str, Any] | None,
    progress: Progress | None,
    status: Status,
    teacher: Tensor | None = None,
) -> Step:
    """Whole channels: by magnitude at once, or after training with a penalty on channels.

    Arguments and errors as of `edgegnn.compression.compress.prune`.

    Returns:
        The fields of `edgegnn.compression.compress.Pruned`; the model is another one than was given.
    """
    names = model_inputs(model, task)
    inputs = dict(zip(names, forward_args(names, example_graph(task, 2)), strict=True))
    before, seconds = model, 0.0
    result: FitResult | None = None
    # A penalty takes long: first see whether the cut can be made at all.
    cut = prune_structured(model, inputs, plan.sparsity)
    for name, why in cut.whole.items():
        status(f"{name} is left whole: {why}")
    masked = (earlier or {}).get("tensors") or []
    if plan.variant is not None:
        status(f"{plan.variant}: training with the penalty")
        penalty = channel_penalty(model, inputs, plan.variant, config.epochs * steps_per_epoch(task, config))
        hold = masks_of(model, masked).bind(model)
        result = fit(
            model,
            task,
            before_the_cut(config),
            progress=progress,
            before_step=penalty,
            after_step=hold,
            keep_last=True,
            teacher=teacher,
        )
        seconds += result.seconds
        cut = prune_structured(model, inputs, plan.sparsity)
    model = cut.model
    if plan.finetune:
        status(f"fine-tuning with {1 - cut.achieved:.0%} of the channels")
        result = finetune_pruned(model, task, config, masks_of(model, masked), teacher, progress)
        seconds += result.seconds
    facts = _kept_facts(plan, earlier) | {"achieved": round(cut.achieved, 6), **cut.facts()}
    facts["structure"] = merge_structures((earlier or {}).get("structure"), structure_of(before, model))
    return model.eval(), task, facts, result, seconds


def prune_edges(
    model: nn.Module,
    task: Task,
    plan: PrunePlan,
    config: FitConfig,
    earlier: dict[str, Any] | None,
    progress: Progress | None,
    status: Status,
    teacher: Tensor | None = None,
) -> Step:
    """Edges of the task's one graph: masks are trained with the weights, the lowest go, the rest is fine-tuned.

    Arguments and errors as of `edgegnn.compression.compress.prune`.

    Returns:
        The fields of `edgegnn.compression.compress.Pruned`; the model is trained in place.
    """
    names = model_inputs(model, task)
    facts = _kept_facts(plan, earlier)
    edges = int(task.graphs[0].edge_index.shape[1])
    cut = edges_to_cut(edges, plan.sparsity, facts["edges"])
    status("training masks on the edges")
    masks = masks_of(model, facts["tensors"])
    keep, result = learn_edges(model, task, cut, before_the_cut(config), masks=masks, progress=progress)
    smaller = cut_edges(task, keep)
    graphs = task.graphs[0], smaller.graphs[0]
    before, after = (count_work(model, dict(zip(names, forward_args(names, g), strict=True))) for g in graphs)
    packed = pack_edges(task, keep, facts["edges"])
    facts |= {"edges": packed, "achieved": round(1 - packed["left"] / max(packed["edges"], 1), 6)}
    facts |= compare_work(before, after)
    seconds = result.seconds
    if plan.finetune:
        status(f"fine-tuning with {packed['left']} of {packed['edges']} edges")
        result = finetune_pruned(model, smaller, config, masks, teacher, progress)
        seconds += result.seconds
    return model.eval(), smaller, facts, result, seconds


def _kept_facts(plan: PrunePlan, earlier: dict[str, Any] | None) -> dict[str, Any]:
    """What a checkpoint says of pruning, with what earlier steps did to weights, channels and edges."""
    before = earlier or {}
    return {
        "method": plan.method,
        "sparsity": plan.sparsity,
        "achieved": 0.0,
        "tensors": before.get("tensors") or [],
        "excluded": before.get("excluded") or [],
        "structure": before.get("structure"),
        "edges": before.get("edges"),
    }
