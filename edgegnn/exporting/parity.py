"""Does the artifact compute what the PyTorch model computes?

Two questions, both answered before an export says it succeeded: are the predictions on the test split the same, and are
the numbers close on graphs of other shapes (isolated nodes and duplicate edges, no edges, one node)?
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy.special import bdtrc
from torch import nn
from torch.export import ExportedProgram

from edgegnn.errors import ExportError, ParityError
from edgegnn.exporting.node_limits import complete
from edgegnn.exporting.samples import Sample
from edgegnn.exporting.ties import LowerIndexFirst
from edgegnn.quantize import Recipe
from edgegnn.runtime import compare
from edgegnn.runtime.metrics import same_rows
from edgegnn.signature import Every, as_rows, every_output
from edgegnn.tasks.points import point_graphs

__all__ = [
    "Parity",
    "Tolerance",
    "check_parity",
    "run_torch",
    "spread",
    "tolerance_for",
    "torch_every",
    "torch_outputs",
]

Array = npt.NDArray[np.generic]

_CHANCE = 0.05  # one sample of twenty
# Values are equal when they are this share of their standard deviation apart: in float, at 8 bits, at 4 bits.
_SAME = {0: 0.01, 8: 0.1, 4: 0.5}
_SHRUNK = [4.0**-k for k in range(1, 9)]
_STILL = 0.2
_CALMED = 8  # graphs on which PyTorch turns that are tried with smaller features


@dataclass(frozen=True)
class Tolerance:
    """How far an artifact may be from its PyTorch model.

    Attributes:
        agreement: smallest share of equal predictions (`edgegnn.runtime.metrics`) over all real graphs.
        max_abs_error: largest difference of a logit on any graph; None: not limited (post-training recipes, whose
            reference is the float model).
        within: of values, how far apart they may be to count as equal, one for each column, in their units.
        by_chance: the agreement is that over any number of rows; of few, more may differ, as many as chance brings in
            one sample of twenty.
    """

    agreement: float
    max_abs_error: float | None
    within: list[float] | None = None
    by_chance: bool = False


@dataclass(frozen=True)
class Parity:
    """The result; field names are those of the manifest.

    `sensitive` names the graphs on which PyTorch itself turns on rounding.
    """

    graphs: int
    agreement: float
    max_abs_error: float
    tolerance: Tolerance
    per_graph: list[dict[str, Any]] = field(default_factory=list)
    sensitive: list[str] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON-able values."""
        return asdict(self)


def run_torch(model: nn.Module | ExportedProgram, sample: Sample) -> Any:
    """What the PyTorch model returns on a sample (with its fake quantization, if it has one).

    Where it sorts, the lower index of two equal numbers comes first: one of the answers that PyTorch may give, and the
    artifact's.

    Raises:
        ExportError: the model fails on the sample.
    """
    module = model.module() if isinstance(model, ExportedProgram) else model.eval()
    args = {name: torch.from_numpy(value) for name, value in sample.inputs.items()}
    try:
        with torch.no_grad(), LowerIndexFirst(), point_graphs():
            if isinstance(model, ExportedProgram):
                return module(*args.values())
            return module(**complete(module, args, sample.roles))
    except Exception as error:
        raise ExportError(f"the PyTorch model fails on the graph {sample.name!r}: {error}") from error


def torch_outputs(
    model: nn.Module | ExportedProgram, samples: Sequence[Sample], name: str = ""
) -> list[npt.NDArray[np.float32]]:
    """An output of the PyTorch model on every sample, as a matrix (`run_torch`).

    Args:
        model: the model.
        samples: the graphs.
        name: which of its outputs; "" for the main one.

    Raises:
        ExportError: the model fails on a sample, or gives no finite float32 matrix.
    """
    outputs = []
    for sample in samples:
        with every_output() if name else nullcontext():
            out = run_torch(model, sample)
        out = as_rows(out[name]) if isinstance(out, Every) else out
        if not isinstance(out, torch.Tensor) or out.dim() != 2:
            raise ExportError("the model must return one matrix of logits, [num_nodes, C] or [num_graphs, C]")
        if not torch.isfinite(out).all():
            raise ExportError(f"the PyTorch model gives NaN or infinite logits on the graph {sample.name!r}")
        outputs.append(out.detach().to(torch.float32).numpy())
    return outputs


def torch_every(model: nn.Module | ExportedProgram, samples: Sequence[Sample], only: str) -> list[dict[str, Array]]:
    """All outputs of the PyTorch model on every sample, by name, as they are; of a model of one matrix, `only`."""
    found = []
    for sample in samples:
        with every_output():
            out = run_torch(model, sample)
        every = out if isinstance(out, Every) else {only: out}
        found.append({name: value.detach().contiguous().numpy() for name, value in every.items()})
    return found


def tolerance_for(
    recipe: Recipe,
    expected: list[npt.NDArray[np.float32]],
    min_agreement: float | None,
    deviation: list[float] | None = None,
) -> Tolerance:
    """The tolerance of a recipe.

    Args:
        recipe: how the model is quantized.
        expected: PyTorch's outputs on the samples.
        min_agreement: smallest share of equal predictions; None for the recipe's own.
        deviation: of values, the standard deviation of each over the training split.

    A float artifact may differ by the rounding of differently ordered sums; one with trained ranges also by a code here
    and there, where that rounding falls on a step (at 4 bits a step is a seventh of the range, and several may add up
    on the way to a logit); a post-training one has the float model as reference.
    """
    unit = np.ones(expected[0].shape[1]) if deviation is None else np.array(deviation)
    # Of values in any units, what lies between the outputs counts and not how far they all are from zero.
    alike = deviation is not None and len({out.shape[1] for out in expected}) == 1
    middle = np.concatenate(expected).mean(axis=0) if alike else 0.0
    span = float(unit.max()) * max(1.0, *(float(np.abs((e - middle) / unit).max(initial=0.0)) for e in expected))
    agreement: float = 0.999
    error: float | None = 1e-4 * span
    if recipe.trains:
        error = (0.25 if recipe.fewest_bits == 8 else 0.75) * span
    elif recipe.does.quantizes:
        agreement, error = 0.9, None
    trained = 4 if recipe.does.learns_bits else recipe.fewest_bits
    share = _SAME[trained if recipe.trains else 0 if not recipe.does.quantizes else 4]
    within = None if deviation is None else [share * each for each in deviation]
    by_chance = error is None and min_agreement is None
    return Tolerance(agreement if min_agreement is None else min_agreement, error, within, by_chance)


def spread(outputs: Sequence[npt.NDArray[np.float32]]) -> list[float]:
    """Standard deviation of each column over all rows, for outputs that no labels give a unit.

    A column that hardly moves counts as if it moved by a fifth of the one that moves most. Where the number of columns
    differs from graph to graph, there is one deviation for all.
    """
    widths = {out.shape[1] for out in outputs}
    rows = (
        np.concatenate(list(outputs)) if len(widths) == 1 else np.concatenate([out.reshape(-1, 1) for out in outputs])
    )
    found = rows.astype(np.float64).std(axis=0) if len(rows) else np.ones(rows.shape[1])
    least = _STILL * float(found.max(initial=0.0))
    size = float(np.abs(rows).max(initial=0.0))
    return [float(max(each, least)) or size or 1.0 for each in found]


def check_parity(
    run: Callable[[dict[str, Array]], Any],
    samples: list[Sample],
    expected: list[npt.NDArray[np.float32]],
    tolerance: Tolerance,
    *,
    target: str = "classes",
    hint: str = "",
    rounding: Callable[[Sample], list[npt.NDArray[np.float32]]] = lambda _: [],
) -> tuple[Parity, list[Any]]:
    """Run the artifact on every sample and compare.

    A model that orders nodes by score, say, may turn on the last bit of its inputs, and so may a quantized one whose
    numbers lie between two codes. Beyond the limit, a graph passes on which PyTorch itself, with numbers rounded
    otherwise, moves a quarter as far; and a prediction passes that PyTorch changes itself. The limits are then those
    that were seen, and the graphs are named. What is wrong for another reason must not pass with them: the same graphs
    with smaller features, on which PyTorch is certain, are held to the limit.

    Args:
        run: the artifact, one graph's inputs to logits.
        samples: the graphs.
        expected: PyTorch's logits on them.
        tolerance: the limits.
        target: what the outputs are (`edgegnn.runtime.metrics`).
        hint: what the user could do, appended to the message.
        rounding: PyTorch's logits on a sample, first as it is, then with numbers rounded otherwise
            (`edgegnn.exporting.rounding`).

    Returns:
        The parity record and the artifact's logits.

    Raises:
        ParityError: beyond tolerance; the message names graph, row and values.
    """
    outputs: list[Any] = []
    per_graph: list[dict[str, Any]] = []
    rows = agreeing = 0
    worst = (0.0, "")
    again = cache(lambda at: rounding(samples[at]))
    for sample, want in zip(samples, expected, strict=True):
        got = run(sample.inputs)
        if got.shape != want.shape:
            raise ParityError(
                f"on the graph {sample.name!r} the artifact gives shape {list(got.shape)}, PyTorch {list(want.shape)}"
            )
        outputs.append(got)
        n, same, error = compare(want, got, target=target, within=tolerance.within)
        if not np.isfinite(got).all():
            raise ParityError(f"the artifact gives NaN or infinite logits on the graph {sample.name!r}")
        if sample.origin == "data":
            rows, agreeing = rows + n, agreeing + same
        per_graph.append({"name": sample.name, "agreement": same / max(n, 1), "max_abs_error": error})
        if error > worst[0]:
            row, column = np.unravel_index(int(np.abs(want - got).argmax()), want.shape)
            place = f"graph {sample.name!r}, row {row}, class {column}: PyTorch {want[row, column]:.6g}"
            worst = (error, f"{place}, artifact {got[row, column]:.6g}")
    agreement = agreeing / max(rows, 1)
    limit = tolerance.max_abs_error
    beyond = _beyond(tolerance, per_graph, expected, again)
    if beyond:
        moved = max(4 * _reach(expected[at], again(at)) for at in beyond)
        tolerance = replace(tolerance, max_abs_error=moved)
    if tolerance.by_chance and bdtrc(rows - agreeing - 1, rows, 1 - tolerance.agreement) > _CHANCE:
        tolerance = replace(tolerance, agreement=min(agreement, tolerance.agreement))
    if agreement < tolerance.agreement:
        changed = [at for at, s in enumerate(samples) if s.origin == "data" and per_graph[at]["agreement"] < 1]
        open_ = {at: _open(expected[at], outputs[at], again(at), target, tolerance.within) for at in changed}
        if agreeing + sum(open_.values()) >= tolerance.agreement * rows:
            tolerance = replace(tolerance, agreement=agreement)
            beyond = sorted({*beyond, *(at for at, number in open_.items() if number)})
    for at in beyond[:_CALMED]:
        if limit is not None:
            _check_calm(run, samples[at], expected[at], rounding, limit, hint)
    sensitive = [samples[at].name for at in beyond]
    parity = Parity(len(samples), agreement, worst[0], tolerance, per_graph, sensitive)
    if parity.agreement < tolerance.agreement:
        raise ParityError(
            f"the artifact predicts differently from PyTorch on {rows - agreeing} of {rows} rows (agreement "
            f"{parity.agreement:.4f}, needed {tolerance.agreement:g}); largest difference at {worst[1]}{hint}"
        )
    if tolerance.max_abs_error is not None and parity.max_abs_error > tolerance.max_abs_error:
        raise ParityError(
            f"the artifact's logits differ from PyTorch's by {parity.max_abs_error:.3g} (allowed "
            f"{tolerance.max_abs_error:.3g}) at {worst[1]}{hint}"
        )
    return parity, outputs


def _beyond(
    tolerance: Tolerance,
    per_graph: list[dict[str, Any]],
    expected: list[npt.NDArray[np.float32]],
    again: Callable[[int], list[npt.NDArray[np.float32]]],
) -> list[int]:
    """Graphs with an error beyond the limit that PyTorch's own rounding explains; none where one isn't explained.

    Explained: PyTorch's answers move at least a quarter as far when it rounds otherwise.
    """
    limit = tolerance.max_abs_error
    found = [] if limit is None else [at for at, row in enumerate(per_graph) if row["max_abs_error"] > limit]
    explained = all(per_graph[at]["max_abs_error"] <= 4 * _reach(expected[at], again(at)) for at in found)
    return found if explained else []


def _check_calm(
    run: Callable[[dict[str, Array]], Any],
    sample: Sample,
    want: npt.NDArray[np.float32],
    rounding: Callable[[Sample], list[npt.NDArray[np.float32]]],
    limit: float,
    hint: str,
) -> None:
    """Hold the artifact to the limit on a graph with smaller features: saturated scores are apart there.

    The features shrink until PyTorch doesn't turn on rounding. Where it always does, or fails, nothing can be asked.

    Raises:
        ParityError: beyond the limit, in proportion to the size of the outputs.
    """
    for factor in _SHRUNK:
        calm = replace(sample, name=f"{sample.name}, features times {factor:g}", inputs=_times(sample.inputs, factor))
        try:
            found = rounding(calm)
        except ExportError:
            found = []
        if not found:
            return
        allowed = limit * max(1.0, _size(found[0])) / max(1.0, _size(want))
        if 4 * _reach(found[0], found[1:]) > allowed:
            continue
        error = float(np.abs(run(calm.inputs) - found[0]).max(initial=0.0))
        if not error <= allowed:
            raise ParityError(
                f"the artifact's logits differ from PyTorch's by {error:.3g} (allowed {allowed:.3g}) on the graph "
                f"{calm.name!r}, where rounding changes nothing{hint}"
            )
        return


def _times(inputs: Mapping[str, Array], factor: float) -> dict[str, Array]:
    """Inputs with smaller floats."""
    return {k: np.multiply(v, factor, dtype=np.float32) if v.dtype == np.float32 else v for k, v in inputs.items()}


def _size(values: npt.NDArray[np.float32]) -> float:
    return float(np.abs(values).max(initial=0.0))


def _reach(want: npt.NDArray[np.float32], others: list[npt.NDArray[np.float32]]) -> float:
    """How far PyTorch's logits move at most."""
    return max((float(np.abs(want - other).max(initial=0.0)) for other in others), default=0.0)


def _open(
    want: Array, got: Array, others: list[npt.NDArray[np.float32]], target: str, within: list[float] | None
) -> int:
    """Number of differing predictions that PyTorch changes itself when it rounds otherwise."""
    undecided = np.zeros(len(want), bool)
    for other in others:
        undecided |= ~same_rows(want, other, target, within)
    return int((undecided & ~same_rows(want, got, target, within)).sum())
