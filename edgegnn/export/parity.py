"""Does the artifact compute what the PyTorch model computes?

Two questions, both answered before an export says it succeeded: are the predictions on the test split the same, and are
the numbers close on graphs of other shapes (isolated nodes and duplicate edges, no edges, one node)?
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.export import ExportedProgram

from edgegnn.errors import ExportError, ParityError
from edgegnn.export.alone import complete
from edgegnn.export.samples import Sample
from edgegnn.quantize import Recipe
from edgegnn.runtime import compare

__all__ = ["Parity", "Tolerance", "check_parity", "rounding_of", "tolerance_for", "torch_outputs"]

Array = npt.NDArray[np.generic]

# Values are equal when they are this share of their standard deviation apart: in float, at 8 bits, at 4 bits.
_SAME = {0: 0.01, 8: 0.1, 4: 0.5}


@dataclass(frozen=True)
class Tolerance:
    """How far an artifact may be from its PyTorch model.

    Attributes:
        agreement: smallest share of equal predictions (`edgegnn.runtime.metrics`) over all real graphs.
        max_abs_error: largest difference of a logit on any graph; None: not limited (post-training recipes, whose
            reference is the float model).
        within: of values, how far apart they may be to count as equal, one for each column, in their units.
    """

    agreement: float
    max_abs_error: float | None
    within: list[float] | None = None


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


def torch_outputs(model: nn.Module | ExportedProgram, samples: list[Sample]) -> list[npt.NDArray[np.float32]]:
    """Logits of the PyTorch model (with its fake quantization, if it has one) on every sample.

    Raises:
        ExportError: the model fails on a sample, or gives no finite float32 matrix.
    """
    module = model.module() if isinstance(model, ExportedProgram) else model.eval()
    outputs = []
    for sample in samples:
        args = {name: torch.from_numpy(value) for name, value in sample.inputs.items()}
        try:
            with torch.no_grad():
                out = module(*args.values()) if isinstance(model, ExportedProgram) else module(**complete(module, args))
        except Exception as error:
            raise ExportError(f"the PyTorch model fails on the graph {sample.name!r}: {error}") from error
        if not isinstance(out, torch.Tensor) or out.dim() != 2:
            raise ExportError("the model must return one matrix of logits, [num_nodes, C] or [num_graphs, C]")
        if not torch.isfinite(out).all():
            raise ExportError(f"the PyTorch model gives NaN or infinite logits on the graph {sample.name!r}")
        outputs.append(out.to(torch.float32).numpy())
    return outputs


def rounding_of(model: nn.Module | ExportedProgram, sample: Sample, draws: int = 8) -> float:
    """How far PyTorch's logits move at most when each float input moves by about half a unit in its last place."""
    random = np.random.default_rng(0)
    moved = [replace(sample, inputs={k: _moved(v, random) for k, v in sample.inputs.items()}) for _ in range(draws)]
    first, *others = torch_outputs(model, [sample, *moved])
    return max(float(np.abs(first - other).max(initial=0.0)) for other in others)


def _moved(value: Array, random: np.random.Generator) -> Array:
    if value.dtype != np.float32:
        return value
    return value * (1 + 2.0**-24 * random.standard_normal(value.shape)).astype(np.float32)


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
    middle = 0.0 if deviation is None else np.concatenate(expected).mean(axis=0)
    span = float(unit.max()) * max(1.0, *(float(np.abs((e - middle) / unit).max(initial=0.0)) for e in expected))
    agreement: float = 0.999
    error: float | None = 1e-4 * span
    if recipe.trains:
        error = (0.25 if recipe.fewest_bits == 8 else 0.75) * span
    elif recipe.method != "none":
        agreement, error = 0.9, None
    trained = 4 if recipe.method == "a2q" else recipe.fewest_bits
    share = _SAME[trained if recipe.trains else 0 if recipe.method == "none" else 4]
    within = None if deviation is None else [share * each for each in deviation]
    return Tolerance(agreement if min_agreement is None else min_agreement, error, within)


def check_parity(
    run: Callable[[dict[str, Array]], Any],
    samples: list[Sample],
    expected: list[npt.NDArray[np.float32]],
    tolerance: Tolerance,
    *,
    target: str = "classes",
    hint: str = "",
    rounding: Callable[[Sample], float] = lambda _: 0.0,
) -> tuple[Parity, list[Any]]:
    """Run the artifact on every sample and compare.

    A model that orders nodes by score, say, may turn on the last bit of its inputs. Beyond the limit, a graph passes on
    which PyTorch itself, with inputs rounded otherwise, moves a quarter as far: the limit is raised to that, and the
    graph is named.

    Args:
        run: the artifact, one graph's inputs to logits.
        samples: the graphs.
        expected: PyTorch's logits on them.
        tolerance: the limits.
        target: what the outputs are (`edgegnn.runtime.metrics`).
        hint: what the user could do, appended to the message.
        rounding: how far PyTorch's logits move on a sample when its inputs are rounded otherwise.

    Returns:
        The parity record and the artifact's logits.

    Raises:
        ParityError: beyond tolerance; the message names graph, row and values.
    """
    outputs: list[Any] = []
    per_graph: list[dict[str, Any]] = []
    rows = agreeing = 0
    worst = (0.0, "")
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
    tolerance, sensitive = _widened(tolerance, samples, per_graph, rounding)
    parity = Parity(len(samples), agreeing / max(rows, 1), worst[0], tolerance, per_graph, sensitive)
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


def _widened(
    tolerance: Tolerance, samples: list[Sample], per_graph: list[dict[str, Any]], rounding: Callable[[Sample], float]
) -> tuple[Tolerance, list[str]]:
    """The tolerance, raised for graphs on which PyTorch itself turns on rounding, and their names."""
    limit = tolerance.max_abs_error
    if limit is None:
        return tolerance, []
    beyond = [
        (s, row["max_abs_error"]) for s, row in zip(samples, per_graph, strict=True) if row["max_abs_error"] > limit
    ]
    names = []
    for sample, error in beyond:
        own = 4 * rounding(sample)
        if own < error:
            return tolerance, []
        limit = max(limit, own)
        names.append(sample.name)
    return replace(tolerance, max_abs_error=limit), names
