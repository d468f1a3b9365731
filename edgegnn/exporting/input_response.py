"""Does the artifact follow its inputs as the float model does?

Ranges, and what is known of a layer, come from the data: a weight of an edge that is 1 everywhere, a symmetric graph.
An artifact that leans on this is right on the data and wrong elsewhere. So each input is given other values of the
data's own scale, and the answer has to change in the float model's direction and by about its size.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from edgegnn.errors import ParityError
from edgegnn.exporting.samples import Sample
from edgegnn.runtime.roles import BATCH

__all__ = ["Followed", "Run", "check_follows", "variations"]

Array = npt.NDArray[Any]
Run = Callable[[dict[str, Array]], Any]

# Of an answer's change, in the float model and in the artifact: smallest cosine, smallest and largest ratio of sizes.
# Measured over convolutions and recipes: from 0.72, 0.68 to 1.08.
_COSINE, _SMALLEST, _LARGEST = 0.5, 0.35, 3.0
_TOLD_APART = 2.0  # times the rounding of the recipe: smaller changes have no direction
_NOTHING = 0.02  # a smaller ratio of sizes is none: an input that counts flips some codes
_VANISHES = 0.1  # times the rounding: smaller changes may flip none
_IGNORED = 1e-5  # of the answers' size: a float model that changes less ignores an input


@dataclass(frozen=True)
class Followed:
    """How an artifact follows one input.

    Attributes:
        input: its name.
        told: "follows"; "ignored" by the float model; or "rounding": the change is below the recipe's.
        change: norm of the change of the float model's answer, as a share of the answer's.
        cosine: between the changes of both answers.
        ratio: size of the artifact's change, as a multiple of the float model's.
    """

    input: str
    told: str
    change: float
    cosine: float
    ratio: float

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON-able values, rounded."""
        return {key: round(v, 4) if isinstance(v, float) else v for key, v in asdict(self).items()}


def variations(base: Sample, seed: int = 0) -> dict[str, Sample]:
    """The sample with other values of one input at a time: input name -> sample.

    Features are those of other nodes and edges, drawn with replacement; columns that are constant are multiplied by
    random factors from 0.5 to 1.5, and an input without any value other than 0 becomes random. Edges keep their sources
    and degrees and get other targets. `batch` stays.
    """
    random = np.random.default_rng(seed)
    found = {}
    for name, value in base.inputs.items():
        role = base.role(name)
        if role.numbers_nodes:
            other = _ends(value, base.graph_of_type(role.ends[1]), random)
        else:
            other = np.ascontiguousarray(_rows(value.T, random).T) if role.axis else _rows(value, random)
        if not role.is_a(BATCH) and not np.array_equal(other, value):
            found[name] = replace(
                base,
                name=f"other {name}",
                origin="synthetic",
                inputs={**base.inputs, name: other},
                label=None,
                mask=None,
            )
    return found


def _ends(value: Array, graph_of: Array, random: np.random.Generator) -> Array:
    """The sources with the targets of other edges of the same graph, and where these are the same, of any node."""
    other = value.copy()
    graphs = graph_of[value[1]]
    other[1, np.argsort(graphs, kind="stable")] = value[1, np.lexsort((random.random(len(graphs)), graphs))]
    if np.array_equal(other, value) and not graph_of.any():
        other[1] = random.integers(0, len(graph_of), value.shape[1])
    return other


def _rows(value: Array, random: np.random.Generator) -> Array:
    if not value.size:
        return value
    other = value[random.integers(0, len(value), len(value))]
    if value.dtype.kind != "f":
        return other
    constant = (value == value[:1]).all(axis=0)
    if constant.any():
        factors = random.uniform(0.5, 1.5, value.shape)
        other = np.where(constant, value * factors, other)
        if not value.any():
            other = random.standard_normal(value.shape)
    return np.ascontiguousarray(other, value.dtype)


def check_follows(
    bases: Sequence[Sample], others: Mapping[str, Sequence[Sample]], plain: Run, run: Run
) -> list[Followed]:
    """Compare how two models change their answers.

    Args:
        bases: real graphs.
        others: name of an input -> the graphs with other values there; the float model runs on them.
        plain: the float model, inputs to outputs.
        run: the artifact, likewise.

    Returns:
        What was found of each input.

    Raises:
        ParityError: the artifact ignores an input that the float model uses, or follows it elsewhere; the message names
            the input.
    """
    want, got = _answers(plain, bases), _answers(run, bases)
    noise, size = float(np.linalg.norm(got - want)), float(np.linalg.norm(want))
    found = []
    for name, samples in others.items():
        wanted, given = _answers(plain, samples) - want, _answers(run, samples) - got
        if not np.isfinite(given).all():
            raise ParityError(f"the artifact gives NaN or infinite logits on the graph with other {name}")
        change, length = float(np.linalg.norm(wanted)), float(np.linalg.norm(given))
        ratio = length / change if change else 0.0
        cosine = float((wanted * given).sum() / (change * length)) if change and length else 0.0
        told = "ignored" if change <= _IGNORED * size else "rounding" if change < _TOLD_APART * noise else "follows"
        found.append(Followed(name, told, change / size if size else 0.0, cosine, ratio))
        if told != "ignored" and ratio < _NOTHING and change > _VANISHES * noise:
            raise ParityError(
                f"the artifact ignores the input {name}, which the model uses: with other values the model's answers "
                f"change by {100 * change / size:.2g} % and the artifact's by {100 * length / size:.2g} %"
            )
        if told == "follows" and not (cosine >= _COSINE and _SMALLEST <= ratio <= _LARGEST):
            raise ParityError(
                f"the artifact doesn't follow the input {name} as the model does: with other values its answers change "
                f"{ratio:.2g} times as much (cosine {cosine:.2f})"
            )
    return found


def _answers(run: Run, samples: Sequence[Sample]) -> npt.NDArray[np.float64]:
    return np.concatenate([np.asarray(run(sample.inputs), np.float64) for sample in samples])
