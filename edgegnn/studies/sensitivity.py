"""Which layers of a trained model bear quantization and pruning: one layer at a time, without training.

Everything is judged on the validation split. Ranges of activations come from training graphs. A layer is a module that
owns weights, or whose rows are summed over neighbours; nothing is known by name.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch_geometric.data import Data

from edgegnn.errors import DataError, EdgeGNNError, PruneError, QuantizeError
from edgegnn.prune import find_weights, magnitude_masks
from edgegnn.quantize import QAT, QuantModel, prepare
from edgegnn.quantize.quantizer import QuantPoint
from edgegnn.runtime.metrics import same_rows
from edgegnn.tasks import Task, example_graph, logits_and_labels, model_inputs, named_args, run_model, score
from edgegnn.tasks.evaluation import batches
from edgegnn.utils.model_copies import copied

__all__ = ["SPARSITIES", "WIDTHS", "Layer", "Sensitivity", "Trial", "sensitivity"]

WIDTHS = (8, 4)
SPARSITIES = (0.5, 0.9)
_GRAPHS = 512  # training graphs that ranges are taken from, at most
_SAME_VALUE = 0.1  # standard deviations that predicted values may differ by, and count as the same


@dataclass(frozen=True)
class Trial:
    """The model with one layer changed.

    Attributes:
        value: the task metric on validation data; None where it isn't defined.
        agreement: share of validation rows with the prediction of the unchanged model, in [0, 1]; of values: within a
            tenth of a standard deviation.
    """

    value: float | None
    agreement: float


@dataclass(frozen=True)
class Layer:
    """A layer, and what each change of it alone does.

    Attributes:
        name: path of the module; "" for the model itself.
        parts: what of it is quantized: names of weights, "input", "message" (rows that neighbours read).
        pruned: names of its weights that are pruned.
        parameters: number of values in its weights.
        trials: "int8", "int4", "50 % pruned", "90 % pruned" -> result; those that apply.
    """

    name: str
    parts: list[str]
    pruned: list[str]
    parameters: int
    trials: dict[str, Trial]


@dataclass(frozen=True)
class Sensitivity:
    """All layers of a model.

    Attributes:
        metric: name of the task metric.
        rows: of the validation split.
        base: metric of the unchanged model.
        graphs: training graphs that the ranges of activations come from.
        layers: in the order of the model.
        skipped: what stays as it is, and why.
    """

    metric: str
    rows: int
    base: float | None
    graphs: int
    layers: list[Layer]
    skipped: dict[str, str]


def sensitivity(model: nn.Module, task: Task, progress: Callable[[str], None] = lambda _: None) -> Sensitivity:
    """Quantize, and prune, one layer at a time, and see what validation data say.

    Quantization: weights symmetric, one scale for each output channel of a Linear; activations affine, between the
    smallest and the largest value on training graphs. Pruning: the smallest weights of each tensor of the layer.

    Args:
        model: a float module for the task, pruned or not; it is left as it is.
        task: its data.
        progress: called with what is being done.

    Raises:
        QuantizeError: the model is quantized already, or neither quantization nor pruning finds a layer in it.
        DataError: there are no validation data.
    """
    if isinstance(model, QuantModel):
        raise QuantizeError(f"the model is quantized already, with {model.recipe.name}: name its float model")
    if task.index["val"].numel() == 0:
        raise DataError(
            "there are no validation data, which sensitivity is judged by: give the data a validation split"
        )
    judge = _Judge(model, task)
    skipped: dict[str, str] = {}
    found: dict[str, dict[str, Trial]] = {}
    parts, graphs = _quantized(copied(model), task, judge, found, skipped, progress)
    weights = _pruned(copied(model), task, judge, found, skipped, progress)
    if not found:
        raise QuantizeError(f"no layer of the model can be quantized or pruned: {'; '.join(skipped.values())}")
    own = dict(model.named_parameters())
    order = {name: place for place, (name, _) in enumerate(model.named_modules())}
    layers = [
        Layer(
            name,
            parts.get(name, []),
            weights.get(name, []),
            sum(
                own[_join(name, p)].numel()
                for p in {*parts.get(name, []), *weights.get(name, [])}
                if _join(name, p) in own
            ),
            found[name],
        )
        for name in sorted(found, key=lambda name: order.get(name, len(order)))
    ]
    return Sensitivity(task.spec.metric, judge.rows, judge.base, graphs, layers, skipped)


class _Judge:
    """Compares a changed model with the float one on validation data."""

    def __init__(self, model: nn.Module, task: Task) -> None:
        self.task = task
        self.outputs, labels = logits_and_labels(model, task, "val")
        self.labels = labels
        self.base = score(task.spec.metric, self.outputs, labels)
        self.rows = len(labels)
        deviations = task.spec.scale.get("std")
        self._within = None if deviations is None else [_SAME_VALUE * float(each) for each in deviations]

    def __call__(self, model: nn.Module) -> Trial:
        outputs, _ = logits_and_labels(model, self.task, "val")
        same = same_rows(self.outputs.numpy(), outputs.numpy(), self.task.spec.target, self._within)
        return Trial(score(self.task.spec.metric, outputs, self.labels), float(same.mean()))


def _quantized(
    model: nn.Module,
    task: Task,
    judge: _Judge,
    found: dict[str, dict[str, Trial]],
    skipped: dict[str, str],
    progress: Callable[[str], None],
) -> tuple[dict[str, list[str]], int]:
    """Fill in the trials of quantization; layer -> what of it was quantized, and the graphs that gave ranges."""
    names = model_inputs(model, task)
    recipe = QAT("sensitivity", 8, observer="abs")
    try:
        quantized = prepare(model, recipe, named_args(model, task, example_graph(task, 8)), roles=task.roles)
    except EdgeGNNError as error:
        skipped["quantization"] = str(error)
        return {}, 0
    points = {p.name: p for p in quantized.points.values() if isinstance(p, QuantPoint)}
    layers: dict[str, list[str]] = {}
    for name in points:
        layers.setdefault(name.rpartition(".")[0], []).append(name)
    graphs = _training(task)
    quantized.eval()
    quantized.points.train()  # they watch; the model runs as in inference
    for layer, own in layers.items():
        progress(f"ranges of {layer or 'the model'}")
        with torch.no_grad(), quantized.only(own):  # what comes before is float, as it is in the trial
            for batch in batches(graphs) if task.spec.kind == "graph" else graphs:
                run_model(quantized, names, batch)
    quantized.eval()
    skipped.update(quantized.stayed_float)
    skipped.update({name: "saw no value on training graphs" for name, p in points.items() if not p.seen})
    layers = {layer: [name for name in own if points[name].seen] for layer, own in layers.items()}
    layers = {layer: own for layer, own in layers.items() if own}
    for width in WIDTHS:
        for point in points.values():
            point.bits = width
        for layer, own in layers.items():
            progress(f"{layer or 'model'} in int{width}")
            with quantized.only(own):
                found.setdefault(layer, {})[f"int{width}"] = judge(quantized)
    return {layer: [name.rpartition(".")[2] for name in own] for layer, own in layers.items()}, len(graphs)


def _pruned(
    model: nn.Module,
    task: Task,
    judge: _Judge,
    found: dict[str, dict[str, Trial]],
    skipped: dict[str, str],
    progress: Callable[[str], None],
) -> dict[str, list[str]]:
    """Fill in the trials of pruning; layer -> its weights."""
    try:
        names, excluded = find_weights(model, named_args(model, task, example_graph(task, 8)))
    except PruneError as error:
        skipped["pruning"] = str(error)
        return {}
    skipped.update({entry["tensor"]: f"not pruned: {entry['why']}" for entry in excluded})
    layers: dict[str, dict[str, Tensor]] = {}
    for name in names:
        layers.setdefault(name.rpartition(".")[0], {})[name] = model.get_parameter(name).detach()
    for layer, weights in layers.items():
        before = {name: weight.clone() for name, weight in weights.items()}
        for sparsity in SPARSITIES:
            progress(f"{layer or 'model'}, {sparsity:.0%} pruned")
            magnitude_masks(weights, sparsity).apply(model)
            found.setdefault(layer, {})[f"{100 * sparsity:g} % pruned"] = judge(model)
            for name, weight in weights.items():
                weight.copy_(before[name])
    return {layer: [name.rpartition(".")[2] for name in weights] for layer, weights in layers.items()}


def _training(task: Task) -> list[Data]:
    """The graphs of training data, at most 512."""
    if task.spec.kind != "graph":
        return [example_graph(task, 1)]
    return [task.graphs[i] for i in task.index["train"].tolist()[:_GRAPHS]]


def _join(layer: str, name: str) -> str:
    return f"{layer}.{name}" if layer else name
