"""How much does quantization cost, against the user's float model?

Two numbers. The metric on the validation split: of the artifact, and of the float model (before fine-tuning, for a
recipe that trains). And signal-to-noise, in dB, of outputs and of every layer: of the quantized model against the same
weights without quantization.

A drop of the metric above the limit fails, unless chance explains it. For accuracy: of the m rows that only one of the
two models gets right, the float model gets so many that even if the true drop were the limit, so many or more would be
seen less than once in a hundred times (a binomial test on m rows, each lost with the probability 1/2 + limit n / 2m).
For other metrics: the drop exceeds the limit by more than three of its standard errors (a jackknife over 20 groups of
rows, both models on the same rows).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import torch
from torch import Tensor, nn
from torch_geometric.nn import MessagePassing

from edgegnn import manifest
from edgegnn.errors import ParityError
from edgegnn.exporting.node_limits import complete
from edgegnn.exporting.unsigned_weights import unsigned_weights
from edgegnn.quantize import QuantModel, Recipe
from edgegnn.runtime import make_session, score
from edgegnn.runtime.metrics import LOWER_IS_BETTER, classes

__all__ = [
    "DEFAULT_LIMIT",
    "Drop",
    "Layer",
    "check_drop",
    "check_noise",
    "check_outputs",
    "layer_noise",
    "measure_drop",
    "noise_floor",
    "signal_to_noise",
    "twin_noise",
    "worst_output",
]

Array = npt.NDArray[Any]

DEFAULT_LIMIT = 2.0  # points
_CHANCE = 0.01
_GROUPS = 20
_ERRORS = 3.0
_MOST_DB = 140.0  # float32 has no more
# Outputs on other values of the inputs, measured over convolutions: from 7 dB at 8 bits, from 2 at 4 bits.
_SOUND = 20.0  # dB; layers that keep so much don't explain a drop
_FLOOR = {8: 3.0, 4: -3.0}
# dB; below, an output is noise, whatever a metric says: a constant has 0. At 4 bits rounding, and ranges that a recipe
# cuts on purpose, cost more on graphs with other inputs: -7 dB were seen in a model that keeps its accuracy.
_NOTHING = {8: 0.5, 4: -12.0}
_STILL = 0.04  # of the variance of the output that moves most


@dataclass(frozen=True)
class Layer:
    """Signal-to-noise of one layer's output: its path and class, and dB (None for an output that is constant)."""

    name: str
    decibels: float | None


@dataclass(frozen=True)
class Drop:
    """The metric over the validation split.

    Attributes:
        metric: its name.
        float_value: of the float model.
        quantized: of the artifact.
        points: by how much the artifact is worse: in hundredths; of an error, in hundredths of the labels' standard
            deviation.
        limit: largest drop, in points; infinite where it doesn't matter.
        significant: the drop exceeds the limit, and chance doesn't explain it.
        n: rows.
    """

    metric: str
    float_value: float
    quantized: float
    points: float
    limit: float
    significant: bool
    n: int

    def described(self) -> manifest.Drop:
        """What the manifest says of it."""
        return manifest.Drop(
            name=self.metric,
            before=self.float_value,
            after=self.quantized,
            drop=round(self.points, 4),
            limit=self.limit if math.isfinite(self.limit) else None,
            n=self.n,
        )


def measure_drop(
    metric: str, labels: Array, plain: Array, quantized: Array, limit: float, deviation: Sequence[float] | None = None
) -> Drop | None:
    """The drop of a metric from one model to another; None where the labels don't define it.

    Args:
        metric: of `edgegnn.runtime.metrics`.
        labels: of the rows.
        plain: outputs of the float model.
        quantized: outputs of the other.
        limit: largest drop, in points.
        deviation: of values, their standard deviation, for each column.
    """
    unit = float(np.mean(deviation)) if deviation is not None else 1.0

    def points(rows: Array) -> float:
        before, after = (score(metric, outputs[rows], labels[rows]) for outputs in (plain, quantized))
        return 100 * ((after - before) / unit if metric in LOWER_IS_BETTER else before - after)

    everything = np.arange(len(labels))
    drop = points(everything) if len(labels) else math.nan
    if math.isnan(drop):
        return None
    if metric == "accuracy":
        right, still = classes(plain) == labels, classes(quantized) == labels
        significant = _beyond_chance(int((right & ~still).sum()), int((~right & still).sum()), len(labels), limit)
    else:
        significant = drop > limit + _ERRORS * _standard_error(points, len(labels))
    return Drop(
        metric, score(metric, plain, labels), score(metric, quantized, labels), drop, limit, significant, len(labels)
    )


def _beyond_chance(lost: int, won: int, rows: int, limit: float) -> bool:
    """Whether a drop of accuracy exceeds the limit by more than chance explains."""
    changed = lost + won
    allowed = limit / 100 * rows
    if lost - won <= allowed:
        return False
    share = 0.5 + allowed / (2 * changed)
    k = np.arange(lost, changed + 1)
    chosen = math.lgamma(changed + 1) - np.array([math.lgamma(i + 1) + math.lgamma(changed - i + 1) for i in k])
    tail = np.exp(chosen + k * math.log(share) + (changed - k) * math.log1p(-share))
    return float(tail.sum()) < _CHANCE


def _standard_error(points: Callable[[Array], float], rows: int) -> float:
    """Standard error of a drop (jackknife over groups of rows); infinite where a group's rest has no metric."""
    groups = min(_GROUPS, rows)
    if groups < 2:
        return math.inf
    found = np.array([points(np.flatnonzero(np.arange(rows) % groups != group)) for group in range(groups)])
    return math.inf if np.isnan(found).any() else float(np.sqrt((groups - 1) * found.var()))


def signal_to_noise(want: Array, got: Array) -> float | None:
    """The signal-to-noise ratio in dB, of the signal about its mean over the rows; None for a constant signal.

    Args:
        want: the signal, `[rows, ...]`; where it is not finite, an equal value is no noise.
        got: the signal with noise.
    """
    want, got = (np.asarray(v, np.float64).reshape(len(v), -1) for v in (want, got))
    masked = ~np.isfinite(want)  # scores of what attention must not see, say
    if masked.any():
        got = np.where(masked, np.where(got == want, 0.0, np.inf), got)
        want = np.where(masked, 0.0, want)
    signal = float(((want - want.mean(axis=0)) ** 2).sum()) if len(want) > 1 else float((want**2).sum())
    noise = float(((got - want) ** 2).sum())
    if signal <= 1e-12 * float((want**2).sum()) or not math.isfinite(noise):
        return None
    return _MOST_DB if noise == 0 else min(_MOST_DB, 10 * math.log10(signal / noise))


def worst_output(want: Array, got: Array) -> tuple[int, float] | None:
    """The output (column) with the least signal-to-noise ratio, and that in dB; None for constant signals.

    An output that hardly moves counts as if it moved by a fifth of the one that moves most: beside that one, its noise
    is what matters.

    Args:
        want: the signal, `[rows, outputs]`.
        got: the signal with noise.
    """
    signal = want.astype(np.float64).var(axis=0)
    noise = ((got.astype(np.float64) - want) ** 2).mean(axis=0)
    if len(want) < 2 or not signal.max(initial=0.0) or not np.isfinite(noise).all():
        return None
    ratio = noise / np.maximum(signal, _STILL * signal.max())
    worst = int(ratio.argmax())
    return worst, -10 * math.log10(max(float(ratio[worst]), 10 ** (-_MOST_DB / 10)))


def layer_noise(model: QuantModel, args: Mapping[str, Tensor]) -> list[Layer]:
    """Signal-to-noise of the layers of a quantized model, in the order in which they end.

    What is inside a message passing layer is left out: with points, it may compute its products before its sums.

    Args:
        model: in eval mode; compared with itself, its points switched off.
        args: inputs of a graph, by name.
    """
    with torch.no_grad():
        with _recorded(model.model) as quantized:
            model(**complete(model, args))
        with _recorded(model.model) as plain, model.as_float() as module:
            module(**complete(module, args))
    pairs = [(name, want, quantized[name]) for name, want in plain.items() if name in quantized]
    return [
        Layer(name, signal_to_noise(want.numpy(), got.numpy()))
        for name, want, got in pairs
        if want.shape == got.shape and want.dim()
    ]


def twin_noise(plain: onnx.ModelProto, quantized: onnx.ModelProto, inputs: Mapping[str, Array]) -> list[Layer]:
    """The same for models that were quantized as ONNX graphs: of the last tensor of each layer that both have.

    Args:
        plain: as captured; the names of its nodes begin with their layer's path ("conv1.lin/Gemm").
        quantized: made from it.
        inputs: of a graph.
    """
    both = {name for node in quantized.graph.node for name in node.output if name}
    last: dict[str, str] = {}
    for node in plain.graph.node:
        layer, slash, _ = node.name.rpartition("/")
        if slash and node.output[0] in both:
            last.pop(layer, None)  # layers in the order in which they end
            last[layer] = node.output[0]
    if not last:
        return []
    values = [_values(model, list(last.values()), inputs) for model in (plain, quantized)]
    return [
        Layer(layer, signal_to_noise(want, got))
        for layer, want, got in zip(last, *values, strict=True)
        if want.dtype == np.float32 and want.shape == got.shape and want.ndim
    ]


def _values(model: onnx.ModelProto, names: Sequence[str], inputs: Mapping[str, Array]) -> list[Array]:
    """Tensors inside a model."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    del copy.graph.output[:]
    copy.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    session: Any = make_session(unsigned_weights(copy).SerializeToString())
    found: list[Array] = session.run(None, {v.name: inputs[v.name] for v in session.get_inputs()})
    return found


@contextmanager
def _recorded(model: nn.Module) -> Iterator[dict[str, Tensor]]:
    """Note the output of each layer, by its path and class; of one that runs several times, the last."""
    found: dict[str, Tensor] = {}

    def noted(name: str) -> Callable[[nn.Module, Any, Any], None]:
        def note(_: nn.Module, __: Any, out: Any) -> None:
            if isinstance(out, Tensor) and out.is_floating_point():
                found.pop(name, None)
                found[name] = out.detach().clone()

        return note

    inside = [path for path, module in model.named_modules() if path and isinstance(module, MessagePassing)]
    hooks = [
        module.register_forward_hook(noted(f"{path} ({type(module).__name__})"))
        for path, module in model.named_modules()
        if path and not path.startswith(tuple(f"{layer}." for layer in inside))
    ]
    try:
        yield found
    finally:
        for hook in hooks:
            hook.remove()


def check_drop(drop: Drop | None, layers: Sequence[Layer]) -> None:
    """Fail for a drop beyond the limit.

    Raises:
        ParityError: the message names the layer where most is lost.
    """
    if drop is None or not drop.significant:
        return
    values = f"{drop.float_value:.4g} of the float model, {drop.quantized:.4g} of the artifact, n = {drop.n}"
    raise ParityError(
        f"quantization costs {drop.points:.1f} points of {drop.metric} on the validation split, more than the limit "
        f"of {drop.limit:g} and more than chance explains ({values}); {_where(layers)}; choose more bits or more "
        "--epochs, or accept it with --max-accuracy-drop"
    )


def noise_floor(recipe: Recipe) -> float:
    """The smallest signal-to-noise of outputs, in dB."""
    return _FLOOR[_bits(recipe)]


def _bits(recipe: Recipe) -> int:
    return 8 if not recipe.does.learns_bits and recipe.fewest_bits == 8 else 4


def check_noise(decibels: float | None, floor: float, layers: Sequence[Layer], what: str) -> None:
    """Fail where quantization leaves little of the outputs.

    Args:
        decibels: their signal-to-noise.
        floor: its smallest value.
        layers: signal-to-noise of the layers.
        what: the graphs, for the message.

    Raises:
        ParityError: below the floor; the message names the layer where most is lost.
    """
    if decibels is not None and decibels < floor:
        raise ParityError(
            f"quantization leaves little of the outputs on {what}: a signal-to-noise of {decibels:.1f} dB, at least "
            f"{floor:g} is needed; {_where(layers)}; choose more bits or another recipe"
        )


def check_outputs(worst: tuple[int, float] | None, recipe: Recipe, layers: Sequence[Layer], what: str) -> None:
    """Fail where one output is noise, though a metric over all of them may not show it.

    Args:
        worst: of `worst_output`.
        recipe: how the model is quantized.
        layers: signal-to-noise of the layers.
        what: the graphs, for the message.

    Raises:
        ParityError: it is; the message names the output, and the layer where most is lost.
    """
    least = _NOTHING[_bits(recipe)]
    if worst is not None and worst[1] < least:
        raise ParityError(
            f"quantization leaves nothing of output {worst[0]} on {what}: a signal-to-noise of {worst[1]:.1f} dB, at "
            f"least {least:g} is needed; {_where(layers)}; choose more bits or another recipe"
        )


def _where(layers: Sequence[Layer]) -> str:
    """The layer where the signal-to-noise falls most below the worst that came before it."""
    known = [(layer.name, layer.decibels) for layer in layers if layer.decibels is not None]
    if not known:
        return "it has no layers to compare"
    worst, most = known[0][1], (0.0, known[0][0], known[0][1], known[0][1])
    for name, decibels in known[1:]:
        if worst - decibels > most[0]:
            most = (worst - decibels, name, worst, decibels)
        worst = min(worst, decibels)
    fall, name, before, after = most
    if worst >= _SOUND:
        return f"no layer loses much to rounding (at worst {worst:.0f} dB): fine-tuning changed the model"
    if not fall:
        return f"it starts at {name}, with {after:.1f} dB"
    return f"it starts at {name}, where the signal-to-noise falls from {before:.1f} to {after:.1f} dB"
